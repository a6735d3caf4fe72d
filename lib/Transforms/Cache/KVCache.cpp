// Past keys and values, from inputs and outputs to caches of the session.
#include "llmopt/Transforms/Cache/Passes.h"

#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_KVCACHEPASS
#include "llmopt/Transforms/Cache/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// One pair of a past that comes in and a present that goes out.
struct Site {
  unsigned result;
  BlockArgument past;
  ConcatOp concat;
  /// The key or value operands [B, T, W] that attention reads of it.
  SmallVector<Value> read;
  bool byHead; // [B, H, T, D], else [B, T, ...]
};

/// The width of a token's row: what is left of the past without batch and tokens.
SymExpr getWidth(const Site &site) {
  SmallVector<SymExpr> dims = getDims(site.past);
  return site.byHead ? dims[1] * dims[3] : dims.size() == 4 ? dims[2] * dims[3] : dims[2];
}

/// Whether `user` is attention that reads `value` as key or value only.
bool attendsTo(Operation *user, Value value) {
  auto attention = dyn_cast<AttentionOp>(user);
  return attention && attention.getQuery() != value && attention.getMask() != value;
}

/// Collects `value`, rows of tokens, and its reshapes to such, where attention
/// reads them; false where anything else does.
bool collectRows(Value value, Site &site, Operation *terminator) {
  bool isRead = false;
  for (Operation *user : value.getUsers()) {
    if (user == terminator && value == site.concat.getResult())
      continue;
    if (attendsTo(user, value)) {
      isRead = true;
      continue;
    }
    auto reshape = dyn_cast<ReshapeOp>(user);
    if (!reshape || getDims(reshape.getResult()).size() != 3 || getDims(reshape.getResult())[2] != getWidth(site) ||
        !llvm::all_of(reshape->getUsers(), [&](Operation *reader) { return attendsTo(reader, reshape.getResult()); }))
      return false;
    site.read.push_back(reshape.getResult());
  }
  if (isRead)
    site.read.push_back(value);
  return true;
}

/// Collects what reads the concatenation; false where anything but attention and
/// the return does.
bool collectReaders(Site &site, Operation *terminator) {
  if (!site.byHead)
    return collectRows(site.concat.getResult(), site, terminator);
  for (Operation *user : site.concat.getResult().getUsers()) {
    if (user == terminator)
      continue;
    auto transpose = dyn_cast<TransposeOp>(user);
    if (!transpose || transpose.getPerm() != ArrayRef<int64_t>{0, 2, 1, 3} ||
        !collectRows(transpose.getResult(), site, terminator))
      return false;
  }
  return true;
}

struct KVCache : llmopt::impl::KVCachePassBase<KVCache> {
  void runOnOperation() override {
    if (failed(run(getOperation())))
      signalPassFailure();
  }

  LogicalResult run(func::FuncOp function) {
    SmallVector<Site> sites;
    std::string past;
    if (failed(findSites(function, sites, past)))
      return failure();
    // A name that no dimension has.
    std::string capacity = "cache_capacity";
    while (isUsed(function, capacity))
      capacity += "_";
    for (Site &site : sites)
      rewrite(site, SymExpr::symbol(past), SymExpr::symbol(capacity));
    dropResults(function, sites);
    function->setAttr("lm.past", StringAttr::get(&getContext(), past));
    function->setAttr("lm.capacity", StringAttr::get(&getContext(), capacity));
    return success();
  }

  LogicalResult findSites(func::FuncOp function, SmallVectorImpl<Site> &sites, std::string &past) {
    Operation *end = function.getBody().front().getTerminator();
    for (OpOperand &returned : end->getOpOperands()) {
      auto concat = returned.get().getDefiningOp<ConcatOp>();
      if (!concat || concat->getNumOperands() != 2)
        continue;
      auto argument = dyn_cast<BlockArgument>(concat->getOperand(0));
      if (!argument || !isa<FloatType>(getElementTypeOrSelf(argument)))
        continue;
      SmallVector<SymExpr> dims = getDims(argument);
      int64_t axis = concat.getAxis();
      bool byHead = dims.size() == 4 && axis == 2, byToken = (dims.size() == 3 || dims.size() == 4) && axis == 1;
      std::optional<std::string> symbol = dims[axis].getSymbol();
      if ((!byHead && !byToken) || !symbol)
        continue;
      Site site{returned.getOperandNumber(), argument, concat, {}, byHead};
      if (!argument.hasOneUse() || !getWidth(site).getConstant())
        return concat.emitError() << "cannot keep it in a cache: expected a past of static width that is used once";
      if (!past.empty() && past != *symbol)
        return concat.emitError() << "cannot keep it in a cache: expected " << past
                                  << " past tokens as elsewhere, but got " << *symbol;
      past = *symbol;
      if (!collectReaders(site, end))
        return concat.emitError() << "cannot keep it in a cache: expected only attention to read it; -report=fusion "
                                     "says why attention was not raised";
      sites.push_back(std::move(site));
    }
    if (sites.empty())
      return function.emitError() << "expected outputs that are past keys and values with new ones behind them, but "
                                     "there are none; export the model with past (text-generation-with-past)";
    for (BlockArgument argument : function.getArguments())
      for (const SymExpr &dim : getDims(argument))
        if (dim.getSymbol() == past && llvm::none_of(sites, [&](const Site &site) { return site.past == argument; }))
          return function.emitError() << "expected only caches to have " << past << " tokens, but input "
                                      << argument.getArgNumber() << " has them, too";
    return success();
  }

  static bool isUsed(func::FuncOp function, const std::string &symbol) {
    return llvm::any_of(function.getArgumentTypes(), [&](Type type) {
      return llvm::any_of(getDims(type), [&](const SymExpr &dim) {
        std::set<std::string> symbols;
        dim.collectSymbols(symbols);
        return symbols.count(symbol) != 0;
      });
    });
  }

  static void rewrite(Site &site, const SymExpr &past, const SymExpr &capacity) {
    OpBuilder builder(site.concat);
    Location loc = site.concat.getLoc();
    Value fresh = site.concat->getOperand(1);
    SymExpr batch = getDims(fresh)[0], tokens = getDims(fresh)[site.byHead ? 2 : 1], width = getWidth(site);
    if (site.byHead)
      fresh = TransposeOp::create(builder, loc, fresh, ArrayRef<int64_t>{0, 2, 1, 3});
    if (getDims(fresh).size() != 3)
      fresh = ReshapeOp::create(builder, loc, fresh, ArrayRef<SymExpr>{batch, tokens, width});
    BlockArgument cache = site.past;
    // The concatenation goes with the return; until then it may not see the cache.
    site.concat->setOperand(0, site.concat->getOperand(1));
    cache.setType(getTensorType({batch, capacity, width}, getElementTypeOrSelf(cache)));
    Value append = KVAppendOp::create(builder, loc, cache, fresh, getSymValues(builder.getContext(), past));
    for (Value read : site.read)
      read.replaceUsesWithIf(append, [](OpOperand &use) { return isa<AttentionOp>(use.getOwner()); });
    auto function = cast<func::FuncOp>(cache.getOwner()->getParentOp());
    function.setArgAttr(cache.getArgNumber(), "lm.cache", builder.getUnitAttr());
  }

  /// The presents leave the signature; what only they used goes.
  static void dropResults(func::FuncOp function, MutableArrayRef<Site> sites) {
    Operation *end = function.getBody().front().getTerminator();
    llvm::BitVector drop(function.getNumResults());
    for (Site &site : sites)
      drop.set(site.result);
    end->eraseOperands(drop);
    (void)function.eraseResults(drop);
    for (Site &site : sites) {
      SmallVector<Operation *> dead(site.concat->getUsers());
      for (Operation *user : dead) {
        for (Operation *last : llvm::make_early_inc_range(user->getUsers()))
          if (last->use_empty())
            last->erase();
        if (user->use_empty())
          user->erase();
      }
      if (site.concat->use_empty())
        site.concat->erase();
    }
    function.setType(
        FunctionType::get(function.getContext(), function.getBody().getArgumentTypes(), end->getOperandTypes()));
  }
};

} // namespace

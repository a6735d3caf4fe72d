// Past keys and values, from inputs and outputs to caches of the session.
#include "llmopt/Transforms/Cache/Passes.h"

#include "CacheSites.h"
#include "JointPast.h"

#include "llmopt/Transforms/Shapes/Passes.h"

#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_KVCACHEPASS
#include "llmopt/Transforms/Cache/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// The input that may be the past of `all`: through what appends or overwrites.
BlockArgument findPast(Value all) {
  if (!isa_and_present<ConcatOp, WhereOp, GatherElementsOp, ScatterNDOp, ScatterElementsOp>(all.getDefiningOp()))
    return {};
  SmallVector<Value> open{all};
  for (unsigned steps = 0; !open.empty() && steps < 32; ++steps) {
    Value value = stripViews(open.pop_back_val());
    Operation *op = value.getDefiningOp();
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      int64_t rank = getDims(argument).size();
      if (isa<FloatType>(getElementTypeOrSelf(argument)) && (rank == 3 || rank == 4) &&
          isa<func::FuncOp>(argument.getOwner()->getParentOp()))
        return argument;
    } else if (isa<WhereOp>(op)) {
      open.append({op->getOperand(1), op->getOperand(2)});
    } else if (isa<ConcatOp, GatherElementsOp, ScatterNDOp, ScatterElementsOp>(op)) {
      open.push_back(op->getOperand(0));
    }
  }
  return {};
}

/// The width of a token's row: what is left of the past without batch and tokens.
std::optional<int64_t> getWidth(const CacheSite &site) {
  SymExpr width = 1;
  for (auto [d, dim] : llvm::enumerate(getDims(site.all)))
    if (static_cast<int64_t>(d) != site.axis && static_cast<int64_t>(d) != site.batchAxis)
      width *= dim;
  return width.getConstant();
}

struct KVCache : llmopt::impl::KVCachePassBase<KVCache> {
  using KVCachePassBase::KVCachePassBase;

  void runOnOperation() override {
    function = getOperation();
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    splitJointPasts(function);
    if (failed(findSites()))
      return failure();
    past = SymExpr::symbol(pastSymbol.empty() ? pastSymbol = freeSymbol("cache_past") : pastSymbol);
    capacitySymbol = freeSymbol("cache_capacity");
    if (failed(cutMasks()) || failed(appendInPlace()))
      return failure();
    attendInFloat32();
    dropResults();
    for (CacheSite &site : sites)
      if (!site.past.hasOneUse())
        return emitError(site.all.getLoc()) << kCannot << "expected a past of static width that is used once";
    if (failed(replaceInputs()))
      return failure();
    for (BlockArgument argument : function.getArguments())
      for (const SymExpr &dim : getDims(argument))
        if (dim == past && !function.getArgAttr(argument.getArgNumber(), "lm.cache"))
          return function.emitError() << "expected only caches to have " << pastSymbol << " tokens, but input "
                                      << argument.getArgNumber() << " has them, too";
    function->setAttr("lm.past", StringAttr::get(&getContext(), pastSymbol));
    function->setAttr("lm.capacity", StringAttr::get(&getContext(), capacitySymbol));
    return success();
  }

  //===- Finding ----------------------------------------------------------------------===//

  LogicalResult findSites() {
    Operation *end = function.getBody().front().getTerminator();
    for (OpOperand &returned : end->getOpOperands()) {
      CacheSite site;
      site.result = returned.getOperandNumber();
      site.all = stripViews(returned.get());
      BlockArgument argument = findPast(site.all);
      if (!argument)
        continue;
      Operation *other = collectReads(function, site);
      // Other states than keys and values grow or are overwritten, too.
      if (site.reads.empty() && !isa<ConcatOp>(site.all.getDefiningOp()))
        continue;
      if (site.reads.empty() || other)
        return emitError(site.all.getLoc()) << kCannot
                                            << "expected only attention to read it; -report=fusion says "
                                               "why attention was not raised";
      if (failed(prove(site, argument, returned.get())))
        return failure();
      if (!getWidth(site))
        return emitError(site.all.getLoc()) << kCannot << "expected a past of static width that is used once";
      sites.push_back(std::move(site));
    }
    if (sites.empty())
      return function.emitError() << "expected outputs that are past keys and values with new ones behind them, but "
                                     "there are none; export the model with past (text-generation-with-past)";
    return success();
  }

  /// The new tokens are as many as there are queries.
  static SymExpr countNew(const CacheSite &site) {
    for (Operation *user : site.reads.front().getUsers())
      if (auto attention = dyn_cast<AttentionOp>(user))
        return getDims(attention.getQuery())[1];
    return SymExpr::unknown();
  }

  LogicalResult prove(CacheSite &site, BlockArgument argument, Value returned) {
    site.newTokens = countNew(site);
    SmallVector<std::string> growing; // symbols that may be the number of past tokens
    SmallVector<SymExpr> dims = getDims(argument);
    for (const SymExpr &dim : ArrayRef(dims).drop_front())
      if (std::optional<std::string> symbol = dim.getSymbol())
        growing.push_back(*symbol);
    growing.push_back(""); // or a buffer for all tokens, with the new ones written into it
    SmallVector<BlockArgument> inputs = collectIntegerInputs(site.all);
    for (const std::string &symbol : growing) {
      if (!sites.empty() && symbol != pastSymbol)
        continue;
      if (sites.empty()) {
        known = KnownValues(kPast);
        if (!symbol.empty())
          known.substitute(symbol, kPast);
      }
      known.refill();
      if (!findMeanings(known, inputs, kPast, site.newTokens, meanings, [&] {
            // What grows has room for the new tokens; buffers are asked when they are bound.
            return proveAppend(known, kPast, returned, site) &&
                   (symbol.empty() ||
                    known.isAtMost(kPast + site.newTokens, known.apply(getDims(site.all)[site.axis])));
          }))
        continue;
      pastSymbol = symbol;
      return success();
    }
    InFlightDiagnostic diagnostic = emitError(site.all.getLoc()) << kCannot;
    if (!sites.empty() && !pastSymbol.empty() && !llvm::is_contained(growing, pastSymbol))
      return diagnostic << "expected " << pastSymbol << " past tokens as elsewhere, but got " << growing.front();
    return diagnostic << "expected the new tokens of every sequence right behind its past ones";
  }

  std::string freeSymbol(std::string name) {
    auto isUsed = [&] {
      return llvm::any_of(function.getArgumentTypes(), [&](Type type) {
        return llvm::any_of(getDims(type), [&](const SymExpr &dim) {
          std::set<std::string> symbols;
          dim.collectSymbols(symbols);
          return symbols.count(name) != 0;
        });
      });
    };
    while (isUsed())
      name += "_";
    return name;
  }

  //===- Masks over more keys than there are tokens ---------------------------------------===//

  /// Attention to a whole buffer reads the tokens so far only; its mask must leave
  /// out the others, and loses their columns.
  LogicalResult cutMasks() {
    llvm::SmallSetVector<Operation *, 8> attentions;
    for (CacheSite &site : sites)
      if (known.apply(getDims(site.all)[site.axis]) != kPast + site.newTokens)
        for (Value read : site.reads)
          for (Operation *user : read.getUsers())
            if (isa<AttentionOp>(user))
              attentions.insert(user);
    for (Operation *op : attentions) {
      auto attention = cast<AttentionOp>(op);
      Value mask = attention.getMask();
      SymExpr keys = getDims(attention.getKey())[1], queries = getDims(attention.getQuery())[1];
      SmallVector<SymExpr> dims = mask ? getDims(mask) : SmallVector<SymExpr>();
      if (attention.getCausal() || dims.size() != 4 || dims[3] != keys || !leavesOut(mask, keys, queries))
        return attention.emitError() << kCannot << "expected a mask that leaves out the keys behind the tokens so far";
      OpBuilder builder(op);
      dims[3] = past + queries;
      SmallVector<SymExpr> starts(4, SymExpr(0));
      attention.getMaskMutable().assign(
          SliceOp::create(builder, op->getLoc(), mask, starts, dims, ArrayRef<int64_t>{1, 1, 1, 1}));
      if (keys.getConstant())
        bounds.insert((past + queries).str() + " <= " + keys.str());
      else if (std::optional<std::string> symbol = keys.getSymbol())
        replaced.try_emplace(*symbol, SymExpr::symbol(capacitySymbol));
    }
    return success();
  }

  bool leavesOut(Value mask, const SymExpr &keys, const SymExpr &queries) {
    SmallVector<BlockArgument> inputs = collectIntegerInputs(mask);
    // An input that by itself ends the keys is their number.
    for (BlockArgument input : inputs)
      if (getDims(input).size() <= 1 && !meanings.count(input) &&
          !(getDims(input).size() == 1 && getDims(input)[0] == queries))
        if (endsKeys(mask, input, keys, queries, queries) && !endsKeys(mask, input, keys, queries, queries + 1)) {
          meanings[input] = {{Meaning::Tokens, queries}, ""};
          known.bind(input, meanings[input].meaning);
        }
    known.refill();
    return findMeanings(known, inputs, kPast, queries, meanings,
                        [&] { return isMaskedBehind(known, mask, keys, queries); });
  }

  bool endsKeys(Value mask, BlockArgument input, const SymExpr &keys, const SymExpr &queries, const SymExpr &offset) {
    KnownValues alone(kPast);
    alone.bind(input, {Meaning::Tokens, offset});
    return isMaskedBehind(alone, mask, keys, queries);
  }

  static bool isMaskedBehind(KnownValues &values, Value mask, const SymExpr &keys, const SymExpr &queries) {
    KnownValues::Point point = values.makePoint(getDims(mask));
    SymExpr end = kPast + queries;
    point[3] = end + values.makeIndex(keys - end);
    return values.isMaskedAt(mask, point);
  }

  //===- Rewriting ----------------------------------------------------------------------===//

  LogicalResult appendInPlace() {
    SymExpr capacity = SymExpr::symbol(capacitySymbol);
    for (CacheSite &site : sites) {
      OpBuilder builder(site.all.getDefiningOp());
      Location loc = site.all.getLoc();
      BlockArgument cache = site.past;
      SymExpr batch = site.batchAxis < 0 ? SymExpr(1) : getDims(site.all)[site.batchAxis];
      builder.setInsertionPointAfter(site.all.getDefiningOp());
      if (getElementTypeOrSelf(cache).isF64())
        return emitError(loc) << kCannot << "expected keys and values of float32 or less, but got float64";
      Value rows;
      for (Value read : site.reads) {
        Value now = buildRows(builder, site, read);
        if (!now || (rows && stripViews(rows) != stripViews(now)))
          return emitError(loc) << kCannot << "expected attention to read its rows, one per token";
        if (!rows)
          rows = now;
      }
      rows = toFloat32(builder, loc, rows);
      cache.setType(getTensorType({batch, capacity, SymExpr(*getWidth(site))}, builder.getF32Type()));
      Value append;
      if (int8) {
        FailureOr<Value> quantized = appendQuantized(builder, site, rows);
        if (failed(quantized))
          return failure();
        append = *quantized;
      } else {
        append = KVAppendOp::create(builder, loc, cache, rows, getSymValues(builder.getContext(), past));
      }
      for (Value read : site.reads)
        read.replaceUsesWithIf(append, [](OpOperand &use) { return isa<AttentionOp>(use.getOwner()); });
      function.setArgAttr(cache.getArgNumber(), "lm.cache", builder.getUnitAttr());
    }
    return success();
  }

  /// Heads of keys and values, for all of attention that reads them.
  static std::optional<int64_t> countHeads(const CacheSite &site) {
    std::optional<int64_t> heads;
    for (Value read : site.reads)
      for (Operation *user : read.getUsers())
        if (auto attention = dyn_cast<AttentionOp>(user)) {
          int64_t own = attention.getKvNumHeads();
          if (heads && *heads != own)
            return std::nullopt;
          heads = own;
        }
    return heads;
  }

  /// Integers into `cache`, scales into another one, and all of both as floats.
  FailureOr<Value> appendQuantized(OpBuilder &builder, CacheSite &site, Value rows) {
    BlockArgument cache = site.past;
    Location loc = site.all.getLoc();
    std::optional<int64_t> heads = countHeads(site);
    SmallVector<SymExpr> dims = getDims(rows), kept = getDims(cache);
    int64_t width = *getWidth(site);
    if (!heads || width % *heads)
      return emitError(loc) << kCannot << "expected all attention to read as many heads of it";
    std::string name = "cache";
    if (auto own = function.getArgAttrOfType<StringAttr>(cache.getArgNumber(), "lm.name"))
      name = own.getValue().str();
    unsigned index = function.getNumArguments();
    auto attributes =
        builder.getDictionaryAttr({builder.getNamedAttr("lm.cache", builder.getUnitAttr()),
                                   builder.getNamedAttr("lm.name", builder.getStringAttr(name + "#scale"))});
    Type scaleType = getTensorType({kept[0], kept[1], SymExpr(*heads)}, builder.getF32Type());
    if (failed(function.insertArgument(index, scaleType, attributes, loc)))
      return failure();
    cache.setType(getTensorType(kept, builder.getI8Type()));

    SymExpr h = *heads, d = width / *heads;
    Value split = ReshapeOp::create(builder, loc, rows, ArrayRef<SymExpr>{dims[0], dims[1], h, d});
    Value scale =
        AbsMaxScaleOp::create(builder, loc, split, builder.getDenseI64ArrayAttr({3}), builder.getF64FloatAttr(127));
    Type narrow = getTensorType({dims[0], dims[1], h, d}, builder.getI8Type());
    Value q = QuantizeOp::create(builder, loc, narrow, split, scale, Value(), builder.getBoolAttr(true));
    q = ReshapeOp::create(builder, loc, q, dims);
    scale = ReshapeOp::create(builder, loc, scale, ArrayRef<SymExpr>{dims[0], dims[1], h});
    SymValuesAttr before = getSymValues(builder.getContext(), past);
    Value allQ = KVAppendOp::create(builder, loc, cache, q, before);
    Value allScales = KVAppendOp::create(builder, loc, function.getArgument(index), scale, before);
    SmallVector<SymExpr> all = getDims(allQ);
    allQ = ReshapeOp::create(builder, loc, allQ, ArrayRef<SymExpr>{all[0], all[1], h, d});
    allScales = ReshapeOp::create(builder, loc, allScales, ArrayRef<SymExpr>{all[0], all[1], h, SymExpr(1)});
    return ReshapeOp::create(builder, loc, DequantizeOp::create(builder, loc, allQ, allScales, Value()).getResult(),
                             all)
        .getResult();
  }

  static Value toFloat32(OpBuilder &builder, Location loc, Value value) {
    Type f32 = builder.getF32Type();
    return getElementTypeOrSelf(value) == f32
               ? value
               : CastOp::create(builder, loc, getTensorType(getDims(value), f32), value).getResult();
  }

  /// Attention in place is in float32, and so are caches: attention to keys and values
  /// of fewer bits is, too, and its result is rounded as before.
  void attendInFloat32() {
    function.walk([](AttentionOp op) {
      Type type = getElementTypeOrSelf(op.getQuery());
      auto isCache = [](Value value) {
        Value rows = stripViews(value);
        if (auto dequantize = rows.getDefiningOp<DequantizeOp>())
          rows = stripViews(dequantize.getInput());
        return bool(rows.getDefiningOp<KVAppendOp>());
      };
      if (type.isF32() || (!isCache(op.getKey()) && !isCache(op.getValue())))
        return;
      OpBuilder builder(op);
      for (OpOperand &operand : op->getOpOperands())
        if (isa<FloatType>(getElementTypeOrSelf(operand.get())))
          operand.set(toFloat32(builder, op.getLoc(), operand.get()));
      Type narrow = op.getType();
      op.getResult().setType(getTensorType(getDims(narrow), builder.getF32Type()));
      builder.setInsertionPointAfter(op);
      auto rounded = CastOp::create(builder, op.getLoc(), narrow, op.getResult());
      op.getResult().replaceAllUsesExcept(rounded, rounded);
    });
  }

  /// The presents leave the signature; what only they used goes.
  void dropResults() {
    Operation *end = function.getBody().front().getTerminator();
    llvm::BitVector drop(function.getNumResults());
    for (CacheSite &site : sites)
      drop.set(site.result);
    end->eraseOperands(drop);
    (void)function.eraseResults(drop);
    eraseDead();
  }

  void eraseDead() {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.getBody().front())))
      if (isOpTriviallyDead(&op))
        op.erase();
  }

  /// What the session knows is no input any more.
  LogicalResult replaceInputs() {
    llvm::BitVector drop(function.getNumArguments());
    SmallVector<Attribute> names;
    SmallVector<BlockArgument> given;
    for (auto &[argument, guess] : meanings)
      given.push_back(argument);
    llvm::sort(given, [](BlockArgument a, BlockArgument b) { return a.getArgNumber() < b.getArgNumber(); });
    OpBuilder builder = OpBuilder::atBlockBegin(&function.getBody().front());
    for (BlockArgument argument : given) {
      const Guess &guess = meanings[argument];
      SymExpr count = sites.front().newTokens;
      if (!guess.symbol.empty())
        replaced.try_emplace(guess.symbol, past + count);
      argument.replaceAllUsesWith(build(builder, argument, guess.meaning));
      drop.set(argument.getArgNumber());
      names.push_back(function.getArgAttr(argument.getArgNumber(), "lm.name"));
    }
    (void)function.eraseArguments(drop);
    function.setType(FunctionType::get(&getContext(), function.getBody().getArgumentTypes(),
                                       function.getBody().front().getTerminator()->getOperandTypes()));
    if (!names.empty() && llvm::all_of(names, [](Attribute name) { return bool(name); }))
      function->setAttr("lm.session_inputs", ArrayAttr::get(&getContext(), names));
    eraseDead();
    if (!bounds.empty()) {
      SmallVector<Attribute> all;
      if (auto old = function->getAttrOfType<ArrayAttr>("lm.constraints"))
        llvm::append_range(all, old);
      for (const std::string &bound : bounds)
        all.push_back(StringAttr::get(&getContext(), bound));
      function->setAttr("lm.constraints", ArrayAttr::get(&getContext(), all));
    }
    return substituteSymbols(function, replaced);
  }

  Value build(OpBuilder &builder, BlockArgument argument, const Meaning &meaning) {
    Location loc = argument.getLoc();
    Type i64 = builder.getI64Type(), element = getElementTypeOrSelf(argument);
    SmallVector<SymExpr> dims = getDims(argument);
    auto scalar = [&](const SymExpr &value) -> Value {
      return ConstantOp::create(builder, loc, getSymbolicAttr(RankedTensorType::get({}, i64), {value}));
    };
    Value result = scalar(
        meaning.kind == Meaning::Ones ? SymExpr(1) : past + (meaning.kind == Meaning::Tokens ? meaning.offset : 0));
    if (meaning.kind == Meaning::Position) {
      SmallVector<SymExpr> row(dims.size(), SymExpr(1));
      row.back() = dims.back();
      Value iota = IotaOp::create(builder, loc, getTensorType(row, i64), dims.size() - 1);
      result = AddOp::create(builder, loc, iota, result);
    }
    if (element != i64)
      result = CastOp::create(builder, loc, getTensorType(getDims(result), element), result);
    return getDims(result) == dims ? result : BroadcastOp::create(builder, loc, result, dims).getResult();
  }

  static constexpr const char *kCannot = "cannot keep it in a cache: ";
  /// The number of past tokens while proving: may be zero.
  inline static const SymExpr kPast = SymExpr::symbol("count_past");

  func::FuncOp function;
  SmallVector<CacheSite> sites;
  KnownValues known{kPast};
  llvm::DenseMap<BlockArgument, Guess> meanings;
  std::string pastSymbol, capacitySymbol;
  SymExpr past;
  llvm::StringMap<SymExpr> replaced;
  std::set<std::string> bounds;
};

} // namespace

// What converters build with.
#include "Node.h"
#include "DataSizes.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;

/// A shape that depends on data has at most so many elements.
static constexpr int64_t kMaxCountedElements = 16;

//===- The node, problems ----------------------------------------------------===//

bool Node::wants(unsigned i) const {
  return i < static_cast<unsigned>(proto.output_size()) && !proto.output(i).empty();
}

bool Node::isRead(unsigned i) const {
  return wants(i) && (!importer.isInEntry() || scope.parent || scope.depth || scope.read.count(proto.output(i)));
}

Value Node::in(unsigned i) {
  if (has(i))
    return operands[i];
  error("input " + Twine(i) + " is missing");
  return {};
}

void Node::out(unsigned i, Value value) {
  if (i < results.size())
    results[i] = value;
}

static std::string describe(const Node &node) {
  return "node '" + printable(node.getScope().prefix + node.proto.name()) + "' (" +
         qualifiedName(node.proto.domain(), node.proto.op_type()) + "-" + std::to_string(node.opset()) +
         (node.proto.name().empty() && node.proto.output_size() ? ", output '" + printable(node.proto.output(0)) + "'"
                                                                : "") +
         ")";
}

void Node::error(const Twine &text) {
  if (!failed_)
    importer.reporter.error(describe(*this) + ": " + text.str());
  failed_ = true;
}

void Node::unsupported(const Twine &detail, StringRef remedy) {
  if (!failed_)
    importer.reporter.unsupported(
        (qualifiedName(proto.domain(), proto.op_type()) + " " + detail).str(), opset_,
        scope.prefix + (proto.name().empty() && proto.output_size() ? proto.output(0) : proto.name()), remedy);
  failed_ = true;
}

//===- Shapes and values known when compiling ----------------------------------===//

Dims Node::dims(Value value) const { return value ? getDims(value) : Dims(); }

int64_t Node::rank(Value value) const { return value ? llvm::cast<RankedTensorType>(value.getType()).getRank() : 0; }

Type Node::elem(Value value) const { return value ? getElementTypeOrSelf(value) : Type(b.getF32Type()); }

int64_t Node::axis(int64_t axis, int64_t rank) {
  if (axis >= -rank && axis < rank)
    return axis < 0 ? axis + rank : axis;
  error("expected an axis in [" + Twine(-rank) + ", " + Twine(rank) + "), but got " + Twine(axis));
  return 0;
}

Ints Node::axes(ArrayRef<int64_t> list, int64_t rank) {
  Ints result;
  for (int64_t a : list) {
    int64_t normal = axis(a, rank);
    if (!failed_ && llvm::is_contained(result, normal))
      error("expected distinct axes, but got " + Twine(a) + " twice");
    result.push_back(normal);
  }
  return failed_ ? Ints() : result;
}

/// The elements of a short vector, those that depend on data as symbols; nullopt
/// where one has no bound.
std::optional<Dims> Node::countElements(Value value) {
  if (std::optional<Dims> known = getSymbolicValue(value)) {
    bool isKnown = llvm::none_of(*known, [](const SymExpr &v) { return v.isUnknown(); });
    return isKnown ? known : std::nullopt;
  }
  if (!isa<IntegerType>(elem(value)) || elem(value).isInteger(1))
    return std::nullopt;
  Dims shape = dims(value), all;
  if (auto concat = value.getDefiningOp<ConcatOp>(); concat && shape.size() == 1) {
    for (Value part : concat.getInputs()) {
      std::optional<Dims> elements = countElements(part);
      if (!elements)
        return std::nullopt;
      all.append(*elements);
    }
    return all;
  }
  if (auto cast = value.getDefiningOp<CastOp>(); cast && isa<IntegerType>(elem(cast.getInput())))
    return countElements(cast.getInput());
  std::optional<int64_t> count = product(shape).getConstant();
  Interval interval = getInterval(value);
  if (!count || *count > kMaxCountedElements || interval.high.isUnknown())
    return std::nullopt;
  Value flat = reshape(value, {*count});
  for (int64_t i = 0; i < *count && !failed_; ++i)
    all.push_back(defineSymbol(cast(reshape(slice(flat, 0, i, 1), {}), b.getI64Type()), interval.high));
  return all;
}

Dims Node::values(Value value, const Twine &what) {
  if (failed_ || !value)
    return {};
  std::optional<Dims> result = countElements(value);
  if (failed_)
    return {};
  if (!result) {
    error("expected " + what + " to follow from the shapes of inputs, but it depends on their data");
    return {};
  }
  return *result;
}

Ints Node::constants(Value value, const Twine &what) {
  Ints result;
  for (const SymExpr &v : values(value, what)) {
    if (std::optional<int64_t> constant = v.getConstant()) {
      result.push_back(*constant);
      continue;
    }
    error("expected " + what + " to be constant, but got '" + v.str() + "'");
    return {};
  }
  return result;
}

int64_t Node::staticDim(Value value, unsigned i, const Twine &what) {
  Dims all = dims(value);
  if (failed_)
    return 1;
  std::optional<int64_t> size = i < all.size() ? all[i].getConstant() : std::nullopt;
  if (size)
    return *size;
  error("expected " + what + " to be a known size, but got " +
        (i < all.size() ? "'" + all[i].str() + "'" : std::string("too few dimensions")));
  return 1;
}

std::optional<double> Node::constantFloat(Value value) const {
  DenseFPElementsAttr attr;
  if (!value)
    return std::nullopt;
  if (auto weight = value.getDefiningOp<WeightOp>())
    attr = dyn_cast<DenseFPElementsAttr>(weight.getSource());
  else
    matchPattern(value, m_Constant(&attr));
  if (!attr || (attr.getNumElements() != 1 && !attr.isSplat()))
    return std::nullopt;
  APFloat number = *attr.value_begin<APFloat>();
  bool ignored;
  number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &ignored);
  return number.convertToDouble();
}

void Node::require(const SymExpr &low, const SymExpr &high) {
  std::optional<int64_t> slack = (high - low).lowerBound();
  if (slack && *slack >= 0)
    return;
  if (low.isUnknown() || high.isUnknown()) {
    error("expected sizes that follow from the shapes of inputs");
    return;
  }
  if (std::optional<int64_t> difference = (high - low).getConstant()) {
    error("expected at most " + high.str() + ", but got " + low.str());
    return;
  }
  importer.addConstraint(low, high);
}

void Node::requireEqual(const SymExpr &a, const SymExpr &b, const Twine &what) {
  if (failed_ || a == b)
    return;
  if ((a - b).getConstant().value_or(0) != 0)
    return error("expected " + what + " of " + b.str() + ", but got " + a.str());
  require(a, b);
  require(b, a);
}

SymExpr Node::quotient(const SymExpr &a, const SymExpr &b, const Twine &what) {
  if (failed_)
    return 1;
  std::optional<int64_t> x = a.getConstant(), y = b.getConstant();
  if ((y && *y < 1) || (x && y && *x % *y)) {
    error("expected " + what + " to be a multiple of " + b.str() + ", but got " + a.str());
    return 1;
  }
  if (std::optional<SymExpr> exact = SymExpr::divideExactly(a, b))
    return *exact;
  SymExpr result = SymExpr::floorDiv(a, b);
  // a - b floor(a / b) is never negative.
  require(a, b * result);
  return result;
}

//===- Building ------------------------------------------------------------------===//

Type Node::placeholderType() { return RankedTensorType::get({}, b.getF32Type()); }

Value Node::finish(OperationState &state, function_ref<LogicalResult(SmallVectorImpl<Type> &)> infer) {
  if (llvm::is_contained(state.operands, Value())) {
    error("an operand is missing");
    return {};
  }
  auto report = [&]() -> Value {
    StringRef text = importer.lastDiagnostic;
    text.consume_front(("'" + state.name.getStringRef() + "' op ").str());
    error(text.empty() ? "the operands do not fit" : text);
    return {};
  };
  importer.lastDiagnostic.clear();
  if (infer) {
    SmallVector<Type, 2> types;
    if (mlir::failed(infer(types)))
      return report();
    state.types.assign(types.begin(), types.end());
  }
  Operation *op = b.create(state);
  if (mlir::failed(state.name.verifyInvariants(op))) {
    op->erase();
    return report();
  }
  SmallVector<Value, 1> folded;
  if (mlir::succeeded(b.tryFold(op, folded)) && !folded.empty()) {
    op->erase();
    return folded.front();
  }
  return op->getResult(0);
}

SmallVector<Value> Node::createRegionOp(OperationState &state,
                                        ArrayRef<std::pair<StringRef, std::set<std::string>>> constraints) {
  if (failed_)
    return {};
  for (const auto &[name, texts] : constraints) {
    SmallVector<Attribute> list;
    for (const std::string &text : texts)
      list.push_back(b.getStringAttr(text));
    if (!list.empty())
      state.addAttribute(name, b.getArrayAttr(list));
  }
  importer.lastDiagnostic.clear();
  Operation *op = b.create(state);
  if (mlir::failed(state.name.verifyInvariants(op))) {
    op->erase();
    error(importer.lastDiagnostic.empty() ? "the operands do not fit" : importer.lastDiagnostic);
    return {};
  }
  return SmallVector<Value>(op->getResults());
}

Value Node::constant(TypedAttr value) { return create<ConstantOp>(value); }

Value Node::scalar(Type type, double value) {
  if (failed_)
    return {};
  auto tensor = RankedTensorType::get({}, type);
  Attribute element;
  if (isa<FloatType>(type))
    element = FloatAttr::get(type, value);
  else
    element = IntegerAttr::get(type, APInt(type.getIntOrFloatBitWidth(), static_cast<int64_t>(value),
                                           /*isSigned=*/true, /*implicitTrunc=*/true));
  return constant(DenseElementsAttr::get(tensor, element));
}

Value Node::intVector(ArrayRef<int64_t> values) {
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, b.getI64Type());
  return constant(DenseElementsAttr::get(type, values));
}

Value Node::filled(Type type, double value, ArrayRef<SymExpr> dims) { return broadcast(scalar(type, value), dims); }

SymExpr Node::defineSymbol(Value number, const SymExpr &bound) {
  if (failed_ || !number)
    return 0;
  // Folding may have found out what it is.
  if (std::optional<Dims> known = getSymbolicValue(number); known && known->size() == 1 && !known->front().isUnknown())
    return known->front();
  if (std::string earlier = importer.findCount(number); !earlier.empty())
    return SymExpr::symbol(earlier);
  if (bound.isUnknown()) {
    error("expected sizes that follow from the shapes of inputs");
    return 0;
  }
  std::string name = importer.nameCount(proto.output_size() ? proto.output(0) : proto.op_type());
  SymExpr limit = importer.boundCounts(bound);
  DefineSymbolOp::create(b, loc, number, name, getSymValues(b.getContext(), {limit}));
  importer.addCount(name, number, limit);
  return SymExpr::symbol(name);
}

Value Node::withDims(Value value, ArrayRef<SymExpr> dims) { return create<ReshapeOp>(value, dims); }

Value Node::cast(Value value, Type type) {
  if (failed_ || !value || elem(value) == type)
    return value;
  return create<CastOp>(value, type);
}

Value Node::reshape(Value value, ArrayRef<SymExpr> dims) {
  if (failed_ || !value)
    return {};
  if (Dims(dims) == this->dims(value))
    return value;
  return create<ReshapeOp>(value, dims);
}

Value Node::broadcast(Value value, ArrayRef<SymExpr> dims) {
  if (failed_ || !value)
    return {};
  if (Dims(dims) == this->dims(value))
    return value;
  return create<BroadcastOp>(value, dims);
}

Value Node::unify(Value value, ArrayRef<SymExpr> wanted, const Twine &what) {
  Dims own = dims(value);
  if (failed_ || !value)
    return {};
  if (own.size() != wanted.size()) {
    error("expected " + what + " of rank " + Twine(wanted.size()) + ", but got " + Twine(own.size()));
    return {};
  }
  for (auto [i, pair] : llvm::enumerate(llvm::zip(own, wanted)))
    requireEqual(std::get<0>(pair), std::get<1>(pair), "dimension " + Twine(i) + " of " + what);
  return reshape(value, wanted);
}

Value Node::transpose(Value value, ArrayRef<int64_t> perm) {
  if (failed_ || !value)
    return {};
  bool identity = static_cast<int64_t>(perm.size()) == rank(value);
  for (auto [i, p] : llvm::enumerate(perm))
    identity &= static_cast<int64_t>(i) == p;
  return identity ? value : create<TransposeOp>(value, perm);
}

Value Node::swapLast(Value value) {
  int64_t n = rank(value);
  if (!failed_ && n < 2)
    error("expected a rank of at least 2, but got " + Twine(n));
  if (failed_)
    return {};
  Ints perm = llvm::to_vector(llvm::seq<int64_t>(0, n));
  std::swap(perm[n - 1], perm[n - 2]);
  return transpose(value, perm);
}

Value Node::slice(Value value, int64_t axis, const SymExpr &start, const SymExpr &size) {
  Dims sizes = dims(value), starts(sizes.size(), SymExpr(0));
  if (failed_ || axis < 0 || axis >= static_cast<int64_t>(sizes.size()))
    return {};
  if (start.isConstant(0) && size == sizes[axis])
    return value;
  starts[axis] = start;
  sizes[axis] = size;
  return create<SliceOp>(value, starts, sizes);
}

Value Node::concat(ArrayRef<Value> values, int64_t axis) {
  if (values.size() == 1)
    return values.front();
  return create<ConcatOp>(ValueRange(values), axis);
}

Value Node::padRank(Value value, int64_t wanted) {
  Dims sizes = dims(value);
  while (static_cast<int64_t>(sizes.size()) < wanted)
    sizes.insert(sizes.begin(), SymExpr(1));
  return reshape(value, sizes);
}

Value Node::reduce(ReduceKind kind, Value value, ArrayRef<int64_t> axes, bool keepDims) {
  return create<ReduceOp>(kind, value, axes, keepDims);
}

Value Node::iota(Type type, ArrayRef<SymExpr> dims, int64_t axis) {
  if (failed_)
    return {};
  return create<IotaOp>(getTensorType(dims, type), axis);
}

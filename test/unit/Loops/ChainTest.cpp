// Fused operations: patterns that occur in models, and random graphs.
#include "LoopsFixture.h"

using namespace llmopt;
using namespace llmopt::loops;
using namespace mlir;

namespace {

const std::string kX = "tensor<?x?x48xf32, #lm.dims<\"b\", \"s\", 48>>";
const std::string kRow = "tensor<?x?x1xf32, #lm.dims<\"b\", \"s\", 1>>";
const std::map<std::string, int64_t> kSizes = {{"b", 3}, {"s", 37}};

TEST_F(LoopsFixture, Patterns) {
  std::string sum = "%s = lm.add %0, %1 : (" + kX + ", " + kX + ") -> " + kX + "\n";
  add(kX + ";" + kX + ";tensor<48xf32>",
      sum + "%n = lm.norm <layer> %s scale %2 {epsilon = 1.0e-5} : (" + kX + ", tensor<48xf32>) -> " + kX,
      "%n, %s : " + kX + ", " + kX, kSizes);
  // Costly rows are kept in scratch memory.
  add(kX + ";" + kX,
      sum + "%g = lm.gelu <erf> %s : (" + kX + ") -> " + kX + "\n%n = lm.norm <rms> %g {epsilon = 1.0e-5} : (" + kX +
          ") -> " + kX + "\n%p = lm.softmax %g {axis = 2 : i64, log = true} : (" + kX + ") -> " + kX,
      "%n, %p : " + kX + ", " + kX, kSizes);
  // Dynamic quantization: one scale per row beside the quantized row.
  const std::string q = "tensor<?x?x48xi8, #lm.dims<\"b\", \"s\", 48>>";
  add(kX, "%s = lm.absmax_scale %0 {axes = array<i64: 2>, qmax = 127.0} : (" + kX + ") -> " + kRow +
              "\n%q = lm.quantize %0 scale %s : (" + kX + ", " + kRow + ") -> " + q,
      "%q, %s : " + q + ", " + kRow, kSizes);
  // Heads: reshape, transpose, scores, softmax, context, and back.
  const std::string h = "tensor<?x?x3x16xf32, #lm.dims<\"b\", \"s\", 3, 16>>",
                    t = "tensor<?x3x?x16xf32, #lm.dims<\"b\", 3, \"s\", 16>>",
                    tt = "tensor<?x3x16x?xf32, #lm.dims<\"b\", 3, 16, \"s\">>",
                    sc = "tensor<?x3x?x?xf32, #lm.dims<\"b\", 3, \"s\", \"s\">>";
  add(kX + ";" + kX + ";" + kX,
      "%a = lm.reshape %0 : (" + kX + ") -> " + h + "\n%b = lm.transpose %a {perm = array<i64: 0, 2, 1, 3>} : (" + h +
          ") -> " + t + "\n%c = lm.reshape %1 : (" + kX + ") -> " + h +
          "\n%d = lm.transpose %c {perm = array<i64: 0, 2, 3, 1>} : (" + h + ") -> " + tt + "\n%e = lm.reshape %2 : (" +
          kX + ") -> " + h + "\n%f = lm.transpose %e {perm = array<i64: 0, 2, 1, 3>} : (" + h + ") -> " + t +
          "\n%g = lm.matmul %b, %d : (" + t + ", " + tt + ") -> " + sc +
          "\n%p = lm.softmax %g {axis = 3 : i64} : (" + sc + ") -> " + sc + "\n%o = lm.matmul %p, %f : (" + sc + ", " +
          t + ") -> " + t + "\n%u = lm.transpose %o {perm = array<i64: 0, 2, 1, 3>} : (" + t + ") -> " + h +
          "\n%r = lm.reshape %u : (" + h + ") -> " + kX,
      "%r : " + kX, kSizes);
  // Rotary embedding: halves swapped by slices and a concatenation.
  const std::string half = "tensor<?x?x24xf32, #lm.dims<\"b\", \"s\", 24>>", angle = "tensor<?x48xf32, #lm.dims<\"s\", 48>>";
  add(kX + ";" + angle + ";" + angle,
      "%l = lm.slice %0 {starts = #lm.sym<0, 0, 0> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (" + kX + ") -> " + half +
          "\n%h = lm.slice %0 {starts = #lm.sym<0, 0, 24> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (" + kX + ") -> " +
          half + "\n%n = lm.neg %h : (" + half + ") -> " + half + "\n%c = lm.concat %n, %l {axis = 2 : i64} : (" + half +
          ", " + half + ") -> " + kX + "\n%p = lm.mul %c, %2 : (" + kX + ", " + angle + ") -> " + kX +
          "\n%o = lm.mul %0, %1 : (" + kX + ", " + angle + ") -> " + kX + "\n%r = lm.add %o, %p : (" + kX + ", " + kX +
          ") -> " + kX,
      "%r : " + kX, kSizes);
  // Results of different shapes, one an argument itself.
  add(kX + ";tensor<5x7xi64>",
      "%m = lm.reduce <mean> %0 {axes = array<i64: 1>, keepdims = false} : (" + kX + ") -> tensor<?x48xf32, #lm.dims<\"b\", 48>>",
      "%m, %1, %0 : tensor<?x48xf32, #lm.dims<\"b\", 48>>, tensor<5x7xi64>, " + kX, kSizes);
  // A mask made of token ids.
  const std::string ids = "tensor<?x?xi64, #lm.dims<\"b\", \"s\">>", m = "tensor<?x1x1x?xf32, #lm.dims<\"b\", 1, 1, \"s\">>";
  add(ids, "%f = lm.cast %0 : (" + ids + ") -> tensor<?x?xf32, #lm.dims<\"b\", \"s\">>\n%r = lm.reshape %f : "
           "(tensor<?x?xf32, #lm.dims<\"b\", \"s\">>) -> " + m + "\n%one = lm.constant dense<1.0> : tensor<f32>\n"
           "%s = lm.sub %one, %r : (tensor<f32>, " + m + ") -> " + m + "\n%k = lm.constant dense<-10000.0> : tensor<f32>\n"
           "%x = lm.mul %s, %k : (" + m + ", tensor<f32>) -> " + m, "%x : " + m, kSizes, {Fill::Small});
  runAll();
}

/// Large enough for several tiles.
TEST_F(LoopsFixture, Tiles) {
  op("lm.gelu <erf> %0", "tensor<77x1003xf32>", "tensor<77x1003xf32>");
  op("lm.softmax %0 {axis = 1 : i64}", "tensor<300x517xf32>", "tensor<300x517xf32>");
  op("lm.transpose %0 {perm = array<i64: 1, 0>}", "tensor<301x517xf32>", "tensor<517x301xf32>");
  op("lm.add %0, %1", "tensor<?x700xf32, #lm.dims<\"s\", 700>>;tensor<700xf32>", "tensor<?x700xf32, #lm.dims<\"s\", 700>>",
     {{"s", 211}});
  op("lm.reduce <sum> %0 {axes = array<i64: 0>, keepdims = false}", "tensor<400x517xf32>", "tensor<517xf32>");
  op("lm.reduce <sum> %0 {axes = array<i64: 1>, keepdims = false}", "tensor<400x517xf32>", "tensor<400xf32>");
  runAll();
}

/// Appends random operations to a function of two or three arguments.
class RandomGraph {
public:
  RandomGraph(MLIRContext &context, std::mt19937 &random) : b(&context), random(random) {}

  func::FuncOp build(ModuleOp module) {
    b.setInsertionPointToEnd(module.getBody());
    Location loc = b.getUnknownLoc();
    lm::SymExpr batch = lm::SymExpr::symbol("b"), sequence = lm::SymExpr::symbol("s");
    SmallVector<lm::SymExpr> pool{batch, sequence, 1, 5, 24, 17};
    SmallVector<Type> types;
    for (int i = 0; i < 3; ++i) {
      SmallVector<lm::SymExpr> dims;
      for (int rank = 1 + random() % 3; rank > 0; --rank)
        dims.push_back(pool[random() % pool.size()]);
      types.push_back(lm::getTensorType(dims, b.getF32Type()));
    }
    auto function = func::FuncOp::create(b, loc, "f", b.getFunctionType(types, {}));
    Block *block = function.addEntryBlock();
    b.setInsertionPointToStart(block);
    values.assign(block->args_begin(), block->args_end());
    for (int i = 0; i < 9; ++i)
      step(loc);
    SmallVector<Value> results{values.back()};
    if (random() % 3 == 0)
      results.push_back(values[values.size() - 2]);
    func::ReturnOp::create(b, loc, results);
    function.setFunctionType(b.getFunctionType(types, ValueRange(results).getTypes()));
    return function;
  }

private:
  Value pick() { return values[values.size() - 1 - random() % std::min<size_t>(values.size(), 4)]; }
  int64_t rank(Value v) { return cast<RankedTensorType>(v.getType()).getRank(); }

  void step(Location loc) {
    Value x = pick();
    SmallVector<lm::SymExpr> dims = lm::getDims(x);
    int64_t r = rank(x), axis = r ? random() % r : 0;
    auto done = [&](Value v) { values.push_back(v); };
    switch (random() % 16) {
    case 0:
      return done(lm::TanhOp::create(b, loc, x));
    case 1:
      return done(lm::GeluOp::create(b, loc, lm::GeluKind::Erf, x));
    case 2:
    case 3: {
      Value y = pick();
      // Dimensions fit where they are equal or one is 1; others never do here.
      size_t nx = dims.size();
      SmallVector<lm::SymExpr> other = lm::getDims(y);
      for (size_t i = 0; i < std::min(nx, other.size()); ++i) {
        const lm::SymExpr &p = dims[nx - 1 - i], &q = other[other.size() - 1 - i];
        if (p != q && !p.isConstant(1) && !q.isConstant(1))
          return;
      }
      if (random() % 2)
        return done(lm::AddOp::create(b, loc, x, y));
      return done(lm::MulOp::create(b, loc, x, y));
    }
    case 4:
      if (r < 2)
        return;
      {
        SmallVector<int64_t> perm(r);
        std::iota(perm.begin(), perm.end(), 0);
        std::shuffle(perm.begin(), perm.end(), random);
        return done(lm::TransposeOp::create(b, loc, x, perm));
      }
    case 5: { // join two neighbours, or split 24
      SmallVector<lm::SymExpr> to;
      if (r >= 2 && random() % 2) {
        int64_t at = random() % (r - 1);
        for (int64_t i = 0; i < r; ++i)
          if (i == at + 1)
            to.back() *= dims[i];
          else
            to.push_back(dims[i]);
      } else {
        for (const lm::SymExpr &dim : dims) {
          if (dim.isConstant(24) && to.size() < 4) {
            to.push_back(4);
            to.push_back(6);
          } else {
            to.push_back(dim);
          }
        }
      }
      return done(lm::ReshapeOp::create(b, loc, x, ArrayRef<lm::SymExpr>(to)));
    }
    case 6:
      if (r == 0)
        return;
      return done(lm::ConcatOp::create(b, loc, ValueRange{x, x}, axis));
    case 7: { // without the first, or backwards
      if (r == 0)
        return;
      SmallVector<lm::SymExpr> starts(r, lm::SymExpr(0)), sizes = dims;
      SmallVector<int64_t> steps(r, 1);
      starts[axis] = dims[axis] - lm::SymExpr(1);
      steps[axis] = -1;
      return done(lm::SliceOp::create(b, loc, x, ArrayRef<lm::SymExpr>(starts), ArrayRef<lm::SymExpr>(sizes), steps));
    }
    case 8: {
      if (r == 0)
        return;
      SmallVector<lm::SymExpr> low(r, lm::SymExpr(0)), high(r, lm::SymExpr(0)), padded = dims;
      low[axis] = 2;
      high[axis] = random() % 2;
      padded[axis] = dims[axis] + low[axis] + high[axis];
      auto scalar = RankedTensorType::get({}, b.getF32Type());
      Value zero = lm::ConstantOp::create(b, loc, DenseElementsAttr::get(scalar, 0.5f));
      return done(lm::PadOp::create(b, loc, lm::getTensorType(padded, b.getF32Type()), x, zero,
                                    lm::getSymValues(b.getContext(), low), lm::getSymValues(b.getContext(), high)));
    }
    case 9:
      if (r == 0)
        return;
      return done(lm::ReduceOp::create(b, loc, random() % 2 ? lm::ReduceKind::Mean : lm::ReduceKind::Max, x,
                                       ArrayRef<int64_t>(axis), random() % 2 == 0));
    case 10:
      if (r == 0)
        return;
      return done(lm::SoftmaxOp::create(b, loc, x, axis, false));
    case 11:
      if (r == 0)
        return;
      return done(lm::CumSumOp::create(b, loc, x, axis, random() % 2 == 0, random() % 2 == 0));
    case 12:
      if (r < 2)
        return;
      return done(lm::TriluOp::create(b, loc, x, static_cast<int64_t>(random() % 3) - 1, random() % 2 == 0));
    case 13: {
      if (r == 0)
        return;
      auto type = RankedTensorType::get({3}, b.getI64Type());
      Value ids = lm::ConstantOp::create(b, loc, DenseElementsAttr::get(type, ArrayRef<int64_t>{0, -1, 0}));
      return done(lm::GatherOp::create(b, loc, x, ids, axis));
    }
    case 14:
      if (r < 2)
        return;
      {
        SmallVector<int64_t> perm(r);
        std::iota(perm.begin(), perm.end(), 0);
        std::swap(perm[r - 1], perm[r - 2]);
        Value y = lm::TransposeOp::create(b, loc, x, perm);
        Value z = lm::MatMulOp::create(b, loc, x, y);
        return done(lm::TanhOp::create(b, loc, z));
      }
    case 15: {
      Value zero = lm::ConstantOp::create(
          b, loc, DenseElementsAttr::get(RankedTensorType::get({}, b.getF32Type()), 0.0f));
      Value x0 = values[random() % 3]; // comparing what is exact
      Value c = lm::CompareOp::create(b, loc, lm::Predicate::GT, x0, zero);
      return done(lm::WhereOp::create(b, loc, c, x0, zero));
    }
    }
  }

  OpBuilder b;
  std::mt19937 &random;
  std::vector<Value> values;
};

TEST_F(LoopsFixture, RandomGraphs) {
  const char *seed = getenv("LLMOPT_TEST_SEED"), *count = getenv("LLMOPT_TEST_GRAPHS");
  std::mt19937 random(seed ? atoi(seed) : 1);
  for (int i = 0; i < (count ? atoi(count) : 60); ++i) {
    parsed.push_back(ModuleOp::create(UnknownLoc::get(&context)));
    Case c;
    c.name = "case" + std::to_string(cases.size());
    c.function = RandomGraph(context, random).build(*parsed.back());
    c.symbols = {{"b", 1 + random() % 3}, {"s", 1 + random() % 40}};
    c.tolerance = 3e-5; // chains amplify what their first operations round
    // Sizes multiply; what is too large for the evaluator is left out.
    double elements = 0;
    for (Operation &op : c.function.getBody().front())
      for (Type type : op.getResultTypes()) {
        double n = 1;
        for (int64_t d : dimsOf(type, c))
          n *= d;
        elements += n;
      }
    c.emulate = elements < 2e3;
    if (elements < 2e5)
      cases.push_back(std::move(c));
  }
  runAll();
}

TEST_F(LoopsFixture, Diagnostics) {
  std::string why;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &d) {
    why += d.str();
    return success();
  });
  std::string error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget("", "native", error);
  ASSERT_TRUE(target) << error;
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  Case &unknown = op("lm.neg %0", "tensor<?xf32>", "tensor<?xf32>");
  EXPECT_TRUE(failed(emitLoopsMLIR(unknown.function.getBody(), "a", *module, *target)));
  EXPECT_NE(why.find("expected dimensions that are known"), std::string::npos) << why;
  why.clear();
  Case &nibbles = op("lm.neg %0", "tensor<4xi7>", "tensor<4xi7>");
  EXPECT_TRUE(failed(emitLoopsMLIR(nibbles.function.getBody(), "b", *module, *target)));
  EXPECT_NE(why.find("expected elements of bool"), std::string::npos) << why;
}

} // namespace

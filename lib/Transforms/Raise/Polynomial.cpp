// Arithmetic expressions as polynomials in two values.
#include "Polynomial.h"

#include "llmopt/Transforms/Matching.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/SetVector.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static constexpr unsigned kMaxDegree = 4, kMaxDepth = 16, kMaxSources = 24;

static Polynomial add(const Polynomial &a, const Polynomial &b, double factor) {
  Polynomial sum = a;
  for (const auto &[powers, coefficient] : b)
    sum[powers] += factor * coefficient;
  return sum;
}

static std::optional<Polynomial> multiply(const Polynomial &a, const Polynomial &b) {
  Polynomial result;
  for (const auto &[pa, ca] : a)
    for (const auto &[pb, cb] : b) {
      std::pair<unsigned, unsigned> powers(pa.first + pb.first, pa.second + pb.second);
      if (powers.first + powers.second > kMaxDegree)
        return std::nullopt;
      result[powers] += ca * cb;
    }
  return result;
}

PolynomialReader::PolynomialReader(Value x, Value y) : x(x), y(y) {}

std::optional<Polynomial> PolynomialReader::read(Value value) { return computeCached(value, 0); }

std::optional<Polynomial> PolynomialReader::computeCached(Value value, unsigned depth) {
  if (auto it = cache.find(value); it != cache.end())
    return it->second;
  std::optional<Polynomial> result = depth > kMaxDepth ? std::nullopt : compute(value, depth);
  cache[value] = result;
  return result;
}

std::optional<Polynomial> PolynomialReader::compute(Value value, unsigned depth) {
  if (value == x)
    return Polynomial{{{1, 0}, 1.0}};
  if (value == y)
    return Polynomial{{{0, 1}, 1.0}};
  if (std::optional<double> scalar = getScalar(value, x))
    return Polynomial{{{0, 0}, *scalar}};
  Operation *op = value.getDefiningOp();
  if (!op || !isa<AddOp, SubOp, MulOp, DivOp, PowOp, NegOp, CastOp>(op))
    return std::nullopt;
  if (isa<CastOp>(op) && !isFloatCast(op))
    return std::nullopt;
  std::optional<Polynomial> lhs = computeCached(op->getOperand(0), depth + 1);
  if (!lhs || op->getNumOperands() == 1)
    return lhs && isa<NegOp>(op) ? std::optional(add({}, *lhs, -1)) : lhs;
  if (isa<DivOp, PowOp>(op)) {
    std::optional<double> rhs = getScalar(op->getOperand(1), x);
    if (!rhs || *rhs == 0)
      return std::nullopt;
    if (isa<DivOp>(op))
      return add({}, *lhs, 1 / *rhs);
    if (*rhs != std::floor(*rhs) || *rhs < 1 || *rhs > kMaxDegree)
      return std::nullopt;
    std::optional<Polynomial> power = lhs;
    for (int i = 1; power && i < *rhs; ++i)
      power = multiply(*power, *lhs);
    return power;
  }
  std::optional<Polynomial> rhs = computeCached(op->getOperand(1), depth + 1);
  if (!rhs)
    return std::nullopt;
  return isa<MulOp>(op) ? multiply(*lhs, *rhs) : add(*lhs, *rhs, isa<SubOp>(op) ? -1 : 1);
}

bool llmopt::isNear(const Polynomial &polynomial, const Polynomial &expected, Type elementType) {
  for (const auto &[powers, coefficient] : expected) {
    auto it = polynomial.find(powers);
    if (it == polynomial.end() || !isNear(it->second, coefficient, elementType))
      return false;
  }
  return llvm::all_of(polynomial,
                      [&](const auto &term) { return expected.count(term.first) || std::fabs(term.second) < 1e-9; });
}

SmallVector<Value> llmopt::getArithmeticSources(Value value) {
  llvm::SetVector<Value> sources;
  sources.insert(value);
  for (size_t i = 0; i < sources.size() && sources.size() < kMaxSources; ++i) {
    Operation *op = sources[i].getDefiningOp();
    if (!op || !isa<AddOp, SubOp, MulOp, DivOp, PowOp, NegOp, CastOp>(op))
      continue;
    for (Value operand : op->getOperands())
      if (!getScalar(operand))
        sources.insert(operand);
  }
  return llvm::to_vector(sources);
}

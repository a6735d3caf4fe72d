// Gradients of one operation against central differences of the evaluator.
#include "Data.h"
#include "Probe.h"

#include "llmopt/Transforms/Training/Autodiff.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::operators;

/// Differences of f64 over 2e-5 are exact to some 1e-9 of values near 1.
static constexpr double kStep = 1e-5, kTolerance = 1e-6;

/// What the loss weighs result element i with: no symmetry hides an error.
static double weightOf(int64_t i) { return 0.3 + 0.1 * static_cast<double>(i % 7); }

/// sum of weight * result 0.
static FailureOr<double> computeLoss(func::FuncOp function, ArrayRef<lm::Tensor> inputs) {
  auto results = lm::evaluate(function, inputs);
  if (failed(results))
    return failure();
  double loss = 0;
  for (int64_t i = 0; i < results->front().getNumElements(); ++i)
    loss += weightOf(i) * results->front().floats()[i];
  return loss;
}

/// Returns gradients of the weighted sum by `targets` instead of the results; the
/// weights are one argument more, in a row.
static LogicalResult differentiate(func::FuncOp function, ArrayRef<Value> targets) {
  Operation *end = function.getBody().front().getTerminator();
  OpBuilder builder(end);
  Location loc = end->getLoc();
  Value result = end->getOperand(0);
  Value flat = lm::ReshapeOp::create(builder, loc, result, ArrayRef<lm::SymExpr>{lm::product(lm::getDims(result))});
  Value weight = function.getBody().front().addArgument(flat.getType(), loc);
  Value product = lm::MulOp::create(builder, loc, flat, weight);
  Value loss = lm::ReduceOp::create(builder, loc, lm::ReduceKind::Sum, product, ArrayRef<int64_t>{0}, false);
  FailureOr<SmallVector<Value>> gradients = buildGradients(builder, loss, targets);
  if (failed(gradients))
    return failure();
  end->setOperands(*gradients);
  SmallVector<Type> types = llvm::to_vector(ValueRange(*gradients).getTypes());
  function.removeArgAttrsAttr();
  function.setFunctionType(builder.getFunctionType(function.getBody().getArgumentTypes(), types));
  function.setAllResultAttrs(SmallVector<DictionaryAttr>(types.size(), builder.getDictionaryAttr({})));
  return success();
}

Answer Sample::tryGradient() const {
  std::string said;
  ScopedDiagnosticHandler handler(function.getContext(), [&](Diagnostic &diagnostic) {
    if (said.empty())
      said = diagnostic.str();
    return success();
  });
  if (findOp()->getNumOperands() == 0 && findOp()->getNumRegions() == 0)
    return {Answer::No, "has no operands"};
  OwningOpRef<ModuleOp> module = instantiate("f32", "f64");
  if (!module)
    return {Answer::No, "is not defined on f64"};
  auto main = module->lookupSymbol<func::FuncOp>("main");
  auto isReal = [](Type type) { return isa<FloatType>(getElementTypeOrSelf(type)); };
  SmallVector<Value> targets;
  SmallVector<unsigned> numbers;
  for (BlockArgument argument : main.getArguments())
    if (isReal(argument.getType())) {
      targets.push_back(argument);
      numbers.push_back(argument.getArgNumber());
    }
  if (targets.empty() || !isReal(main.getResultTypes()[0]))
    return {Answer::No, "does not take floats to floats"};
  SmallVector<lm::Tensor> inputs = makeInputs(main, function);
  auto results = lm::evaluate(main, inputs);
  if (failed(results))
    return {Answer::No, "not evaluated: " + said};
  OwningOpRef<ModuleOp> derivative = module->clone();
  auto gradient = derivative->lookupSymbol<func::FuncOp>("main");
  SmallVector<Value> own;
  for (unsigned number : numbers)
    own.push_back(gradient.getArgument(number));
  if (failed(differentiate(gradient, own)))
    return {Answer::No, said};
  std::vector<double> weights(results->front().getNumElements());
  for (size_t i = 0; i < weights.size(); ++i)
    weights[i] = weightOf(i);
  SmallVector<lm::Tensor> withWeights = inputs;
  withWeights.push_back(llvm::cantFail(
      lm::Tensor::fromFloats(results->front().getElementType(), {static_cast<int64_t>(weights.size())}, weights)));
  auto gradients = lm::evaluate(gradient, withWeights);
  if (failed(gradients))
    return {Answer::Wrong, "gradient not evaluated: " + said};
  // Straight through: what is not clipped has the gradient of its input, though not
  // its differences. FakeQuantizeTest looks at what is.
  main.walk([](lm::FakeQuantizeOp fake) { fake.getResult().replaceAllUsesWith(fake.getInput()); });
  for (auto [k, number] : llvm::enumerate(numbers)) {
    std::vector<double> values(inputs[number].floats().begin(), inputs[number].floats().end());
    for (size_t i = 0; i < values.size(); ++i) {
      auto lossAt = [&](double value) {
        std::vector<double> moved = values;
        moved[i] = value;
        SmallVector<lm::Tensor> others = inputs;
        others[number] =
            llvm::cantFail(lm::Tensor::fromFloats(inputs[number].getElementType(), inputs[number].getDims(), moved));
        return computeLoss(main, others);
      };
      FailureOr<double> above = lossAt(values[i] + kStep), below = lossAt(values[i] - kStep);
      if (failed(above) || failed(below))
        return {Answer::Wrong, "not evaluated: " + said};
      double expected = (*above - *below) / (2 * kStep), got = (*gradients)[k].floats()[i];
      if (!(std::abs(expected - got) <= kTolerance * std::max(1.0, std::abs(expected))))
        return {Answer::Wrong, "operand " + std::to_string(number) + " element " + std::to_string(i) + ": expected " +
                                   std::to_string(expected) + ", but got " + std::to_string(got)};
    }
  }
  return {Answer::Yes, ""};
}

// llmopt model.onnx -verify=m.so: does a compiled model compute what it should?
//
// The reference is the evaluator on the imported graph, before any rewrite, or
// the arrays of -expect. The error of an output is max |a - b| / max(1e-6, max
// finite |b|); NaN and infinities must stand at the same places.
#include "Session.h"
#include "VerifyInputs.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Execution/Arrays.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/Format.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using lm::Tensor;

namespace {

/// DESIGN's measure; infinity where NaN, infinities or integers differ.
double errorOf(const Tensor &actual, const Tensor &expected) {
  double largest = 0, scale = 1e-6;
  for (int64_t i = 0; i < expected.getNumElements(); ++i) {
    double a = actual.asDouble(i), b = expected.asDouble(i);
    if (std::isfinite(b))
      scale = std::max(scale, std::fabs(b));
    if (std::isfinite(a) && std::isfinite(b))
      largest = std::max(largest, std::fabs(a - b));
    else if (!(a == b || (std::isnan(a) && std::isnan(b))))
      return INFINITY;
  }
  if (!expected.isFloat())
    return largest == 0 ? 0 : INFINITY;
  return largest / scale;
}

struct Reference {
  std::vector<NamedArray> inputs;
  std::vector<std::pair<std::string, Tensor>> outputs;
};

StringRef nameOf(func::FuncOp function, unsigned i, bool isResult) {
  auto name = isResult ? function.getResultAttrOfType<StringAttr>(i, "lm.name")
                       : function.getArgAttrOfType<StringAttr>(i, "lm.name");
  return name ? name.getValue() : "";
}

/// Inputs made up, outputs from the evaluator. Failures have been reported.
std::optional<Reference> evaluateReference(Session &session, func::FuncOp function) {
  llvm::Expected<SmallVector<Tensor>> inputs = makeInputs(function);
  if (!inputs) {
    session.fail(inputs.takeError());
    return std::nullopt;
  }
  Reference reference;
  for (auto [i, input] : llvm::enumerate(*inputs))
    reference.inputs.push_back(toArray(nameOf(function, i, false), input));
  FailureOr<SmallVector<Tensor>> outputs = lm::evaluate(function, *inputs);
  if (failed(outputs))
    return std::nullopt;
  for (auto [i, output] : llvm::enumerate(*outputs))
    reference.outputs.push_back({nameOf(function, i, true).str(), output});
  return reference;
}

std::optional<Reference> readReference(Session &session, func::FuncOp function) {
  llvm::Expected<std::vector<NamedArray>> arrays = readArrays(session.line.expect);
  if (!arrays) {
    session.fail(arrays.takeError());
    return std::nullopt;
  }
  Reference reference;
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    for (const NamedArray &array : *arrays)
      if (array.name == nameOf(function, i, true)) {
        llvm::Expected<Tensor> tensor = toTensor(function.getContext(), array);
        if (!tensor) {
          session.fail(tensor.takeError());
          return std::nullopt;
        }
        reference.outputs.push_back({array.name, *tensor});
      }
  if (reference.outputs.empty()) {
    session.fail(kBadModel, session.line.expect + ": expected an array for an output, e.g. '" +
                                nameOf(function, 0, true) + "'");
    return std::nullopt;
  }
  reference.inputs = std::move(*arrays);
  return reference;
}

} // namespace

int llmopt::verifyModel(Session &session) {
  auto function = session.module->lookupSymbol<func::FuncOp>("main");
  if (!function)
    return session.internalError("verify: no @main");
  session.beginPhase("evaluate");
  std::optional<Reference> reference =
      session.line.expect.empty() ? evaluateReference(session, function) : readReference(session, function);
  if (!reference)
    return kBadModel;
  session.beginPhase("run");
  llvm::Expected<std::vector<NamedArray>> actual = runArtifact(session.line.verify, reference->inputs);
  if (!actual)
    return session.fail(actual.takeError());

  bool passed = true;
  session.printTimes();
  for (auto &[name, expected] : reference->outputs) {
    const NamedArray *found = nullptr;
    for (const NamedArray &array : *actual)
      if (array.name == name)
        found = &array;
    if (!found)
      return session.fail(kBadModel, session.line.verify + ": expected an output '" + name + "'");
    llvm::Expected<Tensor> tensor = toTensor(function.getContext(), *found);
    if (!tensor)
      return session.fail(tensor.takeError());
    bool sameType = tensor->getType() == expected.getType();
    double error = sameType ? errorOf(*tensor, expected) : INFINITY;
    bool ok = error <= session.line.tolerance;
    passed &= ok;
    session.out << llvm::format("%-32s error %.2e  %s\n", name.c_str(), error, ok ? "ok" : "FAILED");
  }
  if (!passed)
    return session.fail(kGateFailed, session.line.verify + ": differs from the reference by more than " +
                                         std::to_string(session.line.tolerance));
  return kOk;
}

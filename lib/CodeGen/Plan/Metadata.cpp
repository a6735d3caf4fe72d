// The metadata of an artefact: what it computes, from what, at what cost.
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/CodeGen/Plan/Tables.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace llmopt;
using lm::getDims;
using lm::SymExpr;

SymExpr llmopt::getFlops(Operation *op) {
  auto elements = [](Value value) { return lm::getNumElements(value.getType()); };
  if (auto gemm = dyn_cast<kernel::GemmOp>(op))
    return SymExpr(2 * int64_t(gemm.getK())) * elements(gemm.getResult());
  if (auto gemm = dyn_cast<kernel::GemmS8Op>(op))
    return SymExpr(2 * int64_t(gemm.getK())) * elements(gemm.getResult());
  if (auto gemm = dyn_cast<kernel::GemmW4A8Op>(op))
    return SymExpr(2 * int64_t(gemm.getK())) * elements(gemm.getResult());
  if (auto gemm = dyn_cast<kernel::GemmWQOp>(op))
    return SymExpr(2 * int64_t(gemm.getK())) * elements(gemm.getResult());
  if (auto quantize = dyn_cast<kernel::QuantizeRowsOp>(op))
    return SymExpr(4) * elements(quantize.getResult());
  if (auto quantize = dyn_cast<kernel::QuantizeTensorOp>(op))
    return SymExpr(2) * elements(quantize.getResult());
  if (auto product = dyn_cast<kernel::BatchedMatmulOp>(op)) {
    SmallVector<SymExpr> a = getDims(product.getLhs());
    return SymExpr(2) * a[a.size() - (product.getTransposeLhs() ? 2 : 1)] * elements(product.getResult());
  }
  if (auto attention = dyn_cast<kernel::AttentionOp>(op)) {
    SmallVector<SymExpr> q = getDims(attention.getQuery()), k = getDims(attention.getKey());
    int64_t width = attention.getNumHeads() * (attention.getHeadDim() + attention.getValueHeadDim());
    return SymExpr(2 * width) * q[0] * q[1] * k[1];
  }
  if (auto norm = dyn_cast<kernel::NormQuantizedOp>(op))
    return SymExpr(norm.getKind() == lm::NormKind::Layer ? 12 : 8) * elements(norm.getResult());
  if (auto norm = dyn_cast<kernel::NormQuantizedTensorOp>(op))
    return SymExpr(norm.getKind() == lm::NormKind::Layer ? 10 : 6) * elements(norm.getResult());
  if (auto norm = dyn_cast<kernel::NormOp>(op))
    return SymExpr(norm.getKind() == lm::NormKind::Layer ? 8 : 4) * elements(norm.getResult());
  if (auto softmax = dyn_cast<kernel::SoftmaxOp>(op))
    return SymExpr(4) * elements(softmax.getResult());
  if (auto embed = dyn_cast<kernel::EmbedOp>(op))
    return SymExpr(int64_t(embed.getTables().size()) - 1 + (embed.getKind() ? 8 : 0)) * elements(embed.getResult());
  SymExpr sum = 0;
  if (auto loops = dyn_cast<kernel::LoopsOp>(op))
    for (Operation &inner : loops.getBody().front().without_terminator()) {
      if (isElementwise(&inner))
        sum += elements(inner.getResult(0));
      else if (isa<lm::ReduceOp>(inner))
        sum += elements(inner.getOperand(0));
    }
  return sum;
}

SymExpr llmopt::getTraffic(Operation *op) {
  SymExpr sum = 0;
  auto add = [&](Value value) {
    sum += lm::getNumElements(value.getType()) * SymExpr(int64_t(getDTypeBytes(getDType(getElementTypeOrSelf(value)))));
  };
  if (auto append = dyn_cast<kernel::KVAppendOp>(op)) { // the past is not touched
    add(append.getInput());
    add(append.getInput());
    return sum;
  }
  for (Value result : op->getResults())
    add(result);
  auto embed = dyn_cast<kernel::EmbedOp>(op);
  for (Value operand : op->getOperands()) {
    if (embed && llvm::is_contained(embed.getTables(), operand))
      add(embed.getResult()); // one row for each row of the result
    else
      add(operand);
  }
  return sum;
}

static StringRef getControlName(uint32_t control) {
  static constexpr StringRef names[] = {"none", "copy", "reset", "jump", "branch", "loop", "next", "check", "shape"};
  return names[control];
}

std::string llmopt::writeMetadata(func::FuncOp function, const PlannedModel &model, ArrayRef<Operation *> steps) {
  const ModelTables &t = model.tables;
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::json::OStream json(os);
  auto tensors = [&](StringRef key, ValueRange values, const std::vector<ModelTables::Tensor> &list) {
    json.attributeArray(key, [&] {
      for (auto [value, tensor] : llvm::zip(values, list))
        json.object([&, &value = value, &tensor = tensor] {
          json.attribute("name", llvm::json::fixUTF8(tensor.name));
          json.attribute("dtype", getDTypeName(tensor.dtype));
          json.attributeArray("shape", [&] {
            for (const SymExpr &dim : getDims(value))
              dim.getConstant() ? json.value(*dim.getConstant()) : json.value(dim.str());
          });
        });
    });
  };
  auto module = function->getParentOfType<ModuleOp>();
  json.object([&] {
    json.attribute("format", 1);
    json.attribute("model", llvm::json::fixUTF8(t.name));
    json.attributeArray("symbols", [&] {
      for (const std::string &symbol : llvm::ArrayRef(t.symbols).drop_back(t.dataSymbols.size()))
        json.value(symbol);
    });
    if (!t.dataSymbols.empty())
      json.attributeArray("data_symbols", [&] {
        function->getParentOfType<ModuleOp>().walk([&](kernel::DefineSymbolOp op) {
          json.object([&] {
            json.attribute("name", op.getSymbol());
            json.attribute("bound", lm::getExprs(op.getBound())[0].str());
          });
        });
      });
    SmallVector<Value> inputs;
    for (BlockArgument argument : function.getArguments())
      if (!function.getArgAttr(argument.getArgNumber(), "lm.cache"))
        inputs.push_back(argument);
    tensors("inputs", inputs, t.inputs);
    if (!t.caches.empty())
      json.attributeArray("caches", [&] {
        for (const ModelTables::Cache &cache : t.caches)
          json.value(llvm::json::fixUTF8(cache.name));
      });
    if (auto generation = module ? module->getAttrOfType<DictionaryAttr>("lm.generation") : DictionaryAttr())
      json.attributeObject("generation", [&] {
        for (NamedAttribute setting : generation)
          if (auto integer = dyn_cast<IntegerAttr>(setting.getValue()))
            json.attribute(setting.getName(), integer.getInt());
          else if (auto number = dyn_cast<FloatAttr>(setting.getValue()))
            json.attribute(setting.getName(), number.getValueAsDouble());
      });
    if (auto lora = module ? module->getAttrOfType<DictionaryAttr>("lm.lora") : DictionaryAttr())
      json.attributeObject("lora", [&] {
        json.attribute("rank", lora.getAs<IntegerAttr>("rank").getInt());
        json.attribute("alpha", lora.getAs<FloatAttr>("alpha").getValueAsDouble());
        json.attribute("rs", lora.getAs<BoolAttr>("rs").getValue());
        json.attributeArray("layers", [&] {
          for (auto layer : lora.getAs<ArrayAttr>("layers").getAsRange<StringAttr>())
            json.value(llvm::json::fixUTF8(layer.getValue()));
        });
      });
    tensors("outputs", function.getBody().front().getTerminator()->getOperands(), t.outputs);
    json.attributeArray("constraints", [&] {
      for (const ModelTables::Constraint &constraint : t.constraints)
        json.value(llvm::json::fixUTF8(constraint.reason));
    });
    json.attributeArray("steps", [&] {
      for (auto [op, step] : llvm::zip(steps, t.steps))
        json.object([&, op = op, &step = step] {
          json.attribute("op", op ? op->getName().getStringRef() : getControlName(step.control));
          if (op)
            json.attribute("kernel", step.kernel);
          json.attribute("nodes", llvm::json::fixUTF8(step.name));
          if (!op) {
            if (step.tiles != LLMOPT_NONE)
              json.attribute("target", step.tiles);
            return;
          }
          json.attribute("flops", getFlops(op).str());
          json.attribute("bytes", getTraffic(op).str());
        });
    });
    json.attributeArray("weights", [&] {
      for (const ModelTables::Weight &weight : t.weights)
        json.object([&] {
          json.attribute("name", llvm::json::fixUTF8(weight.name));
          json.attribute("dtype", getDTypeName(weight.dtype));
          json.attributeArray("shape", [&] {
            for (int64_t dim : weight.dims)
              json.value(dim);
          });
          if (weight.hasRecipe) {
            json.attributeBegin("recipe");
            json.rawValue(weight.recipe);
            json.attributeEnd();
          }
        });
    });
  });
  return text;
}

// The tables of Runtime/abi.h as LLVM constants. Struct types are written out
// field by field; the static_asserts below tie them to the header's layout.
#include "ModelTablesToLLVM.h"

#include "llvm/IR/Constants.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"

#include <cstddef>

using namespace llvm;

namespace llmopt::cpu {
namespace {

static_assert(sizeof(llmopt_tensor_desc) == 88 && offsetof(llmopt_tensor_desc, buffer) == 80);
static_assert(sizeof(llmopt_buffer) == 32 && offsetof(llmopt_buffer, data) == 24);
static_assert(sizeof(llmopt_step) == 40 && offsetof(llmopt_step, tiles) == 32);
static_assert(sizeof(llmopt_weight) == 168 && offsetof(llmopt_weight, recipe) == 160);
static_assert(sizeof(llmopt_expr_insn) == 16 && sizeof(llmopt_expr) == 8);
static_assert(offsetof(llmopt_model_desc, name) == 24 && offsetof(llmopt_model_desc, num_symbols) == 56 &&
              offsetof(llmopt_model_desc, symbols) == 96 && offsetof(llmopt_model_desc, scratch_bytes) == 176 &&
              offsetof(llmopt_model_desc, metadata) == 192 && offsetof(llmopt_model_desc, constraints) == 208 &&
              offsetof(llmopt_model_desc, data_symbols) == 224 && offsetof(llmopt_model_desc, past_symbol) == 240 &&
              offsetof(llmopt_model_desc, index_checks) == 272 && offsetof(llmopt_model_desc, device) == 280 &&
              offsetof(llmopt_model_desc, training) == 288 && sizeof(llmopt_model_desc) == 296);
static_assert(sizeof(llmopt_data_symbol) == 16 && sizeof(llmopt_cache) == 16 && sizeof(llmopt_index_check) == 16);
static_assert(sizeof(llmopt_parameter) == 24 && sizeof(llmopt_hyper) == 24 && sizeof(llmopt_label) == 24 &&
              sizeof(llmopt_training) == 64);
static_assert(sizeof(llmopt_constraint) == 24 && offsetof(llmopt_constraint, reason) == 16);

class Writer {
public:
  Writer(llvm::Module &module) : module(module), context(module.getContext()) {}

  Constant *u32(uint32_t v) { return ConstantInt::get(Type::getInt32Ty(context), v); }
  Constant *i64(uint64_t v) { return ConstantInt::get(Type::getInt64Ty(context), v); }
  Constant *f64(double v) { return ConstantFP::get(Type::getDoubleTy(context), v); }
  Constant *raw(ArrayRef<uint8_t> data) { return ConstantDataArray::get(context, data); }
  Constant *null() { return ConstantPointerNull::get(PointerType::getUnqual(context)); }

  Constant *string(StringRef text) {
    auto [it, isNew] = strings.try_emplace(text, nullptr);
    if (isNew)
      it->second = global(ConstantDataArray::getString(context, text), "str", Align(1));
    return it->second;
  }
  Constant *bytes(ArrayRef<uint8_t> data) {
    return global(ConstantDataArray::get(context, data), "constant", Align(64));
  }
  Constant *record(ArrayRef<Constant *> fields) { return ConstantStruct::getAnon(context, fields); }

  /// The address of an array of constants of one type, null if empty.
  Constant *array(ArrayRef<Constant *> elements, StringRef name) {
    if (elements.empty())
      return null();
    auto *type = ArrayType::get(elements.front()->getType(), elements.size());
    return global(ConstantArray::get(type, elements), name, Align(16));
  }
  Constant *global(Constant *value, StringRef name, Align alignment) {
    auto *variable = new GlobalVariable(module, value->getType(), /*isConstant=*/true, GlobalValue::PrivateLinkage,
                                        value, "llmopt." + name);
    variable->setAlignment(alignment);
    return variable;
  }
  template <typename T, typename Make> Constant *table(const std::vector<T> &items, StringRef name, Make make) {
    SmallVector<Constant *> elements;
    for (const T &item : items)
      elements.push_back(make(item));
    return array(elements, name);
  }

private:
  llvm::Module &module;
  LLVMContext &context;
  StringMap<Constant *> strings;
};

Constant *tensors(Writer &w, const std::vector<ModelTables::Tensor> &list, StringRef name) {
  return w.table(list, name, [&](const ModelTables::Tensor &t) {
    SmallVector<Constant *> dims;
    for (size_t d = 0; d < LLMOPT_MAX_RANK; ++d)
      dims.push_back(w.u32(d < t.dims.size() ? t.dims[d] : LLMOPT_NONE));
    auto *dimsArray = ConstantArray::get(ArrayType::get(dims[0]->getType(), dims.size()), dims);
    return w.record({w.string(t.name), w.u32(t.dtype), w.u32(t.dims.size()), dimsArray, w.u32(t.buffer)});
  });
}

Constant *weightTable(Writer &w, const ModelTables &t) {
  return w.table(t.weights, "weights", [&](const ModelTables::Weight &x) {
    SmallVector<Constant *> dims;
    for (size_t d = 0; d < LLMOPT_MAX_RANK; ++d)
      dims.push_back(w.i64(d < x.dims.size() ? x.dims[d] : 0));
    auto *dimsArray = ConstantArray::get(ArrayType::get(dims[0]->getType(), dims.size()), dims);
    return w.record({w.string(x.name), w.u32(x.dtype), w.u32(x.dims.size()), dimsArray, w.i64(x.offset), w.i64(x.size),
                     x.hasRecipe ? w.string(x.recipe) : w.null()});
  });
}

/// `weights` and `training` are addresses.
Constant *modelRecord(Writer &w, llvm::Module &module, const ModelTables &t, Constant *weights, Constant *training) {
  std::vector<uint32_t> stepArgs, stepDims;
  Constant *steps = w.table(t.steps, "steps", [&](const ModelTables::Step &s) {
    uint32_t firstArg = stepArgs.size(), firstDim = stepDims.size();
    stepArgs.insert(stepArgs.end(), s.args.begin(), s.args.end());
    stepDims.insert(stepDims.end(), s.dims.begin(), s.dims.end());
    Constant *kernel = s.control == LLMOPT_CONTROL_NONE ? module.getFunction(s.kernel) : w.null();
    return w.record({w.string(s.name), kernel, w.u32(firstArg), w.u32(s.args.size()), w.u32(firstDim),
                     w.u32(s.dims.size()), w.u32(s.tiles), w.u32(s.control)});
  });
  Constant *buffers = w.table(t.buffers, "buffers", [&](const ModelTables::Buffer &b) {
    return w.record({w.u32(b.kind), w.u32(b.index), w.u32(b.size), w.u32(b.offset), w.u32(b.firstStep),
                     w.u32(b.lastStep), b.kind == LLMOPT_BUFFER_CONSTANT ? w.bytes(b.data) : w.null()});
  });
  auto number = [&](uint32_t v) { return w.u32(v); };
  Constant *id = w.raw(t.buildId);

  Constant *model = w.record(
      {w.u32(sizeof(llmopt_model_desc)),
       w.u32(LLMOPT_ABI_VERSION),
       id,
       w.string(t.name),
       w.string(t.compiler),
       w.string(t.target),
       w.string(t.cpuFeatures),
       w.u32(t.symbols.size()),
       w.u32(t.inputs.size()),
       w.u32(t.outputs.size()),
       w.u32(t.buffers.size()),
       w.u32(t.steps.size()),
       w.u32(t.weights.size()),
       w.u32(t.exprs.size()),
       w.u32(t.exprCode.size()),
       w.u32(stepArgs.size()),
       w.u32(stepDims.size()),
       w.table(t.symbols, "symbols", [&](const std::string &s) { return w.string(s); }),
       tensors(w, t.inputs, "inputs"),
       tensors(w, t.outputs, "outputs"),
       buffers,
       steps,
       weights,
       w.table(t.exprs, "exprs", [&](const llmopt_expr &e) { return w.record({w.u32(e.first), w.u32(e.count)}); }),
       w.table(t.exprCode, "expr_code",
               [&](const llmopt_expr_insn &i) { return w.record({w.i64(i.op), w.i64(i.value)}); }),
       w.table(stepArgs, "step_args", number),
       w.table(stepDims, "step_dims", number),
       w.u32(t.scratchBytes),
       w.u32(0),
       w.i64(t.weightsSize),
       w.string(t.metadata),
       w.u32(t.constraints.size()),
       w.u32(t.caches.size()),
       w.table(t.constraints, "constraints",
               [&](const ModelTables::Constraint &c) {
                 return w.record({w.u32(c.lhs), w.u32(c.relation), w.u32(c.rhs), w.u32(c.flags), w.string(c.reason)});
               }),
       w.u32(t.dataSymbols.size()),
       w.u32(0),
       w.table(t.dataSymbols, "data_symbols",
               [&](const ModelTables::DataSymbol &s) {
                 return w.record({w.u32(s.symbol), w.u32(s.buffer), w.u32(s.bound), w.u32(s.firstStep)});
               }),
       tensors(w, t.outputBounds, "output_bounds"),
       w.u32(t.pastSymbol),
       w.u32(t.capacitySymbol),
       w.u32(t.newTokens),
       w.u32(t.maxTokens),
       w.table(
           t.caches, "caches",
           [&](const ModelTables::Cache &c) { return w.record({w.string(c.name), w.u32(c.dtype), w.u32(c.size)}); }),
       w.u32(t.indexChecks.size()),
       w.u32(0),
       w.table(t.indexChecks, "index_checks",
               [&](const ModelTables::IndexCheck &c) {
                 return w.record({w.u32(c.input), w.u32(c.rows), w.string(c.reason)});
               }),
       w.null(),
       training});
  assert(module.getDataLayout().getTypeAllocSize(model->getType()) == sizeof(llmopt_model_desc));
  return w.global(model, "model", Align(16));
}

Constant *trainingRecord(Writer &w, llvm::Module &module, const TrainingTables &t, Constant *weights) {
  Constant *parameters = w.table(t.parameters, "parameters", [&](const TrainingTables::Parameter &p) {
    return w.record(
        {w.string(p.name), w.u32(p.gradientsInput), w.u32(p.gradientsOutput), w.u32(p.evaluateInput), w.u32(p.flags)});
  });
  Constant *hypers = w.table(t.hypers, "hypers", [&](const TrainingTables::Hyper &h) {
    return w.record({w.string(h.name), w.u32(h.gradientsInput), w.u32(h.evaluateInput), w.f64(h.byDefault)});
  });
  Constant *labels = w.table(t.labels, "labels", [&](const TrainingTables::Label &l) {
    return w.record({w.string(l.name), w.u32(l.gradientsInput), w.u32(l.evaluateInput), w.u32(l.gradientsClasses),
                     w.u32(l.evaluateClasses)});
  });
  Constant *record = w.record({w.u32(sizeof(llmopt_training)), w.u32(t.parameters.size()), w.u32(t.hypers.size()),
                               w.u32(t.labels.size()), parameters, hypers, labels, w.string(t.loss),
                               modelRecord(w, module, t.gradients, weights, w.null()),
                               modelRecord(w, module, t.evaluate, weights, w.null())});
  assert(module.getDataLayout().getTypeAllocSize(record->getType()) == sizeof(llmopt_training));
  return w.global(record, "training", Align(16));
}

/// Whether all kernels of the steps exist.
bool checkSteps(llvm::Module &module, const ModelTables &t, std::string &error) {
  for (const ModelTables::Step &step : t.steps) {
    if (step.control == LLMOPT_CONTROL_NONE && !module.getFunction(step.kernel)) {
      error = "step '" + step.name + "' needs kernel '" + step.kernel + "', which was not generated";
      return false;
    }
  }
  return true;
}

} // namespace

bool addModelTables(llvm::Module &module, const ModelTables &t, StringRef symbolPrefix, std::string &error) {
  if (!checkSteps(module, t, error))
    return false;
  if (t.training)
    if (!checkSteps(module, t.training->gradients, error) || !checkSteps(module, t.training->evaluate, error))
      return false;
  Writer w(module);
  LLVMContext &context = module.getContext();
  Constant *weights = weightTable(w, t);
  Constant *training = t.training ? trainingRecord(w, module, *t.training, weights) : w.null();
  Constant *model = modelRecord(w, module, t, weights, training);
  auto *type = FunctionType::get(PointerType::getUnqual(context), false);
  auto *entry = Function::Create(type, GlobalValue::ExternalLinkage, symbolPrefix + LLMOPT_MODEL_SYMBOL, module);
  IRBuilder<> builder(BasicBlock::Create(context, "", entry));
  builder.CreateRet(model);
  return true;
}

} // namespace llmopt::cpu

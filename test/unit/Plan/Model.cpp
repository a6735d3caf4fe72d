#include "Model.h"

#include "llmopt/CodeGen/CUDA/EmitCuda.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <cmath>
#include <cstring>
#include <filesystem>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::test;

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "llmopt-plan-XXXXXX").string();
  path = mkdtemp(name.data()) ? name : "";
}
TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  if (!path.empty())
    std::filesystem::remove_all(path, ignored);
}

std::string test::denseFloats(std::mt19937 &random, int64_t count, float deviation) {
  std::normal_distribution<float> normal(0, deviation);
  std::string text = "dense<\"0x";
  for (int64_t i = 0; i < count; ++i) {
    float value = normal(random);
    unsigned char bytes[4];
    std::memcpy(bytes, &value, 4);
    for (unsigned char byte : bytes) {
      text += "0123456789ABCDEF"[byte >> 4];
      text += "0123456789ABCDEF"[byte & 15];
    }
  }
  return text + "\">";
}

std::string test::weight(std::mt19937 &random, const std::string &name, std::vector<int64_t> dims, float deviation) {
  int64_t count = 1;
  std::string type = "tensor<";
  for (int64_t dim : dims) {
    count *= dim;
    type += std::to_string(dim) + "x";
  }
  type += "f32>";
  return "%" + name + " = lm.weight \"" + name + "\" from (" + denseFloats(random, count, deviation) + " : " + type +
         ") : " + type + "\n";
}

lm::Tensor test::floats(MLIRContext &context, std::vector<int64_t> dims, std::vector<double> values) {
  return cantFail(lm::Tensor::fromFloats(Float32Type::get(&context), dims, values));
}

lm::Tensor test::randomFloats(MLIRContext &context, std::mt19937 &random, std::vector<int64_t> dims) {
  int64_t count = 1;
  for (int64_t dim : dims)
    count *= dim;
  std::normal_distribution<double> normal;
  std::vector<double> values(count);
  for (double &value : values)
    value = normal(random);
  return floats(context, dims, values);
}

lm::Tensor test::randomInts(MLIRContext &context, std::mt19937 &random, std::vector<int64_t> dims, int64_t bound) {
  int64_t count = 1;
  for (int64_t dim : dims)
    count *= dim;
  std::vector<int64_t> values(count);
  for (int64_t &value : values)
    value = std::uniform_int_distribution<int64_t>(0, bound - 1)(random);
  return cantFail(lm::Tensor::fromInts(IntegerType::get(&context, 64), dims, values));
}

Model::Model(const std::string &text) : context(std::make_unique<MLIRContext>(MLIRContext::Threading::DISABLED)) {
  context->loadDialect<lm::LMDialect, kernel::KernelDialect, func::FuncDialect>();
  source = parseSourceString<ModuleOp>(text, context.get());
  EXPECT_TRUE(source) << "the model does not parse";
}

Model::Model(const Maker &make) : context(std::make_unique<MLIRContext>(MLIRContext::Threading::DISABLED)) {
  context->loadDialect<lm::LMDialect, kernel::KernelDialect, func::FuncDialect>();
  source = make(*context);
  EXPECT_TRUE(source) << "the model was not made";
}

std::vector<lm::Tensor> Model::evaluate(const std::vector<lm::Tensor> &inputs) {
  if (!source)
    return {};
  auto values = lm::evaluate(source->lookupSymbol<func::FuncOp>("main"), inputs);
  EXPECT_TRUE(succeeded(values));
  return succeeded(values) ? std::vector<lm::Tensor>(values->begin(), values->end()) : std::vector<lm::Tensor>();
}

namespace {
/// Weights are dequantized before any product.
class WithoutInt8 : public cpu::CPUPlanTarget {
public:
  using CPUPlanTarget::CPUPlanTarget;
  std::optional<PackedLayout> getInt8Layout(int64_t, int64_t) const override { return std::nullopt; }
  std::optional<PackedLayout> getQuantizedLayout() const override { return std::nullopt; }
  bool hasQuantizedNorm(bool) const override { return false; }
};
} // namespace

bool Model::compile(const cpu::EmitModelOptions &given) {
  if (!source)
    return false;
  errors.clear();
  ScopedDiagnosticHandler handler(context.get(), [&](Diagnostic &diagnostic) {
    errors += diagnostic.str() + "\n";
    return success();
  });
  std::string error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget("", "native", error);
  if (!target) {
    errors = error;
    return false;
  }
  planned = source->clone();
  cpu::EmitModelOptions options = given;
  if (options.output.empty())
    options.output = path();
  if (emulatesCuda)
    return succeeded(buildPlan(*planned, cuda::CudaPlanTarget())) && succeeded(verify(*planned)) &&
           succeeded(cuda::emitCudaEmulation(*planned, {options.output, "", false}));
  cpu::CPUPlanTarget whole(*target);
  WithoutInt8 without(*target);
  if (failed(buildPlan(*planned, hasInt8 ? whole : static_cast<const PlanTarget &>(without))) ||
      failed(verify(*planned)))
    return false;
  FailureOr<cpu::EmitModelResult> emitted = cpu::emitModel(*planned, *target, options);
  if (failed(emitted))
    return false;
  result = std::move(*emitted);
  return true;
}

namespace {
/// The C objects of one run.
struct Loaded {
  llmopt_model *model = nullptr;
  llmopt_session *session = nullptr;
  ~Loaded() {
    llmopt_session_destroy(session);
    llmopt_model_destroy(model);
  }
};
} // namespace

static Type getElementType(MLIRContext *context, uint32_t dtype) {
  switch (dtype) {
  case LLMOPT_F32:
    return Float32Type::get(context);
  case LLMOPT_F64:
    return Float64Type::get(context);
  case LLMOPT_I32:
    return IntegerType::get(context, 32);
  case LLMOPT_BOOL:
    return IntegerType::get(context, 1);
  default:
    return IntegerType::get(context, 64);
  }
}

std::vector<lm::Tensor> Model::run(const std::vector<lm::Tensor> &inputs, uint32_t threads) {
  errors.clear();
  Loaded loaded;
  llmopt_error error;
  auto fail = [&](llmopt_status status) {
    if (status != LLMOPT_OK)
      errors = std::string(llmopt_status_name(status)) + ": " + error.message;
    return status != LLMOPT_OK;
  };
  llmopt_load_options load = {};
  load.struct_size = sizeof load;
  load.check_hash = 1;
  if (fail(llmopt_model_load(path().c_str(), &load, &loaded.model, &error)))
    return {};
  llmopt_session_options options = {};
  options.struct_size = sizeof options;
  options.num_threads = threads;
  if (fail(llmopt_session_create(loaded.model, &options, &loaded.session, &error)))
    return {};
  std::vector<llmopt_tensor_type> types;
  std::vector<std::vector<char>> bytes;
  std::vector<llmopt_input> in;
  for (const lm::Tensor &input : inputs) {
    llmopt_tensor_type type = {};
    type.rank = input.getRank();
    for (int64_t d = 0; d < input.getRank(); ++d)
      type.dims[d] = input.getDim(d);
    types.push_back(type);
    bytes.push_back(input.toBytes());
  }
  for (const std::vector<char> &data : bytes)
    in.push_back({data.data(), data.size()});
  if (fail(llmopt_session_bind(loaded.session, types.data(), types.size(), &error)))
    return {};
  std::vector<llmopt_tensor_type> outTypes(source->lookupSymbol<func::FuncOp>("main").getNumResults());
  std::vector<std::vector<char>> outBytes;
  std::vector<llmopt_output> out;
  for (auto [i, type] : llvm::enumerate(outTypes)) {
    if (fail(llmopt_session_get_output_type(loaded.session, i, &type, &error)))
      return {};
    size_t size = llmopt_dtype_size(type.dtype);
    for (uint32_t d = 0; d < type.rank; ++d)
      size *= type.dims[d];
    outBytes.emplace_back(size, char(0x7f));
  }
  for (std::vector<char> &data : outBytes)
    out.push_back({data.data(), data.size()});
  std::vector<lm::Tensor> values;
  for (int repeat = 0; repeat < 2; ++repeat) // the second run finds the arena used
    if (fail(llmopt_session_run(loaded.session, in.data(), in.size(), out.data(), out.size(), &error)))
      return {};
  for (auto [i, type] : llvm::enumerate(outTypes)) { // sizes that depend on data are known now
    if (fail(llmopt_session_get_output_type(loaded.session, i, &type, &error)))
      return {};
    size_t size = llmopt_dtype_size(type.dtype);
    for (uint32_t d = 0; d < type.rank; ++d)
      size *= type.dims[d];
    EXPECT_LE(size, outBytes[i].size());
    outBytes[i].resize(size);
  }
  for (auto [type, data] : llvm::zip(outTypes, outBytes)) {
    std::vector<int64_t> dims(type.dims, type.dims + type.rank);
    values.push_back(cantFail(lm::Tensor::fromBytes(getElementType(context.get(), type.dtype), dims, data)));
  }
  return values;
}

void Model::expectEqual(const std::vector<lm::Tensor> &inputs, double tolerance, uint32_t threads) {
  std::vector<lm::Tensor> expected = evaluate(inputs), actual = run(inputs, threads);
  ASSERT_EQ(errors, "");
  ASSERT_EQ(expected.size(), actual.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const lm::Tensor &e = expected[i], &a = actual[i];
    ASSERT_EQ(std::vector<int64_t>(e.getDims()), std::vector<int64_t>(a.getDims())) << "output " << i;
    double largest = 1e-6, error = 0;
    for (int64_t j = 0; j < e.getNumElements(); ++j) {
      double x = e.asDouble(j), y = a.asDouble(j);
      if (!e.isFloat() || !std::isfinite(x)) {
        ASSERT_TRUE(x == y || (std::isnan(x) && std::isnan(y)))
            << "output " << i << " element " << j << ": " << y << " for " << x;
        continue;
      }
      ASSERT_TRUE(std::isfinite(y)) << "output " << i << " element " << j;
      largest = std::max(largest, std::fabs(x));
      error = std::max(error, std::fabs(x - y));
    }
    EXPECT_LE(error / largest, tolerance) << "output " << i;
  }
}

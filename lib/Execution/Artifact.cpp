// The runtime and llmopt-run's reader of .npz, behind llvm::Expected. This file
// is compiled with exceptions, which the reader throws; none leaves it.
#include "llmopt/Execution/Artifact.h"

#include "Npz.h"
#include "RunModel.h"

#include "llvm/Support/Path.h"

#include <cstring>
#include <memory>

using namespace llmopt;

namespace {

struct ModelDeleter {
  void operator()(llmopt_model *model) const { llmopt_model_destroy(model); }
};
struct SessionDeleter {
  void operator()(llmopt_session *session) const { llmopt_session_destroy(session); }
};

NamedArray toArray(const std::string &name, const llmopt_tensor_type &type, const char *data, size_t size) {
  return {name, type.dtype, std::vector<int64_t>(type.dims, type.dims + type.rank),
          std::vector<char>(data, data + size)};
}

/// A session with bound shapes and memory for its outputs.
class PreparedRun : public RepeatedRun {
public:
  PreparedRun(llmopt_model *model, llvm::ArrayRef<NamedArray> inputs, uint32_t numThreads);
  void runOrThrow() {
    llmopt_error error;
    run::check(llmopt_session_run(session.get(), data.data(), data.size(), outputs.data(), outputs.size(), &error),
               error);
  }
  llvm::Error run() override;
  std::vector<NamedArray> takeResults();

private:
  llmopt_tensor_type getOutputType(uint32_t i) {
    llmopt_error error;
    llmopt_tensor_type type;
    run::check(llmopt_session_get_output_type(session.get(), i, &type, &error), error);
    return type;
  }

  std::unique_ptr<llmopt_session, SessionDeleter> session;
  std::vector<llmopt_input> data;
  std::vector<NamedArray> results;
  std::vector<llmopt_output> outputs;
};

size_t countBytes(const llmopt_tensor_type &type) {
  size_t size = llmopt_dtype_size(type.dtype);
  for (uint32_t d = 0; d < type.rank; ++d)
    size *= type.dims[d];
  return size;
}

PreparedRun::PreparedRun(llmopt_model *model, llvm::ArrayRef<NamedArray> inputs, uint32_t numThreads) {
  llmopt_error error;
  llmopt_session_options options{};
  options.struct_size = sizeof(options);
  options.num_threads = numThreads;
  llmopt_session *rawSession = nullptr;
  run::check(llmopt_session_create(model, &options, &rawSession, &error), error);
  session.reset(rawSession);
  llmopt_model_info info{};
  info.struct_size = sizeof(info);
  run::check(llmopt_model_get_info(model, &info, &error), error);

  std::vector<llmopt_tensor_type> types;
  for (uint32_t i = 0; i < info.num_inputs; ++i) {
    const char *name;
    llmopt_tensor_type type;
    run::check(llmopt_model_get_input(model, i, &name, &type, &error), error);
    const NamedArray *found = nullptr;
    for (const NamedArray &input : inputs)
      if (input.name == name)
        found = &input;
    if (!found)
      throw run::Failure{run::BadData, std::string("expected an array for input '") + name + "'"};
    if (found->dims.size() > LLMOPT_MAX_RANK)
      throw run::Failure{run::BadData, std::string("input '") + name + "': too many dimensions"};
    type.dtype = found->dtype;
    type.rank = static_cast<uint32_t>(found->dims.size());
    std::copy(found->dims.begin(), found->dims.end(), type.dims);
    types.push_back(type);
    data.push_back({found->data.data(), found->data.size()});
  }
  run::check(llmopt_session_bind(session.get(), types.data(), types.size(), &error), error);

  results.resize(info.num_outputs);
  for (uint32_t i = 0; i < info.num_outputs; ++i) {
    const char *name;
    llmopt_tensor_type type;
    run::check(llmopt_model_get_output(model, i, &name, &type, &error), error);
    type = getOutputType(i);
    results[i] = toArray(name, type, nullptr, 0);
    results[i].data.resize(countBytes(type));
    outputs.push_back({results[i].data.data(), results[i].data.size()});
  }
}

std::vector<NamedArray> PreparedRun::takeResults() {
  // Branches and loops may give less than they need room for.
  for (uint32_t i = 0; i < results.size(); ++i) {
    llmopt_tensor_type type = getOutputType(i);
    results[i].dims.assign(type.dims, type.dims + type.rank);
    results[i].data.resize(countBytes(type));
  }
  return std::move(results);
}

std::vector<NamedArray> runOnce(llmopt_model *model, llvm::ArrayRef<NamedArray> inputs, uint32_t numThreads) {
  PreparedRun prepared(model, inputs, numThreads);
  prepared.runOrThrow();
  return prepared.takeResults();
}

template <typename Function> auto guarded(Function function) -> llvm::Expected<decltype(function())> {
  try {
    return function();
  } catch (const run::Failure &failure) {
    std::errc code = failure.code == run::Environment ? std::errc::io_error : std::errc::invalid_argument;
    if (failure.code == run::Environment)
      return llvm::createStringError(std::make_error_code(code), failure.message);
    return llvm::createStringError(failure.message);
  }
}

} // namespace

llvm::Error PreparedRun::run() {
  return guarded([&] {
           runOrThrow();
           return true;
         })
      .takeError();
}

llvm::Expected<std::vector<NamedArray>> llmopt::readArrays(llvm::StringRef npzPath) {
  return guarded([&] {
    std::vector<NamedArray> arrays;
    for (const run::Tensor &tensor : run::readNpz(npzPath.str()))
      arrays.push_back(toArray(tensor.name, tensor.type, tensor.data(), tensor.size()));
    return arrays;
  });
}

llvm::Expected<NamedArray> llmopt::readArray(llvm::StringRef npyPath) {
  return guarded([&] {
    run::Tensor tensor = run::readNpyFile(npyPath.str(), llvm::sys::path::stem(npyPath).str());
    return toArray(tensor.name, tensor.type, tensor.data(), tensor.size());
  });
}

llvm::Expected<std::vector<NamedArray>> llmopt::runArtifact(llvm::StringRef path, llvm::ArrayRef<NamedArray> inputs) {
  return guarded([&] {
    llmopt_error error;
    llmopt_model *model = nullptr;
    run::check(llmopt_model_load(path.str().c_str(), nullptr, &model, &error), error);
    std::unique_ptr<llmopt_model, ModelDeleter> holder(model);
    return runOnce(model, inputs, 0);
  });
}

llvm::Expected<std::vector<NamedArray>> llmopt::runModel(llmopt_model *model, llvm::ArrayRef<NamedArray> inputs,
                                                         uint32_t numThreads) {
  return guarded([&] { return runOnce(model, inputs, numThreads); });
}

llvm::Expected<std::unique_ptr<RepeatedRun>> llmopt::prepareRun(llmopt_model *model, llvm::ArrayRef<NamedArray> inputs,
                                                                uint32_t numThreads) {
  return guarded(
      [&]() -> std::unique_ptr<RepeatedRun> { return std::make_unique<PreparedRun>(model, inputs, numThreads); });
}

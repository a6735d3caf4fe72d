// Loading: file checks, dynamic loader, tables, CPU, weights, in that order.
#include "model.h"

#include "cpu.h"
#include "elf_check.h"
#include "tables.h"

#include <cerrno>
#include <climits>
#include <dlfcn.h>
#include <new>
#include <pthread.h>

using namespace llmopt::rt;

void llmopt_model::release() {
  if (references.fetch_sub(1, std::memory_order_acq_rel) != 1)
    return;
  void *code = library;
  llmopt_model *holder = parent;
  if (onDevice) {
    onDevice->~DeviceModel();
    std::free(onDevice);
  }
  this->~llmopt_model();
  std::free(this);
  if (code)
    dlclose(code);
  if (holder)
    holder->release();
}

llmopt_status llmopt_model::useDevice(const DeviceModel **device, llmopt_error *error) {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  llmopt_status status = LLMOPT_OK;
  if (!onDevice) {
    void *memory = std::malloc(sizeof(DeviceModel));
    DeviceModel *made = memory ? new (memory) DeviceModel() : nullptr;
    status = made ? made->open(*this, error) : fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a model");
    if (!status) {
      onDevice = made;
    } else if (made) {
      made->~DeviceModel();
      std::free(made);
    }
  }
  *device = onDevice;
  pthread_mutex_unlock(&mutex);
  return status;
}

namespace {
/// Destroys a half-made model on the way out of a failed load.
struct Holder {
  llmopt_model *model = nullptr;
  ~Holder() {
    if (model)
      model->release();
  }
  bool allocate() {
    void *memory = std::malloc(sizeof(llmopt_model));
    if (memory)
      model = new (memory) llmopt_model();
    return model != nullptr;
  }
  llmopt_model *take() {
    llmopt_model *taken = model;
    model = nullptr;
    return taken;
  }
};

llmopt_status outOfMemory(const char *path, llmopt_error *error) {
  return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
}

/// Fills model->desc from the artefact's table and checks it and the CPU.
llmopt_status adoptDescriptor(llmopt_model *model, const llmopt_model_desc *desc, const char *path,
                              llmopt_error *error) {
  if (!desc)
    return fail(error, LLMOPT_BAD_MODEL, "%s: " LLMOPT_MODEL_SYMBOL " returned no descriptor", path);
  if (llmopt_status status = checkVersion(*desc, path, error))
    return status;
  std::memset(&model->desc, 0, sizeof(model->desc));
  std::memcpy(&model->desc, desc, desc->struct_size < sizeof(model->desc) ? desc->struct_size : sizeof(model->desc));
  if (llmopt_status status = checkTables(model->desc, path, error))
    return status;
  llmopt_error detail;
  llmopt_status status = checkCpuFeatures(readCpuWords(), desc->cpu_features, &detail);
  if (status == LLMOPT_OK)
    status = requestCpuState(desc->cpu_features, &detail);
  if (status != LLMOPT_OK)
    return fail(error, status, "%s: %s", path, detail.message);
  return LLMOPT_OK;
}

llmopt_status checkLoadMode(uint32_t mode, llmopt_error *error) {
  if (mode != LLMOPT_LOAD_MAP && mode != LLMOPT_LOAD_COPY)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "unknown load_mode %u", mode);
  return LLMOPT_OK;
}

llmopt_status openWeights(llmopt_model *model, const char *path, uint32_t loadMode, llmopt_error *error) {
  File file;
  if (llmopt_status status = file.open(path, "weights file", error))
    return status;
  if (!model->weightsPath.adopt(realpath(path, nullptr)))
    return fail(error, errno == ENOMEM ? LLMOPT_OUT_OF_MEMORY : LLMOPT_IO_ERROR, "%s: weights file: %s", path,
                ErrnoText(errno).c_str());
  return model->weights.open(file, path, 0, model->desc, loadMode, error);
}

/// Replaces the extension of the last path component by ".weights".
llmopt_status weightsBeside(const char *path, String *result, llmopt_error *error) {
  const char *slash = std::strrchr(path, '/');
  const char *file = slash ? slash + 1 : path;
  const char *dot = std::strrchr(file, '.');
  size_t stem = dot && dot != file ? size_t(dot - path) : std::strlen(path);
  static const char extension[] = ".weights";
  char *name = static_cast<char *>(std::malloc(stem + sizeof(extension)));
  if (!result->adopt(name))
    return outOfMemory(path, error);
  std::memcpy(name, path, stem);
  std::memcpy(name + stem, extension, sizeof(extension));
  return LLMOPT_OK;
}

/// The tail of the artefact, else the file beside the path as given, else the
/// file beside what that path links to.
llmopt_status findWeights(llmopt_model *model, const File &artefact, const char *given, uint32_t loadMode,
                          llmopt_error *error) {
  const char *resolved = model->path.c_str();
  uint64_t tail;
  if (llmopt_status status = findTail(artefact, resolved, &tail, error))
    return status;
  if (tail) {
    if (!model->weightsPath.assign(resolved))
      return outOfMemory(resolved, error);
    return model->weights.open(artefact, resolved, tail, model->desc, loadMode, error);
  }
  String beside;
  if (llmopt_status status = weightsBeside(given, &beside, error))
    return status;
  llmopt_status status = openWeights(model, beside.c_str(), loadMode, error);
  if (status != LLMOPT_NOT_FOUND)
    return status;
  String besideTarget;
  if (llmopt_status status = weightsBeside(resolved, &besideTarget, error))
    return status;
  llmopt_error ignored;
  status = openWeights(model, besideTarget.c_str(), loadMode, &ignored);
  if (status != LLMOPT_OK && status != LLMOPT_NOT_FOUND && error)
    *error = ignored;
  return status;
}
} // namespace

extern "C" llmopt_status llmopt_model_load(const char *path, const llmopt_load_options *given, llmopt_model **result,
                                           llmopt_error *error) {
  if (!path || !result)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "path or model is NULL");
  llmopt_load_options options;
  if (llmopt_status status = readOptions(given, &options, "load options", error))
    return status;
  if (llmopt_status status = checkLoadMode(options.load_mode, error))
    return status;

  Holder holder;
  if (!holder.allocate())
    return outOfMemory(path, error);
  llmopt_model *model = holder.model;
  if (!model->path.adopt(realpath(path, nullptr))) {
    llmopt_status status = errno == ENOENT || errno == ENOTDIR ? LLMOPT_NOT_FOUND
                           : errno == ENOMEM                   ? LLMOPT_OUT_OF_MEMORY
                                                               : LLMOPT_IO_ERROR;
    return fail(error, status, "%s: %s", path, ErrnoText(errno).c_str());
  }
  const char *resolved = model->path.c_str();

  File artefact;
  if (llmopt_status status = artefact.open(resolved, "model", error))
    return status;
  if (llmopt_status status = checkElf(artefact.fd(), artefact.size(), path, error))
    return status;
  // An absolute path: the loader searches nowhere.
  model->library = dlopen(resolved, RTLD_NOW | RTLD_LOCAL);
  if (!model->library) {
    const char *why = dlerror();
    return fail(error, LLMOPT_BAD_MODEL, "%s: cannot be loaded: %s", path, why ? why : "unknown reason");
  }
  void *symbol = dlsym(model->library, LLMOPT_MODEL_SYMBOL);
  if (!symbol)
    return fail(error, LLMOPT_BAD_MODEL, "%s: is not a compiled model: it does not export " LLMOPT_MODEL_SYMBOL, path);
  llmopt_model_fn function;
  std::memcpy(&function, &symbol, sizeof(function));
  if (llmopt_status status = adoptDescriptor(model, function(), path, error))
    return status;

  if (options.weights_path) {
    if (llmopt_status status = openWeights(model, options.weights_path, options.load_mode, error))
      return status;
  } else if (model->desc.weights_size) {
    if (llmopt_status status = findWeights(model, artefact, path, options.load_mode, error))
      return status;
  }
  if (options.check_hash)
    if (llmopt_status status = model->weights.check(model->weightsPath.c_str(), error))
      return status;
  *result = holder.take();
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_model_create(const llmopt_model_desc *desc, const llmopt_create_options *given,
                                             llmopt_model **result, llmopt_error *error) {
  if (!desc || !result)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "desc or model is NULL");
  llmopt_create_options options;
  if (llmopt_status status = readOptions(given, &options, "create options", error))
    return status;
  if (llmopt_status status = checkLoadMode(options.load_mode, error))
    return status;

  Holder holder;
  if (!holder.allocate())
    return outOfMemory("model", error);
  llmopt_model *model = holder.model;
  if (llmopt_status status = adoptDescriptor(model, desc, "model", error))
    return status;
  if (options.weights_path && options.weights_data)
    return fail(error, LLMOPT_INVALID_ARGUMENT,
                "create options: expected one of weights_path and "
                "weights_data, but got both");
  if (options.weights_path) {
    if (llmopt_status status = openWeights(model, options.weights_path, options.load_mode, error))
      return status;
  } else if (options.weights_data) {
    if (options.weights_size != desc->weights_size)
      return fail(error, LLMOPT_BAD_WEIGHTS, "expected %llu bytes of weights, but got %llu",
                  static_cast<unsigned long long>(desc->weights_size),
                  static_cast<unsigned long long>(options.weights_size));
    if (reinterpret_cast<uintptr_t>(options.weights_data) % 64 != 0)
      return fail(error, LLMOPT_INVALID_ARGUMENT, "expected weights_data at a multiple of 64 bytes");
    model->weights.borrow(options.weights_data);
  } else if (desc->weights_size) {
    return fail(error, LLMOPT_INVALID_ARGUMENT,
                "create options: the model has weights, but neither "
                "weights_path nor weights_data is given");
  }
  if (options.check_hash)
    if (llmopt_status status = model->weights.check(model->weightsPath.c_str(), error))
      return status;
  *result = holder.take();
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_model_get_entry(llmopt_model *model, const char *name, llmopt_model **result,
                                                llmopt_error *error) {
  if (!model || !name || !result)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model, name or entry is NULL");
  const llmopt_training *training = model->desc.training;
  const char *path = model->path.c_str();
  if (!training)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "%s%swas compiled for inference only; llmopt -train adds what trains it",
                *path ? path : "the model", *path ? ": " : " ");
  const llmopt_model_desc *desc = !std::strcmp(name, "gradients")  ? training->gradients
                                  : !std::strcmp(name, "evaluate") ? training->evaluate
                                                                   : nullptr;
  if (!desc)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected the entry gradients or evaluate, but got %s", name);
  Holder holder;
  if (!holder.allocate())
    return outOfMemory(path, error);
  if (llmopt_status status = adoptDescriptor(holder.model, desc, *path ? path : "model", error))
    return status;
  if (desc->weights_size != model->desc.weights_size)
    return fail(error, LLMOPT_BAD_MODEL, "%s: damaged model tables: entry %s has other weights", path, name);
  holder.model->weights.borrow(model->weights.data());
  if (!holder.model->path.assign(path))
    return outOfMemory(path, error);
  model->retain();
  holder.model->parent = model;
  *result = holder.take();
  return LLMOPT_OK;
}

extern "C" void llmopt_model_destroy(llmopt_model *model) {
  if (model)
    model->release();
}

extern "C" llmopt_status llmopt_model_check(const llmopt_model *model, llmopt_error *error) {
  if (!model)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model is NULL");
  return model->weights.check(model->weightsPath.c_str(), error);
}

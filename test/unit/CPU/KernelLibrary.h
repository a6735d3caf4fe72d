// Compiles emitted kernels into a shared library in memory and loads it.
#ifndef LLMOPT_TEST_UNIT_CPU_KERNELLIBRARY_H
#define LLMOPT_TEST_UNIT_CPU_KERNELLIBRARY_H

#include "llmopt/CodeGen/CPU/Compile.h"
#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/Runtime/abi.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <functional>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace llmopt::cpu {

class KernelLibrary {
public:
  KernelLibrary(const TargetInfo &target,
                const std::function<void(KernelBuilder &)> &emit) {
    llvm::SmallVector<char> bytes = compile(target, Emit::SharedLibrary, emit);
    int fd = memfd_create("kernels", MFD_CLOEXEC);
    if (fd < 0 ||
        write(fd, bytes.data(), bytes.size()) != (ssize_t)bytes.size())
      fail("cannot write the library");
    handle = dlopen(("/proc/self/fd/" + std::to_string(fd)).c_str(),
                    RTLD_NOW | RTLD_LOCAL);
    close(fd);
    if (!handle)
      fail(dlerror());
  }
  KernelLibrary(const KernelLibrary &) = delete;
  ~KernelLibrary() { dlclose(handle); }

  llmopt_kernel_fn operator[](const std::string &name) const {
    void *symbol = dlsym(handle, name.c_str());
    if (!symbol)
      fail(("no kernel " + name).c_str());
    return reinterpret_cast<llmopt_kernel_fn>(symbol);
  }

  static llvm::SmallVector<char>
  compile(const TargetInfo &target, Emit kind,
          const std::function<void(KernelBuilder &)> &emit,
          const ModelTables *tables = nullptr) {
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    mlir::OwningOpRef<mlir::ModuleOp> module =
        mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
    KernelBuilder kb(*module, target);
    emit(kb);
    CompileOptions options;
    options.emit = kind;
    options.tables = tables;
    llvm::SmallVector<char> bytes;
    if (mlir::failed(compileModule(*module, target, options, bytes)))
      fail("compilation failed");
    return bytes;
  }

private:
  [[noreturn]] static void fail(const char *why) {
    fprintf(stderr, "KernelLibrary: %s\n", why);
    exit(1);
  }
  void *handle = nullptr;
};

} // namespace llmopt::cpu
#endif

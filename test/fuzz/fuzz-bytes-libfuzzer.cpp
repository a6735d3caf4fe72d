// The rules of the importer under libFuzzer, which learns which bytes reach new code:
//
//   llmopt-fuzz-bytes -max_len=65536 CORPUS test/fuzz/cases/bytes
#include "FuzzImport.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const int file = memfd_create("model.onnx", 0);
  if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != ssize_t(size)) {
    std::perror("memfd");
    std::exit(1);
  }
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::string problem = llmopt::fuzz::checkImport(context, "/proc/self/fd/" + std::to_string(file), module);
  if (!problem.empty()) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    std::abort(); // how libFuzzer learns of it
  }
  return 0;
}

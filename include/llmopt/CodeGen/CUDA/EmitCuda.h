// From a kernel plan (L2) to a CUDA project, to what nvcc makes of it, or to an
// artefact that emulates it on a CPU.
//
// model.cu holds one function per kernel over the header-only library in
// llmopt/cuda, model_tables.cpp the tables of Runtime/abi.h as C++ text.
#ifndef LLMOPT_CODEGEN_CUDA_EMITCUDA_H
#define LLMOPT_CODEGEN_CUDA_EMITCUDA_H

#include "llmopt/CodeGen/Plan/PlanTarget.h"

#include "mlir/IR/BuiltinOps.h"

#include <optional>
#include <string>
#include <vector>

namespace llmopt::cuda {

/// The plan's view of a GPU: weights as rows along K, attention for every head size
/// that fits a block, everything else as loops.
class CudaPlanTarget : public PlanTarget {
public:
  /// `float8`: whether all GPUs that it is for multiply e4m3.
  explicit CudaPlanTarget(bool float8 = true) : float8(float8) {}
  PackedLayout getGemmLayout(int64_t n, int64_t k, mlir::Type elementType) const override;
  std::optional<PackedLayout> getInt8Layout(int64_t n, int64_t k) const override;
  bool hasGemm(mlir::Type elementType) const override;
  bool hasRows(mlir::Type elementType) const override;
  std::optional<PackedLayout> getQuantizedLayout() const override { return PackedLayout{kernel::Layout::Rows, 1}; }

  bool hasInt8Tensors() const override { return true; }
  bool hasFloat8() const override { return float8; }
  bool hasQuantizedNorm(bool grouped) const override { return !grouped; }
  bool hasAttention(lm::AttentionOp op) const override;
  bool hasLoops(mlir::Operation *op, std::string &reason) const override;

private:
  bool float8;
};

/// "sm_80+sm_90a" as {"80", "90a"}, ascending; nullopt and a reason where it is not
/// that.
std::optional<std::vector<std::string>> parseArchitectures(llvm::StringRef text, std::string &error);

/// The first of `architectures` without products of e4m3, as sm_89 has them; "" for none.
std::string findWithoutFloat8(llvm::ArrayRef<std::string> architectures);

/// Writes a project into the folder `output`: model.cu, model_tables.cpp, model.h,
/// model.weights, headers, CMakeLists.txt and README.md, each whole or not at all.
/// `tuneFile` holds measured times of products, empty: those of the compiler alone.
/// Here and below failures have been reported.
mlir::LogicalResult emitCudaProject(mlir::ModuleOp plan, llvm::StringRef output,
                                    llvm::ArrayRef<std::string> architectures, llvm::StringRef symbolPrefix,
                                    llvm::StringRef tuneFile = "");

struct CudaLibraryOptions {
  std::string output; ///< model.so; the weights go to <stem>.weights
  std::string symbolPrefix;
  bool embedWeights = false;
  std::string tuneFile;
};

/// The same project as an artefact: device code by nvcc in a library of tables by the
/// host's C++ compiler. Where one of them fails, its input stays and the message
/// says where.
mlir::LogicalResult emitCudaLibrary(mlir::ModuleOp plan, llvm::ArrayRef<std::string> architectures,
                                    const CudaLibraryOptions &options);

/// Device code alone, for one architecture.
enum class CudaCode { Cubin, Ptx };
mlir::LogicalResult emitCudaCode(mlir::ModuleOp plan, llvm::StringRef output, llvm::StringRef architecture,
                                 CudaCode code);

/// Compiles the same project for the CPU with the host's C++ compiler, against
/// the emulation header.
mlir::LogicalResult emitCudaEmulation(mlir::ModuleOp plan, const CudaLibraryOptions &options);

} // namespace llmopt::cuda

#endif

// A tensor value of the evaluator: element type, dimensions and contents.
//
// Floats are kept as doubles already rounded to the element type, integers and
// booleans as int64 already wrapped to it (ui64 as its bit pattern), so that
// loops need no switch over types. Copies share contents until written to.
#ifndef LLMOPT_DIALECT_LM_EVAL_TENSOR_H
#define LLMOPT_DIALECT_LM_EVAL_TENSOR_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <optional>
#include <vector>

namespace llmopt::lm {

/// Bytes of `numElements` elements as files and the runtime keep them: i1 takes
/// a byte, elements of 2 or 4 bits are packed (first element in the low bits).
/// nullopt on overflow and for types that have no such form.
std::optional<uint64_t> getStorageBytes(mlir::Type elementType, uint64_t numElements);

/// The product of static dimensions; nullopt on overflow or a negative one.
std::optional<int64_t> countElements(llvm::ArrayRef<int64_t> dims);

class Tensor {
public:
  /// More elements than this are refused: the evaluator is not for whole models.
  static constexpr int64_t maxElements = int64_t(1) << 28;

  /// No tensor at all.
  Tensor() = default;
  /// Zeros. Fails on negative dimensions, too many elements and element types
  /// other than floats and integers of at most 64 bits.
  static llvm::Expected<Tensor> create(mlir::Type elementType, llvm::ArrayRef<int64_t> dims);
  /// Contents in row-major order; values are rounded (or wrapped) to the type,
  /// a single value fills the tensor.
  static llvm::Expected<Tensor> fromFloats(mlir::Type elementType, llvm::ArrayRef<int64_t> dims,
                                           llvm::ArrayRef<double> values);
  static llvm::Expected<Tensor> fromInts(mlir::Type elementType, llvm::ArrayRef<int64_t> dims,
                                         llvm::ArrayRef<int64_t> values);
  /// Little endian, row major, getStorageBytes() long exactly.
  static llvm::Expected<Tensor> fromBytes(mlir::Type elementType, llvm::ArrayRef<int64_t> dims,
                                          llvm::ArrayRef<char> bytes);
  static llvm::Expected<Tensor> fromAttr(mlir::ElementsAttr attr);

  explicit operator bool() const { return static_cast<bool>(storage); }
  mlir::Type getElementType() const { return elementType; }
  llvm::ArrayRef<int64_t> getDims() const { return dims; }
  int64_t getRank() const { return dims.size(); }
  int64_t getDim(int64_t i) const { return dims[i]; }
  int64_t getNumElements() const;
  /// tensor<dims x elementType>.
  mlir::RankedTensorType getType() const;
  bool isFloat() const { return llvm::isa<mlir::FloatType>(elementType); }
  bool isUnsigned() const { return elementType.isUnsignedInteger() || elementType.isInteger(1); }

  /// The contents; floats() only where isFloat(), ints() only where not.
  llvm::ArrayRef<double> floats() const { return storage->floats; }
  llvm::ArrayRef<int64_t> ints() const { return storage->ints; }
  /// Writing makes the contents this tensor's own. What is written must be a
  /// value of the element type already (see roundToType and wrapToType).
  llvm::MutableArrayRef<double> mutableFloats();
  llvm::MutableArrayRef<int64_t> mutableInts();
  /// Element `i` whatever the type.
  double asDouble(int64_t i) const;

  /// The same contents under other dimensions with as many elements.
  Tensor reshaped(llvm::ArrayRef<int64_t> newDims) const;
  /// The inverse of fromBytes.
  std::vector<char> toBytes() const;
  mlir::DenseElementsAttr toAttr() const;

private:
  struct Storage {
    std::vector<double> floats;
    std::vector<int64_t> ints;
  };
  void unshare();

  mlir::Type elementType;
  llvm::SmallVector<int64_t, 4> dims;
  std::shared_ptr<Storage> storage;
};

/// `value` rounded once to a float type, to nearest, ties to even.
double roundToType(mlir::Type elementType, double value);
/// `value` modulo 2^width, sign or zero extended; i1 keeps the lowest bit.
int64_t wrapToType(mlir::Type elementType, int64_t value);

} // namespace llmopt::lm

#endif

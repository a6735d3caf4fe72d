// Tensor values: rounding, conversion from and to bytes and attributes.
#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/APFloat.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

using namespace mlir;
using namespace llmopt::lm;

namespace {

struct TensorTest : ::testing::Test {
  MLIRContext context;
  Builder builder{&context};
  Type f16 = builder.getF16Type(), bf16 = builder.getBF16Type(), f32 = builder.getF32Type();
  Type i64 = builder.getI64Type(), i1 = builder.getI1Type(), i4 = builder.getIntegerType(4);
  Type u8 = builder.getIntegerType(8, /*isSigned=*/false);
};

TEST_F(TensorTest, RoundsLikeAPFloat) {
  std::mt19937_64 generator(1);
  auto check = [&](double value) {
    for (Type type : {f16, bf16, f32}) {
      bool inexact;
      llvm::APFloat expected(value);
      expected.convert(cast<FloatType>(type).getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &inexact);
      double rounded = roundToType(type, value);
      if (std::isnan(value))
        EXPECT_TRUE(std::isnan(rounded));
      else
        EXPECT_EQ(rounded, expected.convertToDouble()) << value;
      EXPECT_EQ(std::signbit(rounded), std::signbit(value)) << value;
    }
  };
  for (double value : {0.0,
                       -0.0,
                       65504.0,
                       65519.99,
                       65520.0,
                       0x1p-24,
                       0x1p-25,
                       0x1.8p-25,
                       0x1p-149,
                       0x1p-150,
                       3.4028234663852886e38,
                       3.4028235677973366e38,
                       0x1.FEp127,
                       0x1.FFp127,
                       1e300,
                       -1e-300,
                       1.0 + 0x1p-11,
                       1.0 + 3 * 0x1p-11,
                       1.0 + 0x1p-8,
                       double(INFINITY),
                       double(NAN)})
    check(value), check(-value);
  for (int i = 0; i < 20000; ++i) {
    uint64_t bits = generator();
    // Half of them within reach of f16.
    if (i % 2)
      bits = (bits & 0x800fffffffffffff) | ((990 + bits % 50) << 52);
    double value;
    std::memcpy(&value, &bits, 8);
    if (!std::isnan(value))
      check(value);
  }
}

TEST_F(TensorTest, Wraps) {
  EXPECT_EQ(wrapToType(builder.getI8Type(), 200), -56);
  EXPECT_EQ(wrapToType(u8, -1), 255);
  EXPECT_EQ(wrapToType(i4, 9), -7);
  EXPECT_EQ(wrapToType(i1, 3), 1);
  EXPECT_EQ(wrapToType(i64, INT64_MIN), INT64_MIN);
}

TEST_F(TensorTest, SizesAreChecked) {
  EXPECT_EQ(countElements({2, 3, 4}), 24);
  EXPECT_EQ(countElements({}), 1);
  EXPECT_EQ(countElements({0, 5}), 0);
  EXPECT_EQ(countElements({-1}), std::nullopt);
  EXPECT_EQ(countElements({int64_t(1) << 32, int64_t(1) << 32}), std::nullopt);
  EXPECT_EQ(getStorageBytes(i4, 3), 2u);
  EXPECT_EQ(getStorageBytes(i1, 3), 3u);
  EXPECT_EQ(getStorageBytes(i64, UINT64_MAX / 4), std::nullopt);
  EXPECT_FALSE(bool(Tensor::create(f32, {1 << 20, 1 << 20})));
  EXPECT_FALSE(bool(Tensor::create(builder.getIndexType(), {1})));
  EXPECT_FALSE(bool(Tensor::create(builder.getIntegerType(128), {1})));
  EXPECT_FALSE(bool(Tensor::fromBytes(f32, {2}, ArrayRef<char>("abc", 3))));
}

TEST_F(TensorTest, BytesAndAttributesRoundTrip) {
  auto check = [&](llvm::Expected<Tensor> tensor) {
    ASSERT_TRUE(bool(tensor));
    std::vector<char> bytes = tensor->toBytes();
    llvm::Expected<Tensor> read = Tensor::fromBytes(tensor->getElementType(), tensor->getDims(), bytes);
    ASSERT_TRUE(bool(read));
    EXPECT_EQ(read->floats(), tensor->floats());
    EXPECT_EQ(read->ints(), tensor->ints());
    llvm::Expected<Tensor> folded = Tensor::fromAttr(tensor->toAttr());
    ASSERT_TRUE(bool(folded));
    EXPECT_EQ(folded->floats(), tensor->floats());
    EXPECT_EQ(folded->ints(), tensor->ints());
    EXPECT_EQ(folded->getType(), tensor->getType());
  };
  SmallVector<double> floats = {0.0, -0.0, 1.5, -2.25, 0x1p-24, INFINITY};
  SmallVector<int64_t> ints = {0, 1, -1, 7, -8, 100};
  for (Type type : {f16, bf16, f32, Type(builder.getF64Type()), Type(Float8E5M2Type::get(&context))})
    check(Tensor::fromFloats(type, {2, 3}, floats));
  for (Type type : {i1, i4, i64, u8, Type(builder.getI32Type()), Type(builder.getIntegerType(64, false))})
    check(Tensor::fromInts(type, {6}, ints));
  check(Tensor::fromInts(i4, {5}, {1, 2, 3, 4, 5}));
  check(Tensor::fromFloats(f32, {0, 3}, {}));
  check(Tensor::fromFloats(f32, {}, {3.0}));
}

TEST_F(TensorTest, WritingDoesNotShare) {
  llvm::Expected<Tensor> a = Tensor::fromInts(i64, {2}, {1, 2});
  ASSERT_TRUE(bool(a));
  Tensor b = *a;
  b.mutableInts()[0] = 9;
  EXPECT_EQ(a->ints()[0], 1);
  EXPECT_EQ(b.ints()[0], 9);
}

} // namespace

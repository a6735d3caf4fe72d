// Sizes in kernel specs: a constant, or a number that is known when shapes are
// bound and reaches the kernel in its `dims` array.
#ifndef LLMOPT_CODEGEN_CPU_SIZE_H
#define LLMOPT_CODEGEN_CPU_SIZE_H

#include <cstdint>
#include <string>
#include <vector>

namespace llmopt::cpu {

/// A constant or `dims[index]`. The caller chooses the order of `dims`.
struct Size {
  bool isDim = false;
  int64_t value = 0; // the constant, or the index into dims

  Size(int64_t constant = 0) : value(constant) {}
  static Size dim(int64_t index) {
    Size s(index);
    s.isDim = true;
    return s;
  }
  bool isConstant(int64_t c) const { return !isDim && value == c; }
  bool operator==(const Size &o) const {
    return isDim == o.isDim && value == o.value;
  }
  int64_t eval(const int64_t *dims) const {
    return isDim ? dims[value] : value;
  }
  std::string key() const {
    return (isDim ? "d" : "") +
           (value < 0 ? "m" + std::to_string(-value) : std::to_string(value));
  }
};

/// constant + scale * prod_i ceildiv(size_i, block_i): tile counts and scratch
/// sizes, in a form that translates directly into a size expression.
struct SizeFormula {
  struct Factor {
    Size size;
    int64_t block = 1;
  };
  int64_t constant = 0;
  int64_t scale = 1;
  std::vector<Factor> factors;

  int64_t eval(const int64_t *dims) const {
    int64_t product = scale;
    for (const Factor &f : factors) {
      int64_t n = f.size.eval(dims);
      product *= (n + f.block - 1) / f.block;
    }
    return constant + product;
  }
};

} // namespace llmopt::cpu
#endif

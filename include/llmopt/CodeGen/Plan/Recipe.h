// How a derived weight is made of canonical ones, and making it.
//
// A recipe is a small expression; executing it streams the result, one tensor at
// a time, from mapped inputs. Nothing here knows LLVM or MLIR, so that a runtime
// can carry the same recipes out.
//
// Floats are computed in f64 and rounded once per operation, as the evaluator
// of the lm dialect does.
#ifndef LLMOPT_CODEGEN_PLAN_RECIPE_H
#define LLMOPT_CODEGEN_PLAN_RECIPE_H

#include "llmopt/Runtime/abi.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace llmopt {

struct Recipe {
  enum class Op {
    Weight,    // the canonical tensor `name`
    Constant,  // `data`
    Reshape,   // row major, same elements
    Transpose, // ints: permutation
    Slice,     // ints: starts, then steps
    Concat,    // ints: axis
    Cast,
    Add, // NumPy broadcast
    Sub,
    Mul,
    Div,
    AbsMaxScale, // ints: axes; number: qmax
    ColumnSums,  // integers [K, N] -> i32 [N]
    Quantize,    // x, scale[, zero point]; ints: narrow range
    Dequantize,  // q, scale[, zero point]
    Groups,      // q, scale[, zero point] in groups; ints: width, offset. Blocks
                 // [ceil(N/width)][K/G] as kernel.pack_groups describes them, or
                 // its rows where the width is 0
    Panels       // ints: width, group, shift. [K, N] -> [ceil(N/width)][ceil(K/group)][width][group],
                 // zeros behind N and K; with a shift each panel begins with
                 // [width] int32, -shift times the sum of each column
  };
  struct Node {
    Op op = Op::Weight;
    uint32_t dtype = 0; // llmopt_dtype of the result
    std::vector<int64_t> dims;
    std::vector<size_t> operands; // indices of earlier nodes
    std::vector<int64_t> ints;
    double number = 0;
    std::string name;
    std::vector<char> data;
  };
  /// Operands come before their users; the last node is the result.
  std::vector<Node> nodes;

  const Node &result() const { return nodes.back(); }
  bool isCanonical() const { return nodes.size() == 1 && nodes[0].op == Op::Weight; }
  /// {"op":"panels","width":16,"of":[{"op":"transpose",...}]}
  std::string toJSON() const;
  /// The inverse, with the types of all nodes; "" or what is wrong with the text.
  static std::string parse(const std::string &json, Recipe &recipe);
};

/// Bytes of one element; 0 for what is no llmopt_dtype.
uint64_t getDTypeBytes(uint32_t dtype);
/// "f32"; "unknown" for what is no llmopt_dtype.
const char *getDTypeName(uint32_t dtype);

/// The element of type `dtype` at `p`, of whatever type.
double loadElement(const char *p, uint32_t dtype);

/// The bytes of a canonical tensor (null: no such tensor, with the reason in
/// `error`), valid until it is released.
struct RecipeSource {
  std::function<const char *(const std::string &name, std::string &error)> get;
  std::function<void(const std::string &name)> release;
};
/// Takes the next bytes of the result; false stops the execution.
using RecipeSink = std::function<bool(const char *bytes, size_t size)>;

/// Computes the result and hands it to `sink`, piece by piece. Anonymous memory:
/// at most three times the largest tensor of the recipe, and a few megabytes.
/// Returns "" or what went wrong; a sink that stops is no error of its own.
std::string executeRecipe(const Recipe &recipe, const RecipeSource &source, const RecipeSink &sink);

} // namespace llmopt

#endif

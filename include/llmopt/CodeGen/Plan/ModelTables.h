// A C++ mirror of the tables of `llmopt_model_desc` (Runtime/abi.h): what the
// plan fills in, and both back ends print. No LLVM here; the meaning of every
// field is the one of the field of the same name in abi.h.
#ifndef LLMOPT_CODEGEN_PLAN_MODELTABLES_H
#define LLMOPT_CODEGEN_PLAN_MODELTABLES_H

#include "llmopt/Runtime/abi.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llmopt {

struct TrainingTables;

struct ModelTables {
  struct Tensor {
    std::string name;
    uint32_t dtype = 0;
    std::vector<uint32_t> dims; // indices into exprs, at most LLMOPT_MAX_RANK
    uint32_t buffer = LLMOPT_NONE;
  };
  struct Buffer {
    uint32_t kind = 0;
    uint32_t index = LLMOPT_NONE;
    uint32_t size = LLMOPT_NONE;
    uint32_t offset = LLMOPT_NONE;
    uint32_t firstStep = 0;
    uint32_t lastStep = 0;
    std::vector<uint8_t>
        data; // LLMOPT_BUFFER_CONSTANT only; emitted 64-byte aligned
  };
  struct Step {
    std::string name;
    std::string kernel; // symbol of a function in the compiled module
    std::vector<uint32_t> args;
    std::vector<uint32_t> dims;
    uint32_t tiles = LLMOPT_NONE;
    uint32_t control = LLMOPT_CONTROL_NONE; // without a kernel
  };
  struct LibraryChoice {
    std::string device;
    int64_t leastRows = 0, mostRows = 0;
    std::array<int32_t, LLMOPT_LIBRARY_ATTRIBUTES> algorithm{};
  };
  struct LibraryProduct {
    uint32_t step = 0, dtype = 0;
    uint32_t x = LLMOPT_NONE, w = LLMOPT_NONE, bias = LLMOPT_NONE, residual = LLMOPT_NONE, y = LLMOPT_NONE;
    uint32_t activation = LLMOPT_LIBRARY_NONE;
    uint32_t rows = LLMOPT_NONE, rowStride = LLMOPT_NONE, rowOffset = LLMOPT_NONE; // expressions
    int64_t n = 0, k = 0;
    std::vector<LibraryChoice> choices;
  };
  struct Weight {
    std::string name;
    uint32_t dtype = 0;
    std::vector<int64_t> dims;
    uint64_t offset = 0;
    uint64_t size = 0;
    bool hasRecipe = false;
    std::string recipe;
  };

  struct Constraint {
    uint32_t lhs = LLMOPT_NONE;
    uint32_t relation = 0;
    uint32_t rhs = LLMOPT_NONE;
    std::string reason;
    uint32_t flags = 0;
  };

  struct DataSymbol {
    uint32_t symbol = LLMOPT_NONE;
    uint32_t buffer = LLMOPT_NONE;
    uint32_t bound = LLMOPT_NONE; // expression
    uint32_t firstStep = 0;
  };

  struct Cache {
    std::string name;
    uint32_t dtype = 0;
    uint32_t size = LLMOPT_NONE; // expression
  };

  std::array<uint8_t, LLMOPT_BUILD_ID_BYTES> buildId{};
  std::string name;
  std::string compiler;
  std::string target;
  std::string cpuFeatures;
  std::string metadata;

  std::vector<std::string> symbols;
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<Weight> weights;
  std::vector<llmopt_expr> exprs;
  std::vector<llmopt_expr_insn> exprCode;

  std::vector<LibraryProduct> products; // of a device
  std::vector<Constraint> constraints;
  std::vector<DataSymbol> dataSymbols; // of the last symbols
  std::vector<Tensor> outputBounds;    // empty without data symbols

  struct IndexCheck {
    uint32_t input = LLMOPT_NONE;
    uint32_t rows = LLMOPT_NONE; // expression
    std::string reason;
  };
  std::vector<IndexCheck> indexChecks;

  std::vector<Cache> caches;
  uint32_t pastSymbol = LLMOPT_NONE;
  uint32_t capacitySymbol = LLMOPT_NONE;
  uint32_t newTokens = LLMOPT_NONE; // expression
  uint32_t maxTokens = 0;

  uint32_t scratchBytes = LLMOPT_NONE; // expression
  uint64_t weightsSize = 0;

  std::shared_ptr<TrainingTables> training; // null: for inference only
};

/// Of a model that can be trained. The entries repeat the model's weights.
struct TrainingTables {
  struct Parameter {
    std::string name;
    uint32_t gradientsInput = LLMOPT_NONE, gradientsOutput = LLMOPT_NONE, evaluateInput = LLMOPT_NONE;
    uint32_t flags = 0;
  };
  struct Hyper {
    std::string name;
    uint32_t gradientsInput = LLMOPT_NONE, evaluateInput = LLMOPT_NONE;
    double byDefault = 0;
  };
  struct Label {
    std::string name;
    uint32_t gradientsInput = LLMOPT_NONE, evaluateInput = LLMOPT_NONE;
    uint32_t gradientsClasses = LLMOPT_NONE, evaluateClasses = LLMOPT_NONE; // expressions
  };
  std::string loss;
  std::vector<Label> labels;
  std::vector<Parameter> parameters;
  std::vector<Hyper> hypers;
  ModelTables gradients, evaluate;
};

} // namespace llmopt
#endif

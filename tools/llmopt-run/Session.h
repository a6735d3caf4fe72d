// A model with inputs and outputs: what every mode of the tool runs.
#ifndef LLMOPT_RUN_SESSION_H
#define LLMOPT_RUN_SESSION_H

#include "Options.h"
#include "Tensor.h"

namespace llmopt::run {

struct DestroyModel {
  void operator()(llmopt_model *model) const { llmopt_model_destroy(model); }
};
struct DestroySession {
  void operator()(llmopt_session *session) const { llmopt_session_destroy(session); }
};
using Model = std::unique_ptr<llmopt_model, DestroyModel>;

Model loadModel(const Options &options);
llmopt_model_info infoOf(const llmopt_model *model);

/// "i64[batch, sequence]"
std::string inputText(const llmopt_model *model, uint32_t index);
std::string outputText(const llmopt_model *model, uint32_t index);

/// All arrays of the files of --input.
std::vector<Tensor> readFiles(const llmopt_model *model, const Options &options);

/// The inputs in the model's order: from the files of --input, or synthetic.
std::vector<Tensor> readInputs(const llmopt_model *model, const Options &options);
std::vector<Tensor> syntheticInputs(const llmopt_model *model, const Options &options);

/// What syntheticInputs are made of, for whoever reads a measurement.
extern const char *const syntheticText;

/// Bound to its inputs, with memory for its outputs.
class BoundSession {
public:
  BoundSession(llmopt_model *model, const Options &options, std::vector<Tensor> inputs);
  void run();
  llmopt_session *get() const { return session.get(); }
  llmopt_session_info info() const;

  std::vector<Tensor> inputs, outputs;

private:
  std::unique_ptr<llmopt_session, DestroySession> session;
  std::vector<llmopt_tensor_type> types; ///< of inputs
  std::vector<llmopt_input> inputPointers;
  std::vector<llmopt_output> outputPointers;
};

/// The input types for the values of --shape; a usage failure for symbols
/// without a value and values without a symbol.
std::vector<llmopt_tensor_type> typesForShape(const llmopt_model *model, const Options &options);

} // namespace llmopt::run

#endif

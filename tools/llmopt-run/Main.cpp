// llmopt-run: loads a compiled model and runs, measures or describes it.
#include "Generate.h"
#include "Npz.h"
#include "Reports.h"
#include "Train.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

using namespace llmopt::run;

static void writeOutputs(const Options &options, std::vector<Tensor> &outputs) {
  const std::string &path = options.output;
  if (path.size() < 4 || path.compare(path.size() - 4, 4, ".npy") != 0)
    return writeNpz(path, outputs);
  if (outputs.size() != 1)
    throw Failure{Usage, "--output " + path +
                             ": expected FILE.npz, as the "
                             "model has " +
                             std::to_string(outputs.size()) + " outputs"};
  writeNpyFile(path, outputs[0]);
}

static void runModel(const Options &options) {
  Model model = loadModel(options);
  if (options.check)
    std::printf("weights  %s\n", infoOf(model.get()).weights_size ? "match their hash" : "none");
  if (options.info)
    printInfo(model.get(), options);
  bool measures = options.bench || options.profile;
  bool describesOnly = (options.check || options.info) && !measures && options.inputs.empty() &&
                       options.output.empty() && options.training.eval.empty() && options.training.train.empty();
  if (describesOnly)
    return;

  if (options.gradcheck)
    return gradcheck(model.get(), options);
  if (!options.training.train.empty() || !options.training.eval.empty())
    return train(model.get(), options);
  if (!options.entry.empty()) {
    llmopt_model *entry = nullptr;
    llmopt_error error;
    check(llmopt_model_get_entry(model.get(), options.entry.c_str(), &entry, &error), error);
    model.reset(entry); // which keeps what it belongs to
  }
  if (options.generate)
    return generate(model.get(), options);
  bool hasInputs = infoOf(model.get()).num_inputs != 0;
  if (hasInputs && options.inputs.empty() && !measures && options.shape.empty())
    throw Failure{Usage, "expected --input FILE.npz, or --bench with --shape; "
                         "--info lists the inputs"};
  BoundSession session(model.get(), options,
                       options.inputs.empty() ? syntheticInputs(model.get(), options)
                                              : readInputs(model.get(), options));
  if (measures)
    measure(model.get(), options, session);
  else
    session.run();
  if (!options.output.empty())
    writeOutputs(options, session.outputs);
  else if (!measures)
    printOutputs(session.outputs);
}

int main(int argc, char **argv) {
  // A file size limit and a closed pipe are errors of a write, not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  auto report = [](int code, const char *message) {
    std::fflush(stdout);
    std::fprintf(stderr, "llmopt-run: %s\n", message);
    return code;
  };
  try {
    Options options = parseOptions(argc, argv);
    if (options.help)
      std::fputs(helpText, stdout);
    else if (options.version)
      std::printf("llmopt-run %s\n", llmopt_runtime_version());
    else
      runModel(options);
  } catch (const Failure &failure) {
    return report(failure.code, failure.message.c_str());
  } catch (const std::bad_alloc &) {
    return report(Environment, "out of memory");
  } catch (const std::exception &unexpected) {
    return report(OurBug, unexpected.what());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    return report(Environment, "standard output cannot be written");
  return Ok;
}

// The order of everything.
#include "llmopt/Driver/Driver.h"

#include "Session.h"

using namespace llmopt;

int llmopt::runDriver(const CommandLine &line, llvm::StringRef commandText, llvm::raw_ostream &out,
                      llvm::raw_ostream &err) {
  Session session(line, commandText, out, err);
  using Phase = int (*)(Session &);
  llvm::SmallVector<Phase> phases = {importModel, replaceWeights};
  if (!line.verify.empty())
    phases.push_back(verifyModel);
  else if (line.info)
    phases.append({raiseModel, printInfo});
  else
    phases.append({raiseModel, pruneModel, reportFusion});
  if (line.verify.empty() && !line.info) {
    // Rounding that training is to see comes before it, integers behind it: but a base
    // that adapters are trained on is rounded for good.
    if (line.quantize.fake || line.training.lora)
      phases.append({quantizeModel, trainModel});
    else
      phases.append({trainModel, quantizeModel});
    phases.append({keepCache, narrowModel, emitModel});
  }
  for (Phase phase : phases)
    if (int code = phase(session); code != kOk)
      return code;
  session.printTimes();
  if (int code = session.writeReports(); code != kOk)
    return code;
  return session.getLateCode();
}

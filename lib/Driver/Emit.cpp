// The plan, and writing what was asked for.
#include "Session.h"

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/Support/AtomicFile.h"

#include "llvm/Support/Path.h"

using namespace mlir;
using namespace llmopt;

namespace {

/// Text goes to -o, or to standard output where there is none (or "-").
int writeText(Session &session, StringRef text) {
  const std::string &path = session.line.output;
  if (path.empty() || path == "-") {
    session.printTimes();
    session.out << text;
    return kOk;
  }
  if (llvm::Error error = writeFileAtomically(path, ArrayRef(text.data(), text.size())))
    return session.fail(std::move(error));
  return kOk;
}

int writeModule(Session &session) {
  std::string text;
  llvm::raw_string_ostream os(text);
  session.module->print(os);
  os << "\n";
  return writeText(session, text);
}

} // namespace

int llmopt::emitModel(Session &session) {
  const CommandLine &line = session.line;
  if (line.emit == EmitKind::LM)
    return writeModule(session);

  session.beginPhase("plan");
  std::string error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget("", line.cpu, error);
  if (!target)
    return session.fail(kUsage, error);
  PanelTarget panels(target->gemmNR());
  if (failed(buildPlan(*session.module, panels)))
    return kBadModel;
  if (line.emit == EmitKind::Kernels)
    return writeModule(session);
  return session.fail(kInternal, "not wired up");
}

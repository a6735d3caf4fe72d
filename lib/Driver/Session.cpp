// Messages, progress, and what happens when something of ours is wrong.
#include "Session.h"

#include "llmopt/Dialect/Kernel/IR/Kernel.h"
#include "llmopt/Support/AtomicFile.h"
#include "llmopt/Transforms/FusionReport.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"

using namespace mlir;
using namespace llmopt;

Session::Session(const CommandLine &line, StringRef commandText, raw_ostream &out, raw_ostream &err)
    : line(line), out(out), context(MLIRContext::Threading::DISABLED), err(err), commandText(commandText),
      terminal(llvm::sys::Process::StandardErrIsDisplayed()) {
  context.loadDialect<lm::LMDialect, kernel::KernelDialect, func::FuncDialect>();
  context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) { return report(diagnostic); });
}

Session::~Session() {
  module = {};
  if (terminal && !phase.empty())
    err << "\r\033[K";
}

LogicalResult Session::report(Diagnostic &diagnostic) {
  std::string text = diagnostic.str();
  std::replace(text.begin(), text.end(), '\n', ' ');
  bool isError = diagnostic.getSeverity() == DiagnosticSeverity::Error;
  if (isError)
    lastError = text;
  if (!showDiagnostics || diagnostic.getSeverity() == DiagnosticSeverity::Remark)
    return success();
  if (terminal)
    err << "\r\033[K";
  err << "llmopt: " << (isError ? "" : "warning: ");
  // A full disk is no fault of the model: the text names the file.
  if (!isError || lastFailure() != kEnvironment) {
    err << line.model << ": ";
    if (!isa<UnknownLoc>(diagnostic.getLocation()))
      err << getNodeName(diagnostic.getLocation()) << ": ";
  }
  err << text << "\n";
  return success();
}

int Session::fail(ExitCode code, const llvm::Twine &message) {
  if (terminal)
    err << "\r\033[K";
  err << "llmopt: " << message << "\n";
  return code;
}

int Session::fail(llvm::Error error) {
  ExitCode code = kBadModel;
  std::string message;
  llvm::handleAllErrors(std::move(error), [&](const llvm::ErrorInfoBase &info) {
    std::error_code reason = info.convertToErrorCode();
    if (reason != llvm::inconvertibleErrorCode() && reason.category() == std::generic_category())
      code = kEnvironment;
    message += (message.empty() ? "" : "; ") + info.message();
  });
  return fail(code, message);
}

void Session::note(const llvm::Twine &message) {
  if (terminal)
    err << "\r\033[K";
  err << "llmopt: " << message << "\n";
}

void Session::failLater(ExitCode code, const llvm::Twine &message) { lateCode = fail(code, message); }

void Session::showProgress(StringRef what, int64_t done, int64_t total) {
  if (terminal)
    err << "\r\033[K" << what << "... " << done << " of " << total;
}

int Session::writeReports() {
  if (line.reportFile.empty())
    return kOk;
  std::string text = "{";
  for (auto [i, report] : llvm::enumerate(reports))
    text += (i ? ",\n\"" : "\n\"") + report.first + "\": " + StringRef(report.second).rtrim().str();
  text += "\n}\n";
  if (llvm::Error error = writeFileAtomically(line.reportFile, ArrayRef(text.data(), text.size())))
    return fail(std::move(error));
  return kOk;
}

void Session::endPhase() {
  if (phase.empty())
    return;
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - phaseStart;
  times.push_back({phase, elapsed.count()});
}

void Session::beginPhase(StringRef name) {
  endPhase();
  phase = name.str();
  phaseStart = std::chrono::steady_clock::now();
  if (terminal)
    err << "\r\033[K" << name << "...";
}

void Session::printTimes() {
  endPhase();
  phase.clear();
  if (terminal)
    err << "\r\033[K";
  if (!line.reportTime)
    return;
  double total = 0;
  for (auto &[name, seconds] : times) {
    err << llvm::format("%-10s %8.3f s\n", name.c_str(), seconds);
    total += seconds;
  }
  err << llvm::format("%-10s %8.3f s\n", "total", total);
}

int Session::runPasses(StringRef name, llvm::function_ref<void(OpPassManager &)> build) {
  beginPhase(name);
  PassManager manager(&context, ModuleOp::getOperationName());
  manager.enableVerifier(false);
  build(manager);
  if (failed(manager.run(*module)))
    return kBadModel;
  return checkModule(name);
}

int Session::checkModule(StringRef name) {
  showDiagnostics = false;
  bool valid = succeeded(verify(*module));
  showDiagnostics = true;
  return valid ? kOk : internalError((name + ": " + lastError).str());
}

int Session::lastFailure() const {
  // Failures of files pass through diagnostics as the text of their std::error_code.
  for (std::errc code : {std::errc::no_space_on_device, std::errc::file_too_large, std::errc::permission_denied,
                         std::errc::read_only_file_system, std::errc::no_such_file_or_directory,
                         std::errc::is_a_directory, std::errc::not_enough_memory, std::errc::io_error})
    if (StringRef(lastError).contains(std::make_error_code(code).message()))
      return kEnvironment;
  for (StringRef compiler : {"nvcc ", "the C++ compiler ", "no C++ compiler"})
    if (StringRef(lastError).starts_with(compiler))
      return kEnvironment;
  return StringRef(lastError).contains(": cannot write: ") ? kEnvironment : kBadModel;
}

int Session::internalError(StringRef what) {
  llvm::SmallString<128> folder;
  if (llvm::sys::fs::createUniqueDirectory("llmopt-reproducer", folder))
    return fail(kInternal, "bug in llmopt: " + what);
  auto write = [&](StringRef name, llvm::function_ref<void(raw_ostream &)> print) {
    llvm::SmallString<128> path = folder;
    llvm::sys::path::append(path, name);
    std::error_code error;
    llvm::raw_fd_ostream os(path, error);
    if (!error)
      print(os);
    os.clear_error();
  };
  write("command.txt", [&](raw_ostream &os) { os << commandText << "\n" << what << "\n"; });
  if (module)
    write("module.mlir", [&](raw_ostream &os) {
      module->print(os, OpPrintingFlags().enableDebugInfo().assumeVerified());
    });
  return fail(kInternal, "bug in llmopt: " + what + "; please send the folder " + folder);
}

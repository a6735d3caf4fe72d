// State of one run of the driver: context, messages, the module.
#ifndef LLMOPT_LIB_DRIVER_SESSION_H
#define LLMOPT_LIB_DRIVER_SESSION_H

#include "llmopt/Driver/CommandLine.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Pass/PassManager.h"

#include <chrono>

namespace llmopt {

class Session {
public:
  Session(const CommandLine &line, llvm::StringRef commandText, llvm::raw_ostream &out, llvm::raw_ostream &err);
  ~Session();

  const CommandLine &line;
  llvm::raw_ostream &out;
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;

  /// One line on standard error; returns `code`.
  int fail(ExitCode code, const llvm::Twine &message);
  /// The same for an llvm::Error: environment problems (disk, memory) are told
  /// from bad models by their std::error_code.
  int fail(llvm::Error error);
  void note(const llvm::Twine &message);
  /// The same as fail, but what is asked for is written all the same; the code is
  /// the tool's when all is done.
  void failLater(ExitCode code, const llvm::Twine &message);
  int getLateCode() const { return lateCode; }
  llvm::raw_ostream &errors() { return err; }

  /// Announces a phase on a terminal, and times it for -report=time.
  void beginPhase(llvm::StringRef name);
  void printTimes();
  /// "calibrate... 12 of 512" on a terminal.
  void showProgress(llvm::StringRef what, int64_t done, int64_t total);
  /// Keeps an object until everything is written.
  template <typename T> void keep(std::unique_ptr<T> object) { kept.push_back(std::shared_ptr<T>(std::move(object))); }
  /// A JSON object for -report-file, under `key`.
  void addReport(llvm::StringRef key, llvm::StringRef json) { reports.emplace_back(key.str(), json.str()); }
  /// Writes -report-file.
  int writeReports();

  /// Runs passes and verifies the result. A failing pass has said why and gives
  /// kBadModel; IR that does not verify is our bug.
  int runPasses(llvm::StringRef phase, llvm::function_ref<void(mlir::OpPassManager &)> build);
  /// kOk, or our bug where the module does not verify.
  int checkModule(llvm::StringRef phase);
  /// The exit code for what was reported last: the environment's fault or the model's.
  int lastFailure() const;
  /// Writes a folder with the command and the IR, names it, and returns kInternal.
  int internalError(llvm::StringRef what);

private:
  void endPhase();
  mlir::LogicalResult report(mlir::Diagnostic &diagnostic);

  llvm::raw_ostream &err;
  std::string commandText;
  bool terminal;
  std::string phase;
  std::chrono::steady_clock::time_point phaseStart;
  std::vector<std::pair<std::string, double>> times;
  std::string lastError;
  bool showDiagnostics = true;
  int lateCode = kOk;
  std::vector<std::shared_ptr<void>> kept;
  std::vector<std::pair<std::string, std::string>> reports;
};

/// The phases from an ONNX file to L1, as the command line asks for them.
int importModel(Session &session);
int replaceWeights(Session &session); // -weights
int raiseModel(Session &session);
int pruneModel(Session &session);
int keepCache(Session &session);    // -kv-cache
int narrowModel(Session &session);  // -fp16, -bf16
int trainModel(Session &session);
int quantizeModel(Session &session);
/// Reports and gates on fusion.
int reportFusion(Session &session);
/// Plan and output.
int emitModel(Session &session);
int printInfo(Session &session);
int verifyModel(Session &session);

} // namespace llmopt

#endif

// Runs passes on MLIR, one at a time or as a pipeline, for people who write passes.
#include "Registration.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  llmopt::registerEverything(registry);
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "llmopt's passes, one at a time\n", registry));
}

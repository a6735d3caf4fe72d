// One kernel per number of rows, a jump among them, and balanced panels of rows.
#include "RowKernels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace llmopt::cpu {

void declareRowKernels(KernelBuilder &kb, const std::string &name, ArrayRef<Type> arguments, int64_t mr,
                       llvm::function_ref<void(int64_t, ArrayRef<V>)> emit) {
  if (kb.hasFunction(name))
    return;
  for (int64_t rows = 1; rows <= mr; ++rows) {
    Values values = kb.beginFunction(name + std::to_string(rows), arguments);
    emit(rows, values);
    kb.finish();
  }
  SmallVector<Type> types(arguments);
  types.push_back(kb.i64());
  Values values = kb.beginFunction(name, types);
  Value rows = arith::IndexCastOp::create(kb.builder, kb.loc, kb.builder.getIndexType(), values.pop_back_val().value);
  SmallVector<int64_t> cases = llvm::to_vector(llvm::seq<int64_t>(1, mr));
  auto choice = scf::IndexSwitchOp::create(kb.builder, kb.loc, TypeRange{}, rows, cases, cases.size());
  auto fill = [&](Region &region, int64_t r) {
    OpBuilder::InsertionGuard guard(kb.builder);
    kb.builder.createBlock(&region);
    kb.call(name + std::to_string(r), values);
    scf::YieldOp::create(kb.builder, kb.loc);
  };
  for (auto [region, r] : llvm::zip(choice.getCaseRegions(), cases))
    fill(region, r);
  fill(choice.getDefaultRegion(), mr);
  kb.finish();
}

void forRowPanels(KernelBuilder &kb, V rows, int64_t mr, llvm::function_ref<void(V, V, V, V)> body) {
  V panels = kb.ceilDiv(rows, mr);
  kb.loop(kb.i(0), panels, 1,
          [&](V panel) { body(rows * panel / panels, rows * (panel + 1) / panels, panel, panels); });
}

} // namespace llmopt::cpu

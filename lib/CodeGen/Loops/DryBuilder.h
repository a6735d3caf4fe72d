// A back end that writes nothing: for trial runs, which find out how a nest
// accesses memory and what an element costs.
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_DRYBUILDER_H
#define LLMOPT_LIB_CODEGEN_LOOPS_DRYBUILDER_H

#include "ScalarBuilder.h"

namespace llmopt::loops {

class DryBuilder : public ScalarBuilder {
public:
  DryBuilder() { scopes.push_back({1, 0}); }

  /// Loops opened from now on are not (or again are) over the result's dimensions.
  bool openingRoots = false;
  /// Operations per iteration of the innermost of `roots` loops over the result.
  SymExpr costAt(size_t roots) const { return roots < costs.size() ? costs[roots] : SymExpr(0); }

private:
  struct Scope {
    SymExpr repeats; // of reductions around it
    size_t roots;
  };

  void charge(int32_t level, int64_t weight) {
    const Scope &scope = scopes[level];
    if (costs.size() <= scope.roots)
      costs.resize(scope.roots + 1);
    costs[scope.roots] += scope.repeats * SymExpr(weight);
  }
  int32_t add(const SymExpr &size = SymExpr::unknown()) {
    sizes.push_back(size);
    return sizes.size() - 1;
  }

  int32_t createOp(Opcode op, ArrayRef<S>, S result) override {
    int64_t weight = op == Opcode::IAdd || op == Opcode::IMul   ? 0
                     : op == Opcode::IDiv || op == Opcode::IRem ? 4
                     : op >= Opcode::Exp                    ? 12
                     : op == Opcode::Div || op == Opcode::Sqrt  ? 3
                                                        : 1;
    charge(result.level, weight);
    return add();
  }
  int32_t createConstant(S result, double, int64_t i) override { return add(isFloat(result.elem) ? SymExpr() : i); }
  int32_t createDim(int64_t, const SymExpr &expr) override { return add(expr); }
  int32_t createSplat(S, S) override { return add(); }
  int32_t createLaneIds(S) override { return add(); }
  int32_t createTile() override { return add(); }
  int32_t createLoad(const Buffer &, Access, S, S, S result) override {
    charge(result.level, 1);
    return add();
  }
  void createStore(const Buffer &, Access, S, S, S, int32_t level) override { charge(level, 1); }
  int64_t createTable(Elem, ArrayRef<double>, ArrayRef<int64_t>) override { return 0; }
  int32_t createLaneMove(S, int64_t, bool, S) override { return add(); }
  void openLoop(LoopKind, S, S hi, ArrayRef<S>, S &variable, llvm::MutableArrayRef<S> carried,
                llvm::StringRef) override {
    Scope scope = scopes.back();
    if (openingRoots)
      ++scope.roots;
    else if (!sizes[hi.id].isUnknown())
      scope.repeats *= sizes[hi.id];
    scopes.push_back(scope);
    variable.id = add();
    for (S &s : carried)
      s.id = add();
  }
  void closeLoop(ArrayRef<S>, llvm::MutableArrayRef<S> results) override {
    scopes.pop_back();
    for (S &s : results)
      s.id = add();
  }
  void openBranch(S, ArrayRef<S>) override { scopes.push_back(scopes.back()); }
  void openElse(ArrayRef<S>) override {}
  void closeBranch(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) override { closeLoop(yielded, results); }
  void openMask() override { scopes.push_back(scopes.back()); }
  void closeMask() override { scopes.pop_back(); }
  void suspend(int32_t level) override {
    suspended.emplace_back(scopes.begin() + level + 1, scopes.end());
    scopes.resize(level + 1);
  }
  void resume() override {
    scopes.insert(scopes.end(), suspended.back().begin(), suspended.back().end());
    suspended.pop_back();
  }

  std::vector<SymExpr> sizes, costs;
  std::vector<Scope> scopes;
  std::vector<std::vector<Scope>> suspended;
};

} // namespace llmopt::loops

#endif

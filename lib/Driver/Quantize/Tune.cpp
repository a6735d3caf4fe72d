#include "Tune.h"

#include "llmopt/CodeGen/CPU/CostTable.h"
#include "llmopt/Execution/MeasureProducts.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/TargetParser/Host.h"

#include <cmath>
#include <set>

using namespace mlir;
using namespace llmopt;

/// Rows where a model does not say, as in the checked-in rates.
static constexpr int64_t kRows = 128;

//===----------------------------------------------------------------------===//
// Which rows
//===----------------------------------------------------------------------===//

llvm::Error llmopt::checkTuneSizes(ModuleOp module, const QuantizeOptions &options) {
  std::set<std::string> symbols;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  for (BlockArgument argument : main.getArguments())
    for (const lm::SymExpr &dim : lm::getDims(argument))
      dim.collectSymbols(symbols);
  for (const auto &[name, sizes] : options.tuneSizes) {
    if (symbols.count(name))
      continue;
    std::string all;
    for (const std::string &symbol : symbols)
      all += (all.empty() ? "" : ", ") + symbol;
    return llvm::createStringError("-tune: expected a size of the model's inputs, but got '" + name + "'" +
                                   (all.empty() ? "; all sizes are fixed" : "; there are " + all));
  }
  return llvm::Error::success();
}

llvm::Expected<std::vector<int64_t>> llmopt::getRowCounts(lm::LinearOp linear, const QuantizeOptions &options) {
  SmallVector<lm::SymExpr> dims = lm::getDims(linear.getInput());
  lm::SymExpr rows = lm::product(ArrayRef(dims).drop_back());
  std::set<int64_t> counts;
  std::map<std::string, int64_t> sizes;
  bool good = true;
  std::function<void(size_t)> choose = [&](size_t i) {
    if (i < options.tuneSizes.size()) {
      for (int64_t size : options.tuneSizes[i].second) {
        sizes[options.tuneSizes[i].first] = size;
        choose(i + 1);
      }
      return;
    }
    std::optional<int64_t> count = rows.evaluate([&](StringRef symbol) -> std::optional<int64_t> {
      auto it = sizes.find(symbol.str());
      return it == sizes.end() ? std::nullopt : std::optional(it->second);
    });
    good &= !count || *count > 0;
    counts.insert(count.value_or(kRows));
  };
  choose(0);
  if (!good)
    return llvm::createStringError("-tune: expected sizes that give " + rows.str() + " a positive value");
  return std::vector<int64_t>(counts.begin(), counts.end());
}

//===----------------------------------------------------------------------===//
// Times
//===----------------------------------------------------------------------===//

/// What the maker of the CPU calls it; LLVM's name alone covers a family.
static std::string getModelName() {
  auto buffer = llvm::MemoryBuffer::getFileAsStream("/proc/cpuinfo");
  StringRef text = buffer ? (*buffer)->getBuffer() : StringRef();
  size_t at = text.find("model name");
  StringRef line = at == StringRef::npos ? StringRef() : text.substr(at).take_until([](char c) { return c == '\n'; });
  return line.split(':').second.trim().str();
}

ProductTimes::ProductTimes(const cpu::TargetInfo &target) : target(target) {
  bool here = cpu::runsOnHost(target);
  machine = target.cpu + (target.features.empty() ? "" : " " + target.features) + ", kernels " +
            std::to_string(cpu::kKernelVersion);
  if (here)
    machine = getModelName() + ", " + machine;
}

std::optional<double> ProductTimes::find(int64_t rows, int64_t k, int64_t n, const QuantScheme &scheme) const {
  auto it = seconds.find({rows, k, n, scheme.str()});
  return it == seconds.end() ? std::nullopt : std::optional(it->second);
}

std::vector<int64_t> ProductTimes::getRows(int64_t k, int64_t n) const {
  std::vector<int64_t> rows;
  for (const auto &[key, value] : seconds)
    if (std::get<1>(key) == k && std::get<2>(key) == n && std::get<3>(key) == QuantScheme().str())
      rows.push_back(std::get<0>(key));
  return rows;
}

std::string ProductTimes::toJSON() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::json::OStream json(os, 1);
  json.object([&] {
    json.attribute("format", 1);
    json.attribute("machine", machine);
    json.attributeArray("products", [&] {
      for (const auto &[key, value] : seconds)
        json.object([&, &key = key, &value = value] {
          const auto &[rows, k, n, scheme] = key;
          json.attribute("scheme", scheme);
          json.attribute("rows", rows);
          json.attribute("k", k);
          json.attribute("n", n);
          json.attribute("microseconds", value * 1e6);
        });
    });
  });
  os << "\n";
  return text;
}

llvm::Error ProductTimes::add(StringRef text) {
  llvm::Expected<llvm::json::Value> value = llvm::json::parse(text);
  if (!value)
    return value.takeError();
  const llvm::json::Object *root = value->getAsObject();
  const llvm::json::Array *products = root ? root->getArray("products") : nullptr;
  std::optional<StringRef> of = root ? root->getString("machine") : std::nullopt;
  if (!products || !of || root->getInteger("format") != 1)
    return llvm::createStringError("expected times of format 1, as -tune-file writes them");
  // Elsewhere than on the target only its name can be compared.
  if (*of != machine && !(!cpu::runsOnHost(target) && of->ends_with(", " + machine)))
    return llvm::createStringError("expected times of '" + machine + "', but got those of '" + *of + "'");
  for (const llvm::json::Value &entry : *products) {
    const llvm::json::Object *object = entry.getAsObject();
    std::optional<StringRef> scheme = object ? object->getString("scheme") : std::nullopt;
    std::optional<int64_t> rows = object ? object->getInteger("rows") : std::nullopt;
    std::optional<int64_t> k = object ? object->getInteger("k") : std::nullopt;
    std::optional<int64_t> n = object ? object->getInteger("n") : std::nullopt;
    std::optional<double> time = object ? object->getNumber("microseconds") : std::nullopt;
    if (!scheme || !rows || !k || !n || !time || !(*time > 0) || !std::isfinite(*time))
      return llvm::createStringError("expected a scheme, rows, k, n and positive microseconds in every entry");
    seconds[{*rows, *k, *n, scheme->str()}] = *time * 1e-6;
  }
  return llvm::Error::success();
}

llvm::Expected<int64_t> ProductTimes::measure(ArrayRef<Wanted> wanted, const Progress &progress) {
  // All formats of one shape together, also those that are known: they are timed in
  // turn, or could not be compared.
  using Shape = std::tuple<int64_t, int64_t, int64_t>;
  std::set<Shape> incomplete;
  for (const Wanted &want : wanted)
    if (!find(want.rows, want.k, want.n, want.scheme))
      incomplete.insert({want.rows, want.k, want.n});
  llvm::MapVector<Shape, std::vector<QuantScheme>> shapes;
  int64_t total = 0, done = 0;
  for (const Wanted &want : wanted) {
    Shape shape{want.rows, want.k, want.n};
    if (!incomplete.count(shape))
      continue;
    std::vector<QuantScheme> &schemes = shapes[shape];
    if (llvm::none_of(schemes, [&](const QuantScheme &other) { return other.str() == want.scheme.str(); })) {
      schemes.push_back(want.scheme);
      ++total;
    }
  }
  for (auto &[shape, schemes] : shapes) {
    auto [rows, k, n] = shape;
    llvm::Expected<std::vector<double>> times = measureProduct(target, rows, k, n, schemes);
    if (!times)
      return times.takeError();
    for (auto [scheme, time] : llvm::zip_equal(schemes, *times))
      seconds[{rows, k, n, scheme.str()}] = time;
    done += static_cast<int64_t>(schemes.size());
    if (progress)
      progress(done, total);
  }
  return total;
}

#include "Sites.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"
#include "llmopt/Transforms/FusionReport.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/GlobPattern.h"

using namespace mlir;
using namespace llmopt;

std::vector<lm::LinearOp> llmopt::listLinears(ModuleOp module) {
  std::vector<lm::LinearOp> linears;
  if (auto main = module.lookupSymbol<func::FuncOp>("main"))
    main.walk([&](lm::LinearOp linear) { linears.push_back(linear); });
  return linears;
}

/// What the owner of the model calls the layer that `op` is.
static std::string getLayerName(Operation *op) {
  std::string name = lm::getModulePath(op);
  return name.empty() ? getNodeName(op->getLoc()) : name;
}

static std::vector<bool> match(ArrayRef<Site> sites, ArrayRef<std::string> globs, StringRef option,
                               std::string &error) {
  std::vector<bool> matches(sites.size());
  for (const std::string &glob : globs) {
    llvm::Expected<llvm::GlobPattern> pattern = llvm::GlobPattern::create(glob);
    if (!pattern) {
      error = (option + ": " + llvm::toString(pattern.takeError())).str();
      return matches;
    }
    bool any = false;
    for (auto [i, site] : llvm::enumerate(sites))
      if (pattern->match(site.name))
        matches[i] = any = true;
    if (!any) {
      error = (option + ": no layer matches '" + glob + "'; layers are").str();
      for (size_t i = 0; i < sites.size() && i < 8; ++i)
        error += (i ? ", " : " ") + sites[i].name;
      error += sites.size() > 8 ? ", ..." : "";
    }
  }
  return matches;
}

llvm::Expected<std::vector<Site>> llmopt::collectSites(ModuleOp module, const QuantizeOptions &options) {
  std::vector<Site> sites;
  llvm::StringSet<> names;
  for (lm::LinearOp linear : listLinears(module)) {
    Site site;
    site.linear = linear;
    std::string base = getLayerName(linear);
    site.name = base;
    for (int i = 2; !names.insert(site.name).second; ++i)
      site.name = base + "#" + std::to_string(i);
    std::tie(site.k, site.n) = getWeightSize(linear);
    if (!isQuantizable(linear))
      site.reason = linear.getWeight().getDefiningOp<lm::DequantizeOp>() ? "quantized in the file"
                                                                         : "not an f32 product with a weight";
    else if (std::min(site.k, site.n) < kMinWidth)
      site.reason = "narrower than " + std::to_string(kMinWidth);
    sites.push_back(std::move(site));
  }
  std::string error;
  std::vector<bool> included = match(sites, options.include, "-quantize-include", error);
  std::vector<bool> excluded = match(sites, options.exclude, "-quantize-exclude", error);
  if (!error.empty())
    return llvm::createStringError(error);
  for (auto [i, site] : llvm::enumerate(sites))
    if (site.reason.empty() && (excluded[i] || (!options.include.empty() && !included[i])))
      site.reason = "excluded";
  return sites;
}

/// Globs that do not compile were reported for the layers.
static std::vector<llvm::GlobPattern> compileGlobs(ArrayRef<std::string> globs) {
  std::vector<llvm::GlobPattern> patterns;
  for (const std::string &glob : globs) {
    llvm::Expected<llvm::GlobPattern> pattern = llvm::GlobPattern::create(glob);
    if (pattern)
      patterns.push_back(std::move(*pattern));
    else
      llvm::consumeError(pattern.takeError());
  }
  return patterns;
}

std::vector<TableSite> llmopt::quantizeTables(ModuleOp module, const QuantizeOptions &options) {
  std::vector<TableSite> tables;
  SmallVector<lm::EmbeddingOp> embeddings;
  module.lookupSymbol<func::FuncOp>("main").walk([&](lm::EmbeddingOp op) { embeddings.push_back(op); });
  std::vector<llvm::GlobPattern> included = compileGlobs(options.include), excluded = compileGlobs(options.exclude);
  for (lm::EmbeddingOp embedding : embeddings) {
    ArrayRef<int64_t> shape = cast<RankedTensorType>(embedding.getTable().getType()).getShape();
    TableSite site{getLayerName(embedding), shape[0], shape[1]};
    auto matches = [&](const llvm::GlobPattern &glob) { return glob.match(site.name); };
    if (!isQuantizable(embedding) || site.rows < kMinRows || llvm::any_of(excluded, matches) ||
        (!options.include.empty() && llvm::none_of(included, matches)))
      continue;
    quantizeTable(embedding);
    tables.push_back(std::move(site));
  }
  return tables;
}

static void shiftBias(lm::LinearOp linear, ArrayRef<float> shift) {
  OpBuilder builder(linear);
  auto type = RankedTensorType::get({int64_t(shift.size())}, builder.getF32Type());
  Value bias = lm::ConstantOp::create(builder, linear.getLoc(), DenseElementsAttr::get(type, shift));
  if (linear.getBias())
    bias = lm::AddOp::create(builder, linear.getLoc(), linear.getBias(), bias);
  linear.getBiasMutable().assign(bias);
}

void llmopt::applyChoices(ModuleOp module, ArrayRef<Choice> choices) {
  InputQuantizer inputs;
  for (auto [linear, choice] : llvm::zip_equal(listLinears(module), choices)) {
    if (choice.scheme.isFloat())
      continue;
    OpBuilder builder(linear);
    std::optional<SolvedWeight> solved;
    if (choice.weight)
      solved = createWeights(builder, linear.getLoc(), *choice.weight);
    quantizeLinear(linear, choice.scheme, inputs, solved ? &*solved : nullptr, choice.staticScale);
    if (!choice.biasShift.empty())
      shiftBias(linear, choice.biasShift);
  }
}

// The whole model: inputs, outputs and facts around its graph.
#include "llmopt/Import/ONNX/Import.h"

#include "Dims.h"
#include "GraphImporter.h"
#include "OpTable.h"
#include "Searches.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_import;
using llmopt::lm::SymExpr;

/// A dimension beyond this is a mistake, and sizes computed from it would overflow.
static constexpr int64_t kMaxDim = int64_t(1) << 40;
static constexpr int64_t kMaxRank = 64;
/// What onnx_proto calls IR_VERSION_2019_3_18: from here on, inputs need not list
/// initializers.
static constexpr int64_t kInitializersApart = 4;

//===- Inputs ------------------------------------------------------------------------===//

// Whether a pinned dimension is a number, then in `number`.
static bool isNumber(StringRef text, int64_t &number) { return !text.getAsInteger(10, number); }

static bool isShapeGiven(const onnx::ValueInfoProto &input, const ONNXImportOptions &options) {
  return options.inputShapes.count(input.name()) != 0;
}

static bool isKept(const onnx::ValueInfoProto &input, const ONNXImportOptions &options, int64_t dim) {
  auto it = options.keptDims.find(input.name());
  return it != options.keptDims.end() && it->second.count(dim) != 0;
}

bool GraphImporter::importInputs(Scope &scope, SmallVectorImpl<std::string> &argNames) {
  const onnx::GraphProto &graph = file.model().graph();
  SymbolNames symbols;
  for (const onnx::ValueInfoProto &input : graph.input()) {
    if (isShapeGiven(input, options))
      for (const std::string &dim : options.inputShapes.at(input.name()))
        symbols.declare(dim);
    else if (!options.forgetStaticDims)
      for (const auto &dim : input.type().tensor_type().shape().dim())
        symbols.declare(dim.dim_param());
  }

  Block *block = builder.getInsertionBlock();
  std::set<std::string> names;
  bool ok = true;
  auto fail = [&](const onnx::ValueInfoProto &input, const Twine &text) {
    reporter.error("input '" + printable(input.name()) + "': " + text);
    ok = false;
  };
  for (const onnx::ValueInfoProto &input : graph.input()) {
    if (!names.insert(input.name()).second) {
      fail(input, "is defined twice");
      continue;
    }
    // An initializer among the inputs is a default; it counts as constant.
    if (scope.values.contains(input.name()) || scope.broken.contains(input.name()))
      continue;
    if (!input.type().has_tensor_type()) {
      fail(input, "only tensors are supported, no sequences, maps or optional values");
      continue;
    }
    const onnx::TypeProto::Tensor &type = input.type().tensor_type();
    std::string error;
    Type elementType = onnx_import::getElementType(context, type.elem_type(), error);
    if (!elementType) {
      fail(input, error);
      continue;
    }
    auto value = options.inputValues.find(input.name());
    if (value != options.inputValues.end()) {
      if (value->second.getElementType() != elementType)
        fail(input, "expected a value of another element type");
      scope.values[input.name()] =
          lm::ConstantOp::create(builder, NameLoc::get(builder.getStringAttr(input.name())), value->second);
      continue;
    }
    SmallVector<SymExpr> dims;
    if (isShapeGiven(input, options)) {
      const auto &given = options.inputShapes.at(input.name());
      if (type.has_shape() && type.shape().dim_size() != static_cast<int>(given.size())) {
        fail(input, "expected a shape of " + Twine(type.shape().dim_size()) + " dimensions, but got one of " +
                        Twine(given.size()));
        continue;
      }
      for (const std::string &dim : given) {
        int64_t number;
        if (!isNumber(dim, number) && !isSymbolName(dim))
          fail(input, "expected a number or name as dimension, but got '" + printable(dim) + "'");
        else if (isNumber(dim, number) && (number < 0 || number > kMaxDim))
          fail(input, "dimension " + Twine(number) + " is out of range");
        else
          dims.push_back(isNumber(dim, number) ? SymExpr(number) : symbols.resolve(dim));
      }
    } else {
      if (!type.has_shape()) {
        fail(input, "has no shape; give one, for example -shape=" + printable(input.name()) + ":1x128");
        continue;
      }
      if (type.shape().dim_size() > kMaxRank) {
        fail(input, "expected at most " + Twine(kMaxRank) + " dimensions");
        continue;
      }
      int64_t rank = type.shape().dim_size();
      for (const auto &dim : type.shape().dim()) {
        int64_t at = dims.size();
        bool isStatic = dim.has_dim_value() &&
                        (!options.forgetStaticDims || isKept(input, options, at) || isKept(input, options, at - rank));
        if (isStatic && (dim.dim_value() < 0 || dim.dim_value() > kMaxDim)) {
          // Some exporters write -1 for a dimension they do not know.
          if (dim.dim_value() != -1)
            fail(input, "dimension " + Twine(dim.dim_value()) + " is out of range");
          isStatic = false;
        }
        if (isStatic)
          dims.push_back(dim.dim_value());
        else if (!dim.dim_param().empty() && !options.forgetStaticDims)
          dims.push_back(symbols.resolve(dim.dim_param()));
        else
          dims.push_back(symbols.unnamed(input.name(), dims.size()));
      }
    }
    int64_t elements = 1;
    for (const SymExpr &dim : dims)
      if (std::optional<int64_t> size = dim.getConstant(); size && *size > 0)
        if (llvm::MulOverflow(elements, *size, elements))
          elements = kMaxDim * 1024;
    if (elements > kMaxDim * 256)
      fail(input, "the number of elements is out of range");
    if (!ok)
      continue;
    Location loc = NameLoc::get(builder.getStringAttr(input.name()));
    scope.values[input.name()] = block->addArgument(lm::getTensorType(dims, elementType), loc);
    argNames.push_back(input.name());
  }
  for (const auto &[name, shape] : options.inputShapes)
    if (!names.count(name)) {
      reporter.error("the model has no input '" + printable(name) + "'");
      ok = false;
    }
  return ok;
}

//===- Outputs -----------------------------------------------------------------------===//

bool GraphImporter::importOutputs(Scope &scope, func::FuncOp function, ArrayRef<std::string> argNames) {
  const onnx::GraphProto &graph = file.model().graph();
  SmallVector<Value> results;
  SmallVector<DictionaryAttr> argAttrs, resultAttrs;
  auto nameAttr = [&](StringRef name) {
    return builder.getDictionaryAttr(builder.getNamedAttr("lm.name", builder.getStringAttr(name)));
  };
  if (graph.output_size() == 0)
    reporter.error("the graph has no outputs");
  std::set<std::string> names;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    std::string name = printable(output.name());
    if (!names.insert(output.name()).second)
      continue; // one value: a caller who asks for the name gets it
    Value value;
    if (lookup(output.name(), scope, value) == Lookup::Undefined)
      reporter.error("output '" + name + "' is not defined");
    if (!value)
      continue;
    std::string error;
    int32_t declared = output.type().tensor_type().elem_type();
    Type actual = cast<RankedTensorType>(value.getType()).getElementType();
    if (declared != 0 && onnx_import::getElementType(context, declared, error) != actual) {
      std::string text;
      llvm::raw_string_ostream(text) << actual;
      reporter.error("output '" + name + "' is declared as " +
                     onnx::TensorProto::DataType_Name(static_cast<onnx::TensorProto::DataType>(declared)) +
                     ", but its nodes give " + text);
    }
    results.push_back(value);
    resultAttrs.push_back(nameAttr(output.name()));
  }
  if (reporter.hasErrors())
    return false;
  func::ReturnOp::create(builder, function.getLoc(), results);
  for (const std::string &name : argNames)
    argAttrs.push_back(nameAttr(name));
  function.setType(builder.getFunctionType(function.getBody().getArgumentTypes(), ValueRange(results).getTypes()));
  function.setAllArgAttrs(argAttrs);
  function.setAllResultAttrs(resultAttrs);
  if (!constraints.empty()) {
    SmallVector<Attribute> texts;
    for (const std::string &text : constraints)
      texts.push_back(builder.getStringAttr(text));
    function->setAttr("lm.constraints", builder.getArrayAttr(texts));
  }
  return true;
}

void GraphImporter::setModuleAttributes(ModuleOp module) {
  const onnx::ModelProto &model = file.model();
  SmallVector<NamedAttribute> opsets;
  std::set<std::string> seen;
  for (const onnx::OperatorSetIdProto &opset : model.opset_import()) {
    std::string domain = opset.domain().empty() ? "ai.onnx" : opset.domain();
    if (seen.insert(domain).second)
      opsets.push_back(builder.getNamedAttr(domain, builder.getI64IntegerAttr(opset.version())));
  }
  module->setAttr("lm.opset_imports", builder.getDictionaryAttr(opsets));
  module->setAttr("lm.ir_version", builder.getI64IntegerAttr(model.ir_version()));
  std::string producer = model.producer_name();
  if (!model.producer_version().empty())
    producer += " " + model.producer_version();
  if (!producer.empty())
    module->setAttr("lm.producer", builder.getStringAttr(producer));
  if (!model.graph().name().empty())
    module->setAttr("lm.model_name", builder.getStringAttr(model.graph().name()));
}

//===- The model ---------------------------------------------------------------------===//

// Operations whose results nobody reads: shape computations that were folded,
// weights that were not needed.
static void eraseDead(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

/// Rows without a limit to their number have no place to go. Loops whose rows
/// nobody reads are fine, so this is known only in the end.
static void checkScanOutputs(ModuleOp module, Reporter &reporter) {
  module.walk([&](lm::LoopOp loop) {
    for (OpResult result : loop.getResults().drop_front(loop.getNumStates())) {
      if (result.use_empty() || !loop.getKnownTrips().isUnknown())
        continue;
      SmallVector<lm::NodeInfo> nodes = lm::getNodes(loop.getLoc());
      reporter.error("node '" + (nodes.empty() ? std::string() : printable(nodes.front().node)) +
                     "': expected the trip count of a loop with scan outputs to follow from the shapes of inputs, but "
                     "it depends on their data");
      return;
    }
  });
}

OwningOpRef<ModuleOp> GraphImporter::run() {
  const onnx::ModelProto &model = file.model();
  Location loc = UnknownLoc::get(context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  builder.setInsertionPointToEnd(module->getBody());
  auto function = func::FuncOp::create(builder, loc, "main", builder.getFunctionType({}, {}));
  entry = function.addEntryBlock();
  builder.setInsertionPointToEnd(entry);

  Scope scope;
  for (const onnx::OperatorSetIdProto &opset : model.opset_import())
    scope.opsets[opset.domain() == "ai.onnx" ? "" : opset.domain()] = opset.version();
  if (model.opset_import().empty() && model.ir_version() < kInitializersApart)
    scope.opsets[""] = 1;
  auto onnxOpset = scope.opsets.find("");
  if (onnxOpset != scope.opsets.end() && onnxOpset->second > kNewestOpset)
    reporter.warning("opset " + Twine(onnxOpset->second) + " is newer than " + Twine(kNewestOpset) +
                     ", up to which operators are known");
  addInitializers(model.graph(), scope);
  SmallVector<std::string> argNames;
  if (!importInputs(scope, argNames))
    return nullptr;
  if (!importNodes(model.graph().node(), scope))
    return nullptr;
  if (!importOutputs(scope, function, argNames))
    return nullptr;
  eraseDead(function.getBody().front());
  checkScanOutputs(*module, reporter);
  if (reporter.hasErrors())
    return nullptr;
  setModuleAttributes(*module);
  if (failed(verify(*module))) {
    reporter.error("the imported module is not valid: " + lastDiagnostic);
    return nullptr;
  }
  return module;
}

FailureOr<OwningOpRef<ModuleOp>> llmopt::importONNX(MLIRContext *context, StringRef path,
                                                    const ONNXImportOptions &options, ImportMessageHandler handler) {
  context->loadDialect<lm::LMDialect, func::FuncDialect>();
  Reporter reporter(path.str(), handler);
  std::string error;
  std::unique_ptr<ModelFile> file = ModelFile::open(path, error);
  if (!file) {
    reporter.error(error);
    return failure();
  }
  UnwrappedSearch search;
  if (!unwrapSearch(context, *file, options.subgraph, search, error)) {
    reporter.error(error);
    return failure();
  }
  if (!search.op.empty()) {
    auto beams = dyn_cast_or_null<IntegerAttr>(search.settings.get("num_beams"));
    std::string greedy =
        beams && beams.getInt() > 1 ? ", greedily instead of with " + std::to_string(beams.getInt()) + " beams" : "";
    reporter.remark("unwrapped the " + search.subgraph + " of " + search.op +
                    "; search is done by llmopt-run --generate" + greedy);
  }
  GraphImporter importer(context, *file, options, reporter);
  ScopedDiagnosticHandler diagnostics(context, [&](Diagnostic &diagnostic) {
    if (importer.lastDiagnostic.empty())
      importer.lastDiagnostic = diagnostic.str();
    return success();
  });
  OwningOpRef<ModuleOp> module = importer.run();
  bool ok = module && !reporter.hasErrors();
  if (ok && !search.op.empty())
    (*module)->setAttr("lm.generation", search.settings);
  reporter.finish();
  file->dropPages();
  if (!ok)
    return failure();
  return module;
}

FailureOr<std::vector<std::string>> llmopt::listONNXInputs(StringRef path, std::string &error, StringRef subgraph) {
  std::unique_ptr<ModelFile> file = ModelFile::open(path, error);
  MLIRContext context(MLIRContext::Threading::DISABLED);
  UnwrappedSearch search;
  if (!file || !unwrapSearch(&context, *file, subgraph, search, error))
    return failure();
  std::set<std::string> initializers;
  for (const onnx::TensorProto &tensor : file->model().graph().initializer())
    initializers.insert(tensor.name());
  std::vector<std::string> names;
  for (const onnx::ValueInfoProto &input : file->model().graph().input())
    if (!initializers.count(input.name()))
      names.push_back(input.name());
  return names;
}

DenseElementsAttr llmopt::readONNXTensor(MLIRContext *context, StringRef path, std::string &error) {
  return readTensorFile(context, path, error);
}

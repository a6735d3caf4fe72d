// Registration of the dialect, and its attributes.
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

#include "llmopt/Dialect/LM/IR/LMDialect.cpp.inc"
#include "llmopt/Dialect/LM/IR/LMEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "llmopt/Dialect/LM/IR/LMAttributes.cpp.inc"
#define GET_OP_CLASSES
#include "llmopt/Dialect/LM/IR/LMOps.cpp.inc"

void LMDialect::initialize() {
  weightStore = std::make_shared<WeightStore>();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "llmopt/Dialect/LM/IR/LMAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "llmopt/Dialect/LM/IR/LMOps.cpp.inc"
      >();
}

Operation *LMDialect::materializeConstant(OpBuilder &builder, Attribute value, Type type, Location loc) {
  auto typed = dyn_cast<TypedAttr>(value);
  if (!typed || !isa<ElementsAttr, SymValuesAttr>(value) || typed.getType() != type)
    return nullptr;
  return ConstantOp::create(builder, loc, typed);
}

/// `<` (integer | `?` | string) (`,` ...)* `>`; strings are made canonical.
static FailureOr<SmallVector<StringAttr>> parseExprs(AsmParser &parser) {
  SmallVector<StringAttr> exprs;
  auto element = [&]() -> ParseResult {
    std::string text;
    int64_t integer;
    SMLoc loc = parser.getCurrentLocation();
    if (succeeded(parser.parseOptionalQuestion())) {
      text = "?";
    } else if (OptionalParseResult parsed = parser.parseOptionalInteger(integer); parsed.has_value()) {
      if (failed(*parsed))
        return failure();
      text = std::to_string(integer);
    } else if (parser.parseString(&text)) {
      return failure();
    }
    std::optional<SymExpr> expr = SymExpr::parse(text);
    if (!expr)
      return parser.emitError(loc, "expected a size expression, but got \"") << text << "\"";
    exprs.push_back(StringAttr::get(parser.getContext(), expr->str()));
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, element))
    return failure();
  return exprs;
}

static void printExprs(AsmPrinter &printer, ArrayRef<StringAttr> exprs) {
  printer << "<";
  llvm::interleaveComma(exprs, printer, [&](StringAttr expr) {
    int64_t integer;
    if (expr.getValue() == "?" || !expr.getValue().getAsInteger(10, integer))
      printer << expr.getValue();
    else
      printer << expr;
  });
  printer << ">";
}

Attribute DimsAttr::parse(AsmParser &parser, Type) {
  FailureOr<SmallVector<StringAttr>> exprs = parseExprs(parser);
  return failed(exprs) ? Attribute() : DimsAttr::get(parser.getContext(), *exprs);
}

void DimsAttr::print(AsmPrinter &printer) const { printExprs(printer, getExprs()); }

LogicalResult DimsAttr::verifyEncoding(ArrayRef<int64_t> shape, Type,
                                       function_ref<InFlightDiagnostic()> emitError) const {
  if (shape.size() != getExprs().size())
    return emitError() << "expected " << shape.size() << " entries in #lm.dims, but got " << getExprs().size();
  for (auto [size, text] : llvm::zip(shape, getExprs())) {
    std::optional<SymExpr> expr = SymExpr::parse(text.getValue());
    std::optional<int64_t> constant = expr ? expr->getConstant() : std::nullopt;
    if (!expr || (ShapedType::isDynamic(size) ? constant.has_value() : constant != size))
      return emitError() << "expected #lm.dims to agree with the shape, but got " << text << " for "
                         << (ShapedType::isDynamic(size) ? std::string("?") : std::to_string(size));
  }
  return success();
}

Attribute SymValuesAttr::parse(AsmParser &parser, Type type) {
  FailureOr<SmallVector<StringAttr>> exprs = parseExprs(parser);
  if (failed(exprs))
    return {};
  if (!type && parser.parseColonType(type))
    return {};
  auto ranked = dyn_cast<RankedTensorType>(type);
  if (!ranked || !ranked.hasStaticShape() || !ranked.getElementType().isInteger() ||
      ranked.getNumElements() != static_cast<int64_t>(exprs->size())) {
    parser.emitError(parser.getCurrentLocation())
        << "expected a static integer tensor of " << exprs->size() << " elements, but got " << type;
    return {};
  }
  return SymValuesAttr::get(parser.getContext(), type, *exprs);
}

void SymValuesAttr::print(AsmPrinter &printer) const { printExprs(printer, getExprs()); }

#include "llmopt/Execution/Dataset.h"

#include "llmopt/CodeGen/Plan/Recipe.h"
#include "llmopt/CodeGen/Plan/Tables.h"
#include "llmopt/Dialect/LM/IR/Shapes.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/LineIterator.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cmath>
#include <map>

using namespace mlir;
using namespace llmopt;

double llmopt::getElement(const NamedArray &array, int64_t i) {
  return loadElement(array.data.data() + i * static_cast<int64_t>(getDTypeBytes(array.dtype)), array.dtype);
}

int64_t llmopt::countElements(const NamedArray &array) {
  int64_t count = 1;
  for (int64_t dim : array.dims)
    count *= dim;
  return count;
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

namespace {
/// A list of numbers, or a number, of one line.
struct Field {
  std::vector<double> values;
  bool isList = false, isInteger = true;
};
} // namespace

static bool addNumber(const llvm::json::Value &value, Field &field) {
  if (auto integer = value.getAsInteger()) {
    field.values.push_back(static_cast<double>(*integer));
    return true;
  }
  field.isInteger = false;
  if (auto number = value.getAsNumber()) {
    field.values.push_back(*number);
    return true;
  }
  return false;
}

/// One array from the fields of all lines, padded with zeros.
static NamedArray toArray(StringRef name, ArrayRef<Field> fields) {
  size_t longest = 0;
  bool isList = false, isInteger = true;
  for (const Field &field : fields) {
    longest = std::max(longest, field.values.size());
    isList |= field.isList;
    isInteger &= field.isInteger;
  }
  NamedArray array{name.str(), isInteger ? uint32_t(LLMOPT_I64) : uint32_t(LLMOPT_F32), {int64_t(fields.size())}, {}};
  if (isList)
    array.dims.push_back(static_cast<int64_t>(longest));
  for (const Field &field : fields)
    for (size_t i = 0; i < longest; ++i) {
      double value = i < field.values.size() ? field.values[i] : 0;
      auto integer = static_cast<int64_t>(value);
      auto number = static_cast<float>(value);
      const char *bytes =
          isInteger ? reinterpret_cast<const char *>(&integer) : reinterpret_cast<const char *>(&number);
      array.data.insert(array.data.end(), bytes, bytes + (isInteger ? 8 : 4));
    }
  return array;
}

static llvm::Expected<std::vector<NamedArray>> readLines(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return llvm::createStringError(buffer.getError(), path + ": " + buffer.getError().message());
  std::map<std::string, std::vector<Field>> columns;
  size_t samples = 0;
  for (llvm::line_iterator line(**buffer, /*SkipBlanks=*/true); !line.is_at_end(); ++line) {
    std::string where = (path + ":" + llvm::Twine(line.line_number())).str();
    llvm::Expected<llvm::json::Value> value = llvm::json::parse(*line);
    if (!value)
      return llvm::createStringError(where + ": " + llvm::toString(value.takeError()));
    const llvm::json::Object *object = value->getAsObject();
    if (!object)
      return llvm::createStringError(where + ": expected an object with a list per input");
    for (const auto &[key, content] : *object) {
      Field field;
      bool valid = true;
      if (const llvm::json::Array *list = content.getAsArray()) {
        field.isList = true;
        for (const llvm::json::Value &element : *list)
          valid &= addNumber(element, field);
      } else if (content.getAsString()) {
        continue; // the text behind the ids
      } else {
        valid = addNumber(content, field);
      }
      if (!valid)
        return llvm::createStringError(where + ": '" + key.str() + "': expected a number or a list of numbers");
      std::vector<Field> &column = columns[key.str()];
      if (column.size() != samples)
        return llvm::createStringError(where + ": '" + key.str() + "' is not in all lines before");
      column.push_back(std::move(field));
    }
    ++samples;
    for (const auto &[name, column] : columns)
      if (column.size() != samples)
        return llvm::createStringError(where + ": expected '" + name + "', as in the lines before");
  }
  std::vector<NamedArray> arrays;
  for (const auto &[name, column] : columns)
    arrays.push_back(toArray(name, column));
  auto ids = columns.find("input_ids");
  if (ids != columns.end() && !columns.count("attention_mask")) {
    std::vector<Field> mask = ids->second;
    for (Field &field : mask)
      std::fill(field.values.begin(), field.values.end(), 1.0);
    arrays.push_back(toArray("attention_mask", mask));
  }
  return arrays;
}

static llvm::Expected<std::vector<NamedArray>> readFiles(StringRef path) {
  if (path.ends_with(".jsonl"))
    return readLines(path);
  if (!llvm::sys::fs::is_directory(path))
    return readArrays(path);
  std::vector<NamedArray> arrays;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(path, error), end; it != end && !error; it.increment(error)) {
    if (!StringRef(it->path()).ends_with(".npy"))
      continue;
    llvm::Expected<NamedArray> array = readArray(it->path());
    if (!array)
      return array.takeError();
    arrays.push_back(std::move(*array));
  }
  if (error)
    return llvm::createStringError(error, path + ": " + error.message());
  llvm::sort(arrays, [](const NamedArray &a, const NamedArray &b) { return a.name < b.name; });
  return arrays;
}

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

static bool isIntegerDType(uint32_t dtype) {
  switch (dtype) {
  case LLMOPT_I8:
  case LLMOPT_U8:
  case LLMOPT_BOOL:
  case LLMOPT_I16:
  case LLMOPT_U16:
  case LLMOPT_I32:
  case LLMOPT_U32:
  case LLMOPT_I64:
    return true;
  }
  return false;
}

/// `array` in the element type of the model, where no value changes.
static llvm::Error convert(NamedArray &array, uint32_t dtype) {
  if (array.dtype == dtype)
    return llvm::Error::success();
  bool widens =
      isIntegerDType(array.dtype) &&
      (dtype == LLMOPT_I64 || (dtype == LLMOPT_I32 && getDTypeBytes(array.dtype) <= 4 && array.dtype != LLMOPT_U32));
  bool narrows = array.dtype == LLMOPT_I64 && (dtype == LLMOPT_I32 || dtype == LLMOPT_BOOL);
  if (!widens && !narrows)
    return llvm::createStringError(std::string("expected elements of type ") + getDTypeName(dtype) + ", but got " +
                                   getDTypeName(array.dtype));
  std::vector<char> data;
  for (int64_t i = 0, count = countElements(array); i < count; ++i) {
    auto value = static_cast<int64_t>(getElement(array, i));
    if ((dtype == LLMOPT_I32 && value != static_cast<int32_t>(value)) || (dtype == LLMOPT_BOOL && (value & ~1)))
      return llvm::createStringError("the value " + std::to_string(value) + " does not fit " + getDTypeName(dtype));
    auto *bytes = reinterpret_cast<const char *>(&value); // little endian
    data.insert(data.end(), bytes, bytes + getDTypeBytes(dtype));
  }
  array.data = std::move(data);
  array.dtype = dtype;
  return llvm::Error::success();
}

static std::string formatDims(ArrayRef<int64_t> dims) {
  std::string text = "[";
  for (auto [i, dim] : llvm::enumerate(dims))
    text += (i ? ", " : "") + (ShapedType::isDynamic(dim) ? "?" : std::to_string(dim));
  return text + "]";
}

llvm::Error Dataset::check(StringRef path, func::FuncOp function, std::vector<NamedArray> arrays) {
  auto fail = [&](const llvm::Twine &message) { return llvm::createStringError(path + ": " + message); };
  std::string names;
  for (const NamedArray &array : arrays)
    names += (names.empty() ? "" : ", ") + array.name;
  if (arrays.empty())
    return fail("expected arrays, one per input of the model, but the file has none");
  for (auto [i, type] : llvm::enumerate(function.getArgumentTypes())) {
    auto nameAttr = function.getArgAttrOfType<StringAttr>(i, "lm.name");
    std::string name = nameAttr ? nameAttr.str() : "";
    auto it = llvm::find_if(arrays, [&](const NamedArray &array) { return array.name == name; });
    if (it == arrays.end())
      return fail("expected an array '" + name + "' for an input of the model, but got " + names);
    NamedArray array = std::move(*it);
    arrays.erase(it);
    auto tensor = cast<RankedTensorType>(type);
    if (llvm::Error error = convert(array, getDType(tensor.getElementType())))
      return fail("'" + name + "': " + llvm::toString(std::move(error)));
    ArrayRef<int64_t> shape = tensor.getShape();
    bool fits = array.dims.size() == shape.size() && !shape.empty();
    for (size_t d = 1; fits && d < shape.size(); ++d)
      fits = ShapedType::isDynamic(shape[d]) || shape[d] == array.dims[d];
    if (!fits)
      return fail("'" + name + "': expected samples of shape " + formatDims(shape) + ", but got " +
                  formatDims(array.dims));
    if (!ShapedType::isDynamic(shape[0]))
      fixedBatch = shape[0];
    for (int64_t e = 0, count = isIntegerDType(array.dtype) ? 0 : countElements(array); e < count; ++e)
      if ((array.dtype == LLMOPT_F32 || array.dtype == LLMOPT_F64) && !std::isfinite(getElement(array, e)))
        return fail("'" + name + "': expected finite values, but element " + llvm::Twine(e) + " is " +
                    (std::isnan(getElement(array, e)) ? "NaN" : "infinite"));
    if (inputs.empty())
      samples = array.dims[0];
    if (array.dims[0] != samples)
      return fail("expected as many samples in all arrays, but '" + inputs.front().name + "' has " +
                  llvm::Twine(samples) + " and '" + name + "' " + llvm::Twine(array.dims[0]));
    inputs.push_back(std::move(array));
  }
  if (samples < std::max<int64_t>(1, fixedBatch))
    return fail("expected at least " + llvm::Twine(std::max<int64_t>(1, fixedBatch)) + " samples, but got " +
                llvm::Twine(samples));
  for (NamedArray &array : arrays)
    if (!array.dims.empty() && array.dims[0] == samples)
      extra.push_back(std::move(array));
  return llvm::Error::success();
}

llvm::Expected<Dataset> Dataset::read(StringRef path, func::FuncOp function) {
  llvm::Expected<std::vector<NamedArray>> arrays = readFiles(path);
  if (!arrays)
    return arrays.takeError();
  Dataset data;
  if (llvm::Error error = data.check(path, function, std::move(*arrays)))
    return std::move(error);
  return data;
}

std::vector<NamedArray> Dataset::getBatch(int64_t first, int64_t count) const {
  std::vector<NamedArray> batch;
  for (const NamedArray &input : inputs) {
    int64_t bytes = static_cast<int64_t>(input.data.size()) / input.dims[0];
    NamedArray part{input.name, input.dtype, input.dims, {}};
    part.dims[0] = count;
    part.data.assign(input.data.begin() + first * bytes, input.data.begin() + (first + count) * bytes);
    batch.push_back(std::move(part));
  }
  return batch;
}

const NamedArray *Dataset::find(StringRef name) const {
  for (const NamedArray &array : extra)
    if (array.name == name)
      return &array;
  return nullptr;
}

std::vector<std::string> Dataset::getExtraNames() const {
  std::vector<std::string> names;
  for (const NamedArray &array : extra)
    names.push_back(array.name);
  return names;
}

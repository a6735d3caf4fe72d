// Carrying recipes out. Reshapes of contiguous data, transposes and slices only
// change strides; the other operations write a new block of memory.
#include "llmopt/CodeGen/Plan/Recipe.h"

#include "RecipeView.h"
#include "SmallFloats.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

using namespace llmopt;
using namespace llmopt::recipe;

namespace {

Dims denseStrides(const Dims &dims) {
  Dims strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;)
    strides[i - 1] = strides[i] * dims[i];
  return strides;
}

bool isDense(const View &v) {
  int64_t expected = 1;
  for (size_t i = v.dims.size(); i-- > 0;) {
    if (v.dims[i] != 1 && v.strides[i] != expected)
      return false;
    expected *= v.dims[i];
  }
  return true;
}

double halfToDouble(uint16_t bits) {
  int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  double value = exponent == 31 ? (mantissa ? NAN : INFINITY)
                 : exponent     ? std::ldexp(1024 + mantissa, exponent - 25)
                                : std::ldexp(mantissa, -24);
  return bits & 0x8000 ? -value : value;
}

uint16_t doubleToHalf(double value) {
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  double a = std::fabs(value);
  if (std::isnan(value))
    return sign | 0x7e00;
  if (a >= 65520)
    return sign | 0x7c00;
  if (a < std::ldexp(1, -14))
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(a, 24)));
  int exponent;
  std::frexp(a, &exponent); // a = m 2^exponent, m in [0.5, 1)
  auto mantissa = static_cast<uint32_t>(std::nearbyint(std::ldexp(a, 11 - exponent))); // [1024, 2048]
  return sign | static_cast<uint16_t>(((exponent + 14) << 10) + (mantissa - 1024));
}

uint16_t doubleToBFloat(double value) {
  // To nearest even at 8 bits, by way of an f32 rounded to odd: no double rounding.
  auto f = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (std::isnan(value))
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  if (static_cast<double>(f) != value && std::isfinite(f)) {
    if (std::fabs(static_cast<double>(f)) > std::fabs(value))
      --bits;
    bits |= 1;
  }
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename T> T loadAs(const char *p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

double load(const char *p, uint32_t dtype) {
  switch (dtype) {
  case LLMOPT_F32:
    return loadAs<float>(p);
  case LLMOPT_F64:
    return loadAs<double>(p);
  case LLMOPT_F16:
    return halfToDouble(loadAs<uint16_t>(p));
  case LLMOPT_BF16: {
    uint32_t bits = uint32_t(loadAs<uint16_t>(p)) << 16;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
  }
  case LLMOPT_I8:
  case LLMOPT_I4:
  case LLMOPT_I2:
    return loadAs<int8_t>(p);
  case LLMOPT_U8:
  case LLMOPT_U4:
  case LLMOPT_U2:
  case LLMOPT_BOOL:
    return loadAs<uint8_t>(p);
  case LLMOPT_I16:
    return loadAs<int16_t>(p);
  case LLMOPT_U16:
    return loadAs<uint16_t>(p);
  case LLMOPT_I32:
    return loadAs<int32_t>(p);
  case LLMOPT_U32:
    return loadAs<uint32_t>(p);
  case LLMOPT_I64:
    return static_cast<double>(loadAs<int64_t>(p));
  case LLMOPT_U64:
    return static_cast<double>(loadAs<uint64_t>(p));
  default:
    return isSmallFloat(dtype) ? decodeSmallFloat(loadAs<uint8_t>(p), dtype) : 0;
  }
}

template <typename T> void storeAs(char *p, T value) { std::memcpy(p, &value, sizeof(T)); }

/// `value` is in the range of the type already where it is an integer.
void store(char *p, uint32_t dtype, double value) {
  switch (dtype) {
  case LLMOPT_F32:
    return storeAs(p, static_cast<float>(value));
  case LLMOPT_F64:
    return storeAs(p, value);
  case LLMOPT_F16:
    return storeAs(p, doubleToHalf(value));
  case LLMOPT_BF16:
    return storeAs(p, doubleToBFloat(value));
  case LLMOPT_I8:
  case LLMOPT_I4:
  case LLMOPT_I2:
    return storeAs(p, static_cast<int8_t>(value));
  case LLMOPT_U8:
  case LLMOPT_U4:
  case LLMOPT_U2:
  case LLMOPT_BOOL:
    return storeAs(p, static_cast<uint8_t>(value));
  case LLMOPT_I16:
    return storeAs(p, static_cast<int16_t>(value));
  case LLMOPT_U16:
    return storeAs(p, static_cast<uint16_t>(value));
  case LLMOPT_I32:
    return storeAs(p, static_cast<int32_t>(value));
  case LLMOPT_U32:
    return storeAs(p, static_cast<uint32_t>(value));
  case LLMOPT_I64:
    return storeAs(p, static_cast<int64_t>(value));
  case LLMOPT_U64:
    return storeAs(p, static_cast<uint64_t>(value));
  case LLMOPT_F8E4M3FN:
    return storeAs(p, encodeE4M3(static_cast<float>(value)));
  }
}

/// Least and greatest value of an integer type of at most 32 bits.
std::pair<double, double> integerRange(uint32_t dtype) {
  bool isSigned =
      dtype == LLMOPT_I8 || dtype == LLMOPT_I16 || dtype == LLMOPT_I32 || dtype == LLMOPT_I4 || dtype == LLMOPT_I2;
  bool isNibble = dtype == LLMOPT_I4 || dtype == LLMOPT_U4, isCrumb = dtype == LLMOPT_I2 || dtype == LLMOPT_U2;
  double span = std::ldexp(1, isNibble ? 4 : isCrumb ? 2 : static_cast<int>(8 * getDTypeBytes(dtype)));
  return isSigned ? std::make_pair(-span / 2, span / 2 - 1) : std::make_pair(0.0, span - 1);
}

/// Calls body(offsets in elements of every view) for the row-major indices of
/// `dims`; views broadcast to it from the right.
template <size_t N, typename Body> void forEach(const Dims &dims, const View *const (&views)[N], Body body) {
  size_t rank = dims.size();
  std::vector<Dims> strides(N, Dims(rank, 0));
  for (size_t v = 0; v < N; ++v) {
    if (!views[v])
      continue;
    size_t missing = rank - views[v]->dims.size();
    for (size_t d = missing; d < rank; ++d)
      strides[v][d] = views[v]->dims[d - missing] == 1 ? 0 : views[v]->strides[d - missing];
  }
  int64_t total = 1;
  for (int64_t d : dims)
    total *= d;
  Dims index(rank, 0);
  int64_t offsets[N] = {};
  for (int64_t i = 0; i < total; ++i) {
    body(offsets, i);
    for (size_t d = rank; d-- > 0;) {
      for (size_t v = 0; v < N; ++v)
        offsets[v] += strides[v][d];
      if (++index[d] < dims[d])
        break;
      for (size_t v = 0; v < N; ++v)
        offsets[v] -= strides[v][d] * dims[d];
      index[d] = 0;
    }
  }
}

class Executor {
public:
  Executor(const Recipe &recipe, const RecipeSource &source) : recipe(recipe), source(source) {}

  std::string run(const RecipeSink &sink);

private:
  using Op = Recipe::Op;
  bool eval(size_t index, View &out);
  bool allocate(const Recipe::Node &node, View &out, char *&data);
  bool makeDense(View &view);
  void arithmetic(const Recipe::Node &node, const std::vector<View> &in, char *data);
  void absMaxScale(const Recipe::Node &node, const View &in, char *data);
  void columnSums(const Recipe::Node &node, const View &in, char *data);
  void quantize(const Recipe::Node &node, const std::vector<View> &in, char *data);
  bool writeDense(const View &view, const RecipeSink &sink);

  const Recipe &recipe;
  const RecipeSource &source;
  std::string error;
};

} // namespace

bool Executor::allocate(const Recipe::Node &node, View &out, char *&data) {
  out.dtype = node.dtype;
  out.dims = node.dims;
  out.strides = denseStrides(node.dims);
  size_t bytes = static_cast<size_t>(out.count()) * getDTypeBytes(node.dtype);
  data = new (std::nothrow) char[bytes ? bytes : 1];
  if (!data) {
    error = "out of memory for " + std::to_string(bytes) + " bytes";
    return false;
  }
  out.memory.reset(data, std::default_delete<char[]>());
  out.data = data;
  return true;
}

bool Executor::makeDense(View &view) {
  if (isDense(view))
    return true;
  Recipe::Node node;
  node.dtype = view.dtype;
  node.dims = view.dims;
  View dense;
  char *data;
  if (!allocate(node, dense, data))
    return false;
  size_t size = getDTypeBytes(view.dtype);
  forEach<1>(view.dims, {&view}, [&](const int64_t *at, int64_t i) {
    std::memcpy(data + i * size, view.data + at[0] * static_cast<int64_t>(size), size);
  });
  view = std::move(dense);
  return true;
}

void Executor::arithmetic(const Recipe::Node &node, const std::vector<View> &in, char *data) {
  const View &a = in[0], &b = in[1];
  int64_t sizeA = getDTypeBytes(a.dtype), sizeB = getDTypeBytes(b.dtype), size = getDTypeBytes(node.dtype);
  forEach<2>(node.dims, {&a, &b}, [&](const int64_t *at, int64_t i) {
    double x = load(a.data + at[0] * sizeA, a.dtype), y = load(b.data + at[1] * sizeB, b.dtype);
    double z = node.op == Op::Add ? x + y : node.op == Op::Sub ? x - y : node.op == Op::Mul ? x * y : x / y;
    store(data + i * size, node.dtype, z);
  });
}

void Executor::absMaxScale(const Recipe::Node &node, const View &in, char *data) {
  std::vector<double> largest;
  int64_t count = 1;
  for (int64_t d : node.dims)
    count *= d;
  largest.assign(static_cast<size_t>(count), 0);
  View result; // its strides say where an element of `in` belongs
  result.dims = node.dims;
  result.strides = denseStrides(node.dims);
  int64_t size = getDTypeBytes(in.dtype);
  forEach<2>(in.dims, {&in, &result}, [&](const int64_t *at, int64_t) {
    double x = std::fabs(load(in.data + at[0] * size, in.dtype));
    double &m = largest[static_cast<size_t>(at[1])];
    if (x > m || std::isnan(x))
      m = x;
  });
  int64_t resultSize = getDTypeBytes(node.dtype);
  for (int64_t i = 0; i < count; ++i) {
    double m = largest[static_cast<size_t>(i)];
    store(data + i * resultSize, node.dtype, m == 0 ? 1 : m / node.number);
  }
}

void Executor::columnSums(const Recipe::Node &node, const View &in, char *data) {
  std::vector<int64_t> sums(static_cast<size_t>(node.dims[0]), 0);
  View column; // the index of the sum that an element belongs to
  column.dims = {1, node.dims[0]};
  column.strides = denseStrides(column.dims);
  int64_t size = getDTypeBytes(in.dtype);
  forEach<2>(in.dims, {&in, &column}, [&](const int64_t *at, int64_t) {
    sums[static_cast<size_t>(at[1])] += static_cast<int64_t>(load(in.data + at[0] * size, in.dtype));
  });
  int64_t resultSize = getDTypeBytes(node.dtype);
  for (size_t i = 0; i < sums.size(); ++i)
    store(data + static_cast<int64_t>(i) * resultSize, node.dtype, static_cast<double>(sums[i]));
}

void Executor::quantize(const Recipe::Node &node, const std::vector<View> &in, char *data) {
  bool forward = node.op == Op::Quantize;
  const View &x = in[0], &scale = in[1];
  const View *zero = in.size() > 2 ? &in[2] : nullptr;
  std::pair<double, double> range = integerRange(node.dtype);
  double lowest = range.first, highest = range.second;
  if (forward && node.ints[0])
    lowest += 1;
  int64_t sizeX = getDTypeBytes(x.dtype), sizeS = getDTypeBytes(scale.dtype),
          sizeZ = zero ? getDTypeBytes(zero->dtype) : 0, size = getDTypeBytes(node.dtype);
  forEach<3>(node.dims, {&x, &scale, zero}, [&](const int64_t *at, int64_t i) {
    double v = load(x.data + at[0] * sizeX, x.dtype), s = load(scale.data + at[1] * sizeS, scale.dtype);
    double z = zero ? load(zero->data + at[2] * sizeZ, zero->dtype) : 0;
    if (forward) {
      // The quotient has the type of the scale: what f32 rounds to a tie is one.
      double quotient = scale.dtype == LLMOPT_F64 ? v / s : static_cast<float>(v / s);
      double q = std::nearbyint(quotient) + z;
      v = isSmallFloat(node.dtype) ? quotient : std::isnan(q) ? lowest : std::min(std::max(q, lowest), highest);
    } else {
      v = (v - z) * s;
    }
    store(data + i * size, node.dtype, v);
  });
}

bool Executor::eval(size_t index, View &out) {
  const Recipe::Node &node = recipe.nodes[index];
  if (node.op == Op::Weight || node.op == Op::Constant) {
    out.data = node.op == Op::Constant ? node.data.data() : source.get(node.name, error);
    out.dtype = node.dtype;
    out.dims = node.dims;
    out.strides = denseStrides(node.dims);
    return out.data != nullptr;
  }
  std::vector<View> in(node.operands.size());
  if (node.op != Op::Concat)
    for (size_t i = 0; i < in.size(); ++i)
      if (!eval(node.operands[i], in[i]))
        return false;
  char *data;
  switch (node.op) {
  case Op::Reshape:
    if (!makeDense(in[0]))
      return false;
    out = std::move(in[0]);
    out.dims = node.dims;
    out.strides = denseStrides(node.dims);
    return true;
  case Op::Transpose:
    out = in[0];
    for (size_t i = 0; i < node.ints.size(); ++i) {
      out.dims[i] = in[0].dims[static_cast<size_t>(node.ints[i])];
      out.strides[i] = in[0].strides[static_cast<size_t>(node.ints[i])];
    }
    return true;
  case Op::Slice: {
    out = in[0];
    int64_t offset = 0;
    for (size_t i = 0; i < node.dims.size(); ++i) {
      offset += node.ints[i] * in[0].strides[i];
      out.strides[i] *= node.ints[node.dims.size() + i];
    }
    out.dims = node.dims;
    out.data += offset * static_cast<int64_t>(getDTypeBytes(out.dtype));
    return true;
  }
  case Op::Concat: {
    if (!allocate(node, out, data))
      return false;
    auto axis = static_cast<size_t>(node.ints[0]);
    size_t size = getDTypeBytes(node.dtype);
    int64_t first = 0;
    for (size_t operand : node.operands) {
      View part; // one at a time
      if (!eval(operand, part))
        return false;
      View target = out;
      target.dims = part.dims;
      char *start = data + first * out.strides[axis] * static_cast<int64_t>(size);
      forEach<2>(part.dims, {&part, &target}, [&](const int64_t *at, int64_t) {
        std::memcpy(start + at[1] * static_cast<int64_t>(size), part.data + at[0] * static_cast<int64_t>(size), size);
      });
      first += part.dims[axis];
    }
    return true;
  }
  case Op::Cast: {
    if (!allocate(node, out, data))
      return false;
    int64_t from = getDTypeBytes(in[0].dtype), to = getDTypeBytes(node.dtype);
    forEach<1>(node.dims, {&in[0]}, [&](const int64_t *at, int64_t i) {
      store(data + i * to, node.dtype, load(in[0].data + at[0] * from, in[0].dtype));
    });
    return true;
  }
  case Op::Add:
  case Op::Sub:
  case Op::Mul:
  case Op::Div:
    if (!allocate(node, out, data))
      return false;
    arithmetic(node, in, data);
    return true;
  case Op::AbsMaxScale:
    if (!allocate(node, out, data))
      return false;
    absMaxScale(node, in[0], data);
    return true;
  case Op::ColumnSums:
    if (!allocate(node, out, data))
      return false;
    columnSums(node, in[0], data);
    return true;
  case Op::Quantize:
  case Op::Dequantize:
    if (!allocate(node, out, data))
      return false;
    quantize(node, in, data);
    return true;
  case Op::Weight:
  case Op::Constant:
  case Op::Groups:
  case Op::Panels:
    break;
  }
  error = "expected a packed layout only at the end of a recipe";
  return false;
}

/// Pieces that a sink gets are about so large.
static constexpr size_t kPiece = size_t(4) << 20;

bool Executor::writeDense(const View &view, const RecipeSink &sink) {
  size_t size = getDTypeBytes(view.dtype), total = static_cast<size_t>(view.count()) * size;
  if (isDense(view)) {
    for (size_t at = 0; at < total; at += kPiece)
      if (!sink(view.data + at, std::min(kPiece, total - at)))
        return false;
    return true;
  }
  std::vector<char> piece;
  bool alive = true;
  forEach<1>(view.dims, {&view}, [&](const int64_t *at, int64_t) {
    const char *p = view.data + at[0] * static_cast<int64_t>(size);
    piece.insert(piece.end(), p, p + size);
    if (piece.size() >= kPiece) {
      alive = alive && sink(piece.data(), piece.size());
      piece.clear();
    }
  });
  return alive && (piece.empty() || sink(piece.data(), piece.size()));
}

std::string Executor::run(const RecipeSink &sink) {
  const Recipe::Node &last = recipe.result();
  View view;
  if (last.op == Op::Panels) {
    if (eval(last.operands[0], view)) {
      if (last.ints[1] == 1)
        writePanels(view, last.ints[0], sink);
      else if (last.ints[0] == 1)
        writeRows(view, last.ints[1], sink);
      else
        writeSteps(view, last.ints[0], last.ints[1], last.ints[2], sink);
    }
  } else if (last.op == Op::Groups) {
    View q, scale, zero;
    bool hasZero = last.operands.size() > 2;
    if (eval(last.operands[0], q) && eval(last.operands[1], scale) && (!hasZero || eval(last.operands[2], zero))) {
      if (last.ints[0] == 0)
        writeGroupRows(q, scale, hasZero ? &zero : nullptr, last.ints[1], sink);
      else
        writeGroups(q, scale, hasZero ? &zero : nullptr, last.ints[0], last.ints[1], sink);
    }
  } else if (eval(recipe.nodes.size() - 1, view)) {
    writeDense(view, sink);
  }
  for (const Recipe::Node &node : recipe.nodes)
    if (node.op == Op::Weight && source.release)
      source.release(node.name);
  return error;
}

double llmopt::loadElement(const char *p, uint32_t dtype) { return load(p, dtype); }

std::string llmopt::executeRecipe(const Recipe &recipe, const RecipeSource &source, const RecipeSink &sink) {
  return Executor(recipe, source).run(sink);
}

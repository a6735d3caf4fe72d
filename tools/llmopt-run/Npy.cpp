#include "Npy.h"

#include <cstring>

using namespace llmopt::run;

namespace {
struct TypeCode {
  const char *code;
  uint32_t dtype;
};
constexpr TypeCode typeCodes[] = {{"<f4", LLMOPT_F32},
                                  {"<f8", LLMOPT_F64},
                                  {"<f2", LLMOPT_F16},
                                  {"|V2", LLMOPT_BF16},
                                  {"|i1", LLMOPT_I8},
                                  {"|u1", LLMOPT_U8},
                                  {"<i2", LLMOPT_I16},
                                  {"<u2", LLMOPT_U16},
                                  {"<i4", LLMOPT_I32},
                                  {"<u4", LLMOPT_U32},
                                  {"<i8", LLMOPT_I64},
                                  {"<u8", LLMOPT_U64},
                                  {"|b1", LLMOPT_BOOL},
                                  // Written as bytes; what is read is what comes first.
                                  {"|i1", LLMOPT_I4},
                                  {"|u1", LLMOPT_U4},
                                  {"|i1", LLMOPT_I2},
                                  {"|u1", LLMOPT_U2},
                                  {"|u1", LLMOPT_F8E4M3FN},
                                  {"|u1", LLMOPT_F8E4M3FNUZ},
                                  {"|u1", LLMOPT_F8E5M2},
                                  {"|u1", LLMOPT_F8E5M2FNUZ},
                                  {"|u1", LLMOPT_F8E8M0},
                                  {"|u1", LLMOPT_F4E2M1}};

/// Reads the header's Python dictionary: string keys; string, bool and tuple
/// of int values. Nothing else occurs in arrays that we take.
class HeaderParser {
public:
  HeaderParser(const std::string &where, const std::string &text) : where(where), text(text) {}

  std::string descr;
  bool fortranOrder = false;
  std::vector<int64_t> shape;

  void parse() {
    bool hasDescr = false, hasOrder = false, hasShape = false;
    expect('{');
    while (!accept('}')) {
      std::string key = string();
      expect(':');
      if (key == "descr") {
        skipBlanks();
        if (at < text.size() && text[at] == '[')
          throw Failure{BadData, where + ": expected a plain array, but got a "
                                         "structured one"};
        descr = string();
        hasDescr = true;
      } else if (key == "fortran_order") {
        fortranOrder = boolean();
        hasOrder = true;
      } else if (key == "shape") {
        tuple();
        hasShape = true;
      } else {
        bad();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skipBlanks();
    if (at != text.size() || !hasDescr || !hasOrder || !hasShape)
      bad();
  }

private:
  [[noreturn]] void bad() const { throw Failure{BadData, where + ": the .npy header is damaged"}; }
  void skipBlanks() {
    while (at < text.size() && strchr(" \t\n", text[at]) && text[at])
      ++at;
  }
  bool accept(char c) {
    skipBlanks();
    if (at >= text.size() || text[at] != c)
      return false;
    ++at;
    return true;
  }
  void expect(char c) {
    if (!accept(c))
      bad();
  }
  bool acceptWord(const char *word) {
    skipBlanks();
    size_t n = strlen(word);
    if (text.compare(at, n, word) != 0)
      return false;
    at += n;
    return true;
  }
  std::string string() {
    skipBlanks();
    if (at >= text.size() || (text[at] != '\'' && text[at] != '"'))
      bad();
    char quote = text[at++];
    size_t end = text.find(quote, at);
    if (end == std::string::npos)
      bad();
    std::string result = text.substr(at, end - at);
    at = end + 1;
    return result;
  }
  bool boolean() {
    if (acceptWord("True"))
      return true;
    if (acceptWord("False"))
      return false;
    bad();
  }
  void tuple() {
    shape.clear();
    expect('(');
    while (!accept(')')) {
      skipBlanks();
      if (at >= text.size() || text[at] < '0' || text[at] > '9')
        bad();
      int64_t value = 0;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text[at] - '0', &value))
          bad();
      if (at < text.size() && text[at] == 'L') // written by Python 2
        ++at;
      shape.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  const std::string &where;
  const std::string &text;
  size_t at = 0;
};

uint32_t dtypeOf(const std::string &where, std::string descr) {
  // One-byte types have no order; '=' is this machine's, which is little.
  if (!descr.empty() && (descr[0] == '=' || descr[0] == '<' || descr[0] == '|'))
    for (const TypeCode &known : typeCodes)
      if (descr.substr(1) == known.code + 1)
        return known.dtype;
  if (!descr.empty() && descr[0] == '>')
    throw Failure{BadData, where + ": expected little-endian data, but got '" + descr + "'; convert with .astype('<" +
                               descr.substr(1) + "')"};
  throw Failure{BadData, where + ": the element type '" + descr + "' is not supported"};
}

constexpr char magic[] = "\x93NUMPY";
} // namespace

Tensor llmopt::run::readNpy(const std::string &where, std::string name, uint64_t available, const ReadFunction &read) {
  unsigned char start[12];
  if (available < 10)
    throw Failure{BadData, where + ": is no .npy array"};
  read(start, 10);
  if (memcmp(start, magic, 6) != 0)
    throw Failure{BadData, where + ": is no .npy array"};
  unsigned version = start[6];
  if (version < 1 || version > 3)
    throw Failure{BadData, where + ": expected .npy version 1 to 3, but got " + std::to_string(version)};
  uint64_t headerSize = start[8] | start[9] << 8;
  uint64_t prefix = 10;
  if (version > 1) {
    if (available < 12)
      throw Failure{BadData, where + ": the .npy header is damaged"};
    read(start + 10, 2);
    headerSize |= uint64_t(start[10]) << 16 | uint64_t(start[11]) << 24;
    prefix = 12;
  }
  constexpr uint64_t largestHeader = 1 << 16;
  if (headerSize > largestHeader || headerSize > available - prefix)
    throw Failure{BadData, where + ": the .npy header is damaged"};
  std::string header(headerSize, ' ');
  read(&header[0], headerSize);

  HeaderParser parser(where, header);
  parser.parse();
  llmopt_tensor_type type = {};
  type.dtype = dtypeOf(where, parser.descr);
  if (parser.shape.size() > LLMOPT_MAX_RANK)
    throw Failure{BadData, where + ": expected at most " + std::to_string(LLMOPT_MAX_RANK) + " dimensions, but got " +
                               std::to_string(parser.shape.size())};
  type.rank = uint32_t(parser.shape.size());
  uint64_t bytes = llmopt_dtype_size(type.dtype);
  bool overflow = false;
  int longDims = 0;
  for (uint32_t d = 0; d < type.rank; ++d) {
    type.dims[d] = parser.shape[d];
    longDims += parser.shape[d] > 1;
    overflow |= __builtin_mul_overflow(bytes, uint64_t(type.dims[d]), &bytes);
  }
  // With at most one dimension longer than 1 both orders are the same bytes.
  if (parser.fortranOrder && longDims > 1)
    throw Failure{BadData, where + ": is in Fortran order; save "
                                   "numpy.ascontiguousarray(x) instead"};
  uint64_t present = available - prefix - headerSize;
  if (overflow || bytes != present)
    throw Failure{BadData, where + ": " + format(type) + " needs " + (overflow ? "too many" : std::to_string(bytes)) +
                               " bytes, but the file has " + std::to_string(present)};
  Tensor tensor(std::move(name), type);
  read(tensor.data(), tensor.size());
  if (type.dtype == LLMOPT_BOOL)
    for (uint64_t i = 0; i < tensor.size(); ++i)
      tensor.data()[i] = tensor.data()[i] != 0;
  return tensor;
}

size_t llmopt::run::placeNpyHeader(Tensor &tensor) {
  const char *code = "";
  for (const TypeCode &known : typeCodes)
    if (known.dtype == tensor.type.dtype)
      code = known.code;
  std::string shape;
  for (uint32_t d = 0; d < tensor.type.rank; ++d)
    shape += std::to_string(tensor.type.dims[d]) + (d + 1 < tensor.type.rank ? ", " : "");
  if (tensor.type.rank == 1)
    shape += ',';
  std::string header = std::string("{'descr': '") + code + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  // The data begins at a multiple of 64; eight dimensions of 20 digits fit.
  size_t total = (10 + header.size() + 1 + 63) / 64 * 64;
  if (total > Tensor::headroom)
    throw Failure{OurBug, "'" + tensor.name + "': the .npy header is too long"};
  header.resize(total - 10 - 1, ' ');
  header += '\n';
  char *start = tensor.data() - total;
  memcpy(start, magic, 6);
  start[6] = 1;
  start[7] = 0;
  start[8] = char(header.size() & 0xFF);
  start[9] = char(header.size() >> 8);
  memcpy(start + 10, header.data(), header.size());
  return total;
}

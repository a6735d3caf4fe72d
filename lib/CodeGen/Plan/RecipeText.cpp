// Reading recipes back from their JSON, with the type of every step worked out anew.
// For tools that make weights far from the compiler; like Recipe.h without LLVM.
#include "llmopt/CodeGen/Plan/Recipe.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

using namespace llmopt;
using Op = Recipe::Op;
using Node = Recipe::Node;

namespace {

constexpr int kMaxDepth = 200;
constexpr int64_t kMaxElements = int64_t(1) << 40;

/// A reader of one text that remembers the first thing wrong; every step is a no-op
/// from there on.
class Reader {
public:
  Reader(const std::string &text, Recipe &recipe) : at(text.data()), end(at + text.size()), recipe(recipe) {}

  std::string run() {
    readNode(0);
    skip();
    if (error.empty() && at != end)
      fail("expected the end");
    return error;
  }

private:
  struct Fields {
    std::map<std::string, std::vector<int64_t>> lists;
    std::map<std::string, std::string> texts;
    double number = 0;
    bool narrow = false;
    std::vector<size_t> operands;
  };

  bool fail(const std::string &what) {
    if (error.empty())
      error = "damaged recipe: " + what;
    at = end;
    return false;
  }
  void skip() {
    while (at != end && (*at == ' ' || *at == '\n'))
      ++at;
  }
  bool take(char c) {
    skip();
    if (at == end || *at != c)
      return false;
    ++at;
    return true;
  }
  void expect(char c) {
    if (!take(c))
      fail(std::string("expected '") + c + "'");
  }

  std::string readText() {
    std::string result;
    expect('"');
    while (at != end && *at != '"') {
      if (*at != '\\') {
        result += *at++;
        continue;
      }
      ++at;
      if (at != end && *at == 'u' && end - at >= 5) {
        result += static_cast<char>(std::strtol(std::string(at + 3, at + 5).c_str(), nullptr, 16));
        at += 5;
      } else if (at != end) {
        result += *at++;
      }
    }
    expect('"');
    return result;
  }
  double readNumber() {
    skip();
    std::string digits;
    while (at != end && std::strchr("+-.0123456789eE", *at) && digits.size() < 40)
      digits += *at++;
    char *last = nullptr;
    double value = std::strtod(digits.c_str(), &last);
    if (digits.empty() || *last)
      fail("expected a number");
    return value;
  }
  int64_t readInt() {
    double value = readNumber();
    if (!(value >= -9e15 && value <= 9e15)) {
      fail("expected an integer");
      return 0;
    }
    return static_cast<int64_t>(value);
  }

  uint32_t dtypeOf(const std::string &name) {
    for (uint32_t dtype = LLMOPT_F32; dtype <= LLMOPT_F4E2M1; ++dtype)
      if (name == getDTypeName(dtype))
        return dtype;
    fail("expected an element type, but got '" + name + "'");
    return LLMOPT_F32;
  }

  Fields readFields(int depth) {
    Fields fields;
    expect('{');
    do {
      std::string key = readText();
      expect(':');
      skip();
      if (key == "of") {
        expect('[');
        do
          fields.operands.push_back(readNode(depth + 1));
        while (take(','));
        expect(']');
      } else if (at != end && *at == '"') {
        fields.texts[key] = readText();
      } else if (at != end && *at == '[') {
        ++at;
        std::vector<int64_t> &list = fields.lists[key];
        if (!take(']')) {
          do
            list.push_back(readInt());
          while (take(','));
          expect(']');
        }
      } else if (at != end && (*at == 't' || *at == 'f')) {
        fields.narrow = *at == 't';
        at = std::min(end, at + (fields.narrow ? 4 : 5));
      } else if (key == "qmax") {
        fields.number = readNumber();
      } else {
        fields.lists[key] = {readInt()};
      }
    } while (take(','));
    expect('}');
    return fields;
  }

  int64_t intOr(Fields &fields, const char *key, int64_t other) {
    auto found = fields.lists.find(key);
    return found == fields.lists.end() || found->second.empty() ? other : found->second[0];
  }

  /// Adds the node that stands here behind its operands, and gives its index.
  size_t readNode(int depth) {
    if (depth > kMaxDepth)
      fail("it is nested too deeply");
    Fields fields = readFields(depth);
    static const char *const names[] = {"weight",      "constant", "reshape",    "transpose", "slice", "concat",
                                        "cast",        "add",      "sub",        "mul",       "div",   "absmax_scale",
                                        "column_sums", "quantize", "dequantize", "groups",    "panels"};
    Node node;
    size_t op = 0;
    while (op < std::size(names) && fields.texts["op"] != names[op])
      ++op;
    if (op == std::size(names))
      fail("unknown step '" + fields.texts["op"] + "'");
    else
      node.op = static_cast<Op>(op);
    node.operands = fields.operands;
    if (error.empty())
      infer(node, fields);
    int64_t count = 1;
    for (int64_t d : node.dims)
      if (d < 0 || (d && __builtin_mul_overflow(count, d, &count)) || count > kMaxElements)
        fail("a shape is not sound");
    recipe.nodes.push_back(std::move(node));
    return recipe.nodes.size() - 1;
  }

  const Node &operand(const Node &node, size_t i) { return recipe.nodes[node.operands[i]]; }
  bool isPermutation(const std::vector<int64_t> &perm, size_t rank) {
    std::vector<int64_t> sorted = perm;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < sorted.size(); ++i)
      if (sorted[i] != int64_t(i))
        return false;
    return sorted.size() == rank;
  }

  /// Parameters, element type and shape of a node, from its operands.
  void infer(Node &node, Fields &fields) {
    static const std::map<Op, std::pair<size_t, size_t>> counts = {
        {Op::Weight, {0, 0}},     {Op::Constant, {0, 0}}, {Op::Concat, {1, 1000}}, {Op::Add, {2, 2}},
        {Op::Sub, {2, 2}},        {Op::Mul, {2, 2}},      {Op::Div, {2, 2}},       {Op::Quantize, {2, 3}},
        {Op::Dequantize, {2, 3}}, {Op::Groups, {2, 3}}};
    auto found = counts.find(node.op);
    std::pair<size_t, size_t> count = found == counts.end() ? std::pair<size_t, size_t>(1, 1) : found->second;
    if (node.operands.size() < count.first || node.operands.size() > count.second) {
      fail("wrong number of operands");
      return;
    }
    if (!node.operands.empty()) {
      node.dims = operand(node, 0).dims;
      node.dtype = operand(node, 0).dtype;
    }
    size_t rank = node.dims.size();
    switch (node.op) {
    case Op::Weight:
      node.name = fields.texts["name"];
      [[fallthrough]];
    case Op::Constant: {
      node.dims = fields.lists["shape"];
      node.dtype = dtypeOf(fields.texts["dtype"]);
      const std::string &hex = fields.texts["hex"];
      for (size_t i = 0; i + 1 < hex.size(); i += 2)
        node.data.push_back(static_cast<char>(std::strtol(hex.substr(i, 2).c_str(), nullptr, 16)));
      uint64_t bytes = getDTypeBytes(node.dtype);
      for (int64_t d : node.dims)
        bytes *= static_cast<uint64_t>(d);
      if (node.op == Op::Constant && node.data.size() != bytes)
        fail("a constant has not the bytes of its shape");
      break;
    }
    case Op::Reshape: {
      node.dims = fields.lists["shape"];
      int64_t before = 1, after = 1;
      for (int64_t d : operand(node, 0).dims)
        before *= d;
      for (int64_t d : node.dims)
        after *= d;
      if (before != after)
        fail("a reshape changes the number of elements");
      break;
    }
    case Op::Transpose:
      node.ints = fields.lists["perm"];
      if (!isPermutation(node.ints, rank)) {
        fail("expected a permutation");
        break;
      }
      for (size_t i = 0; i < rank; ++i)
        node.dims[i] = operand(node, 0).dims[size_t(node.ints[i])];
      break;
    case Op::Slice: {
      const std::vector<int64_t> &starts = fields.lists["starts"], &steps = fields.lists["steps"],
                                 &sizes = fields.lists["sizes"];
      if (starts.size() != rank || steps.size() != rank || sizes.size() != rank) {
        fail("a slice has not the rank of its operand");
        break;
      }
      for (size_t i = 0; i < rank; ++i) {
        int64_t last = starts[i] + (sizes[i] - 1) * steps[i];
        if (sizes[i] > 0 && (starts[i] < 0 || starts[i] >= node.dims[i] || last < 0 || last >= node.dims[i]))
          fail("a slice reaches beyond its operand");
      }
      node.ints = starts;
      node.ints.insert(node.ints.end(), steps.begin(), steps.end());
      node.dims = sizes;
      break;
    }
    case Op::Concat: {
      int64_t axis = intOr(fields, "axis", -1), total = 0;
      if (axis < 0 || axis >= int64_t(rank)) {
        fail("a concatenation has no such axis");
        break;
      }
      for (size_t i = 0; i < node.operands.size(); ++i) {
        std::vector<int64_t> dims = operand(node, i).dims;
        if (dims.size() != rank || operand(node, i).dtype != node.dtype) {
          fail("a concatenation of different types");
          return;
        }
        total += dims[size_t(axis)];
        dims[size_t(axis)] = node.dims[size_t(axis)];
        if (dims != node.dims) {
          fail("a concatenation of different shapes");
          return;
        }
      }
      node.dims[size_t(axis)] = total;
      node.ints = {axis};
      break;
    }
    case Op::Cast:
      node.dtype = dtypeOf(fields.texts["dtype"]);
      break;
    case Op::Quantize:
      node.dtype = dtypeOf(fields.texts["dtype"]);
      node.ints = {fields.narrow};
      break;
    case Op::Dequantize:
      node.dtype = operand(node, 1).dtype;
      break;
    case Op::Add:
    case Op::Sub:
    case Op::Mul:
    case Op::Div: {
      const std::vector<int64_t> &other = operand(node, 1).dims;
      std::vector<int64_t> dims(std::max(rank, other.size()), 1);
      for (size_t i = 0; i < dims.size(); ++i) {
        int64_t x = i < rank ? node.dims[rank - 1 - i] : 1, y = i < other.size() ? other[other.size() - 1 - i] : 1;
        if (x != y && x != 1 && y != 1)
          fail("shapes that do not broadcast");
        dims[dims.size() - 1 - i] = x == 1 ? y : x;
      }
      node.dims = dims;
      break;
    }
    case Op::AbsMaxScale:
      node.ints = fields.lists["axes"];
      node.number = fields.number;
      for (int64_t axis : node.ints)
        if (axis < 0 || axis >= int64_t(rank))
          fail("no such axis");
        else
          node.dims[size_t(axis)] = 1;
      break;
    case Op::ColumnSums:
      if (rank != 2)
        fail("expected a matrix");
      else
        node.dims = {node.dims[1]};
      node.dtype = LLMOPT_I32;
      break;
    case Op::Groups:
      node.ints = {intOr(fields, "width", 0), intOr(fields, "offset", 0)};
      if ((node.ints[0] < 1 && fields.texts["layout"] != "rows") || rank != 3)
        fail("expected groups of a positive width, or rows");
      break;
    case Op::Panels:
      node.ints = {intOr(fields, "width", 0), intOr(fields, "group", 1), intOr(fields, "shift", 0)};
      if (node.ints[0] < 1 || node.ints[1] < 1 || rank != 2)
        fail("expected panels of a matrix, of a positive width");
      break;
    }
  }

  const char *at, *end;
  Recipe &recipe;
  std::string error;
};

} // namespace

std::string Recipe::parse(const std::string &json, Recipe &recipe) {
  recipe.nodes.clear();
  return Reader(json, recipe).run();
}

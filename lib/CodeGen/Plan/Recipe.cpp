// The text form of recipes, and facts about element types.
#include "llmopt/CodeGen/Plan/Recipe.h"

#include <cstdio>

using namespace llmopt;

uint64_t llmopt::getDTypeBytes(uint32_t dtype) {
  switch (dtype) {
  case LLMOPT_I8:
  case LLMOPT_U8:
  case LLMOPT_BOOL:
  case LLMOPT_I4:
  case LLMOPT_U4:
  case LLMOPT_I2:
  case LLMOPT_U2:
  case LLMOPT_F8E4M3FN:
  case LLMOPT_F8E4M3FNUZ:
  case LLMOPT_F8E5M2:
  case LLMOPT_F8E5M2FNUZ:
  case LLMOPT_F8E8M0:
  case LLMOPT_F4E2M1:
    return 1;
  case LLMOPT_F16:
  case LLMOPT_BF16:
  case LLMOPT_I16:
  case LLMOPT_U16:
    return 2;
  case LLMOPT_F32:
  case LLMOPT_I32:
  case LLMOPT_U32:
    return 4;
  case LLMOPT_F64:
  case LLMOPT_I64:
  case LLMOPT_U64:
    return 8;
  }
  return 0;
}

const char *llmopt::getDTypeName(uint32_t dtype) {
  static const char *const names[] = {"unknown",  "f32",        "f64",    "f16",        "bf16",   "i8",
                                      "u8",       "i16",        "u16",    "i32",        "u32",    "i64",
                                      "u64",      "bool",       "i4",     "u4",         "i2",     "u2",
                                      "f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f8e8m0", "f4e2m1"};
  return dtype <= LLMOPT_F4E2M1 ? names[dtype] : names[0];
}

static const char *getOpName(Recipe::Op op) {
  static const char *const names[] = {"weight",      "constant", "reshape",    "transpose", "slice", "concat",
                                      "cast",        "add",      "sub",        "mul",       "div",   "absmax_scale",
                                      "column_sums", "quantize", "dequantize", "groups",    "panels"};
  return names[static_cast<size_t>(op)];
}

static void appendString(std::string &out, const std::string &text) {
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
    } else {
      out += c;
    }
  }
  out += '"';
}

static void appendInts(std::string &out, const char *key, std::vector<int64_t>::const_iterator begin,
                       std::vector<int64_t>::const_iterator end) {
  out += std::string(",\"") + key + "\":[";
  for (auto it = begin; it != end; ++it)
    out += (it == begin ? "" : ",") + std::to_string(*it);
  out += ']';
}

static void appendNode(std::string &out, const Recipe &recipe, size_t index) {
  const Recipe::Node &node = recipe.nodes[index];
  const std::vector<int64_t> &ints = node.ints;
  char number[40];
  out += std::string("{\"op\":\"") + getOpName(node.op) + '"';
  switch (node.op) {
  case Recipe::Op::Weight:
    out += ",\"name\":";
    appendString(out, node.name);
    appendInts(out, "shape", node.dims.begin(), node.dims.end());
    out += std::string(",\"dtype\":\"") + getDTypeName(node.dtype) + '"';
    break;
  case Recipe::Op::Constant:
    appendInts(out, "shape", node.dims.begin(), node.dims.end());
    out += std::string(",\"dtype\":\"") + getDTypeName(node.dtype) + "\",\"hex\":\"";
    for (unsigned char c : node.data) {
      std::snprintf(number, sizeof number, "%02x", c);
      out += number;
    }
    out += '"';
    break;
  case Recipe::Op::Reshape:
    appendInts(out, "shape", node.dims.begin(), node.dims.end());
    break;
  case Recipe::Op::Transpose:
    appendInts(out, "perm", ints.begin(), ints.end());
    break;
  case Recipe::Op::Slice: {
    auto middle = ints.begin() + node.dims.size();
    appendInts(out, "starts", ints.begin(), middle);
    appendInts(out, "sizes", node.dims.begin(), node.dims.end());
    appendInts(out, "steps", middle, ints.end());
    break;
  }
  case Recipe::Op::Concat:
    out += ",\"axis\":" + std::to_string(ints[0]);
    break;
  case Recipe::Op::Cast:
    out += std::string(",\"dtype\":\"") + getDTypeName(node.dtype) + '"';
    break;
  case Recipe::Op::AbsMaxScale:
    appendInts(out, "axes", ints.begin(), ints.end());
    std::snprintf(number, sizeof number, "%.17g", node.number);
    out += std::string(",\"qmax\":") + number;
    break;
  case Recipe::Op::Quantize:
    out += std::string(",\"dtype\":\"") + getDTypeName(node.dtype) + '"';
    out += std::string(",\"narrow_range\":") + (ints[0] ? "true" : "false");
    break;
  case Recipe::Op::Groups:
    out += ints[0] ? ",\"width\":" + std::to_string(ints[0]) : std::string(",\"layout\":\"rows\"");
    out += ",\"offset\":" + std::to_string(ints[1]);
    break;
  case Recipe::Op::Panels:
    out += ",\"width\":" + std::to_string(ints[0]);
    if (ints[1] != 1)
      out += ",\"group\":" + std::to_string(ints[1]);
    if (ints[2])
      out += ",\"shift\":" + std::to_string(ints[2]);
    break;
  case Recipe::Op::Add:
  case Recipe::Op::Sub:
  case Recipe::Op::Mul:
  case Recipe::Op::Div:
  case Recipe::Op::ColumnSums:
  case Recipe::Op::Dequantize:
    break;
  }
  if (!node.operands.empty()) {
    out += ",\"of\":[";
    for (size_t i = 0; i < node.operands.size(); ++i) {
      out += i ? "," : "";
      appendNode(out, recipe, node.operands[i]);
    }
    out += ']';
  }
  out += '}';
}

std::string Recipe::toJSON() const {
  std::string out;
  appendNode(out, *this, nodes.size() - 1);
  return out;
}

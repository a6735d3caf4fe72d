#include "WireScanner.h"

#include "llvm/ADT/Twine.h"
#include "llvm/Support/Endian.h"

#include <optional>

using namespace llmopt::onnx_import;

namespace {

/// The messages that can contain a tensor; all others are copied as they are.
enum class Message { Model, Graph, Node, Attribute, Function, Tensor, SparseTensor };

/// What to do with a length-delimited field.
struct FieldAction {
  enum Kind { Copy, Drop, Enter, Raw, Floats } kind;
  Message message = Message::Model;
};

FieldAction actionFor(Message message, uint32_t field) {
  using A = FieldAction;
  switch (message) {
  case Message::Model:
    if (field == 7)
      return {A::Enter, Message::Graph};
    if (field == 25)
      return {A::Enter, Message::Function};
    return {field == 6 || field == 20 ? A::Drop : A::Copy};
  case Message::Graph:
    if (field == 1)
      return {A::Enter, Message::Node};
    if (field == 5)
      return {A::Enter, Message::Tensor};
    if (field == 15)
      return {A::Enter, Message::SparseTensor};
    return {field == 10 ? A::Drop : A::Copy};
  case Message::Node:
    if (field == 5)
      return {A::Enter, Message::Attribute};
    return {field == 6 ? A::Drop : A::Copy};
  case Message::Attribute:
    if (field == 5 || field == 10)
      return {A::Enter, Message::Tensor};
    if (field == 6 || field == 11)
      return {A::Enter, Message::Graph};
    if (field == 22 || field == 23)
      return {A::Enter, Message::SparseTensor};
    return {field == 13 ? A::Drop : A::Copy};
  case Message::Function:
    if (field == 7)
      return {A::Enter, Message::Node};
    if (field == 11)
      return {A::Enter, Message::Attribute};
    return {field == 8 ? A::Drop : A::Copy};
  case Message::SparseTensor:
    if (field == 1 || field == 2)
      return {A::Enter, Message::Tensor};
    return {A::Copy};
  case Message::Tensor:
    if (field == 9)
      return {A::Raw};
    if (field == 4 || field == 10)
      return {A::Floats};
    return {field == 12 ? A::Drop : A::Copy};
  }
  return {A::Copy};
}

class Scanner {
public:
  Scanner(llvm::ArrayRef<uint8_t> file, Skeleton &skeleton, std::string &error)
      : file(file), skeleton(skeleton), error(error) {}

  /// Copies the message in [begin, end) to `out`.
  bool scan(Message message, uint64_t begin, uint64_t end, unsigned depth, std::string &out);

private:
  bool fail(uint64_t at, const llvm::Twine &what) {
    error = ("byte " + llvm::Twine(at) + ": " + what).str();
    return false;
  }
  bool readVarint(uint64_t &pos, uint64_t end, uint64_t &value);
  bool account(uint64_t at, uint64_t bytes) {
    copied += bytes;
    if (copied > kMaxSkeletonBytes)
      return fail(at, "the model holds more than 512 MB besides tensor data in raw_data");
    return true;
  }
  bool copyField(uint64_t begin, uint64_t end, std::string &out) {
    if (!account(begin, end - begin))
      return false;
    out.append(reinterpret_cast<const char *>(file.data()) + begin, end - begin);
    return true;
  }
  bool addPayload(uint64_t begin, uint64_t end, std::string &out);
  bool isOnlyRun(uint64_t begin, uint64_t end, uint32_t field);

  llvm::ArrayRef<uint8_t> file;
  Skeleton &skeleton;
  std::string &error;
  uint64_t copied = 0;
};

void appendVarint(uint64_t value, std::string &out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

} // namespace

bool Scanner::readVarint(uint64_t &pos, uint64_t end, uint64_t &value) {
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (pos >= end)
      return fail(pos, "the file ends inside a number");
    uint8_t byte = file[pos++];
    value |= uint64_t(byte & 0x7f) << shift;
    if (!(byte & 0x80))
      return true;
  }
  return fail(pos, "expected a number of at most 10 bytes");
}

bool Scanner::addPayload(uint64_t begin, uint64_t end, std::string &out) {
  if (!account(begin, 10 + sizeof(Payload)))
    return false;
  out.push_back(static_cast<char>(9 << 3 | 2));
  out.push_back(8);
  char index[8];
  llvm::support::endian::write64le(index, skeleton.payloads.size());
  out.append(index, 8);
  skeleton.payloads.push_back({begin, end - begin});
  return true;
}

// Whether `field` occurs exactly once in the tensor at [begin, end): only then
// are its bytes the whole contents.
bool Scanner::isOnlyRun(uint64_t begin, uint64_t end, uint32_t field) {
  unsigned count = 0;
  std::string ignored;
  std::swap(ignored, error);
  uint64_t pos = begin, tag, value;
  bool ok = true;
  while (ok && pos < end && count < 2) {
    ok = readVarint(pos, end, tag);
    if (!ok)
      break;
    count += (tag >> 3) == field;
    switch (tag & 7) {
    case 0:
      ok = readVarint(pos, end, value);
      break;
    case 1:
      pos += 8;
      break;
    case 2:
      ok = readVarint(pos, end, value) && value <= end - pos;
      pos += ok ? value : 0;
      break;
    case 5:
      pos += 4;
      break;
    default:
      ok = false;
    }
  }
  std::swap(ignored, error);
  return ok && count == 1;
}

bool Scanner::scan(Message message, uint64_t begin, uint64_t end, unsigned depth, std::string &out) {
  if (depth > kMaxDepth)
    return fail(begin, "messages are nested more than " + llvm::Twine(kMaxDepth) + " deep");
  uint64_t pos = begin;
  std::optional<bool> onlyRun[2]; // of float_data and double_data, once needed
  while (pos < end) {
    uint64_t start = pos, tag;
    if (!readVarint(pos, end, tag))
      return false;
    uint64_t field = tag >> 3;
    if (field == 0 || field > 0x1fffffff)
      return fail(start, "expected a field, but got tag " + llvm::Twine(tag));
    uint64_t value;
    switch (tag & 7) {
    case 0:
      if (!readVarint(pos, end, value) || !copyField(start, pos, out))
        return false;
      continue;
    case 1:
    case 5: {
      uint64_t width = (tag & 7) == 1 ? 8 : 4;
      if (width > end - pos)
        return fail(start, "the file ends inside a field");
      pos += width;
      if (!copyField(start, pos, out))
        return false;
      continue;
    }
    case 2:
      break;
    default:
      return fail(start, "unknown wire type " + llvm::Twine(tag & 7));
    }

    if (!readVarint(pos, end, value))
      return false;
    if (value > end - pos)
      return fail(start, "a field of " + llvm::Twine(value) + " bytes ends behind " +
                             (end == file.size() ? "the file" : "its message") + ", which has " +
                             llvm::Twine(end - pos) + " left");
    uint64_t contents = pos;
    pos += value;
    FieldAction action = actionFor(message, static_cast<uint32_t>(field));
    switch (action.kind) {
    case FieldAction::Drop:
      break;
    case FieldAction::Copy:
      if (!copyField(start, pos, out))
        return false;
      break;
    case FieldAction::Raw:
      if (!addPayload(contents, pos, out))
        return false;
      break;
    case FieldAction::Floats: {
      std::optional<bool> &only = onlyRun[field == 10];
      if (value > kInlineBytes && !only)
        only = isOnlyRun(begin, end, static_cast<uint32_t>(field));
      bool done = value > kInlineBytes && *only ? addPayload(contents, pos, out) : copyField(start, pos, out);
      if (!done)
        return false;
      break;
    }
    case FieldAction::Enter: {
      std::string nested;
      if (!scan(action.message, contents, pos, depth + 1, nested))
        return false;
      appendVarint(tag, out);
      appendVarint(nested.size(), out);
      out += nested;
      break;
    }
    }
  }
  return true;
}

bool llmopt::onnx_import::scanModel(llvm::ArrayRef<uint8_t> file, Skeleton &skeleton, std::string &error) {
  return Scanner(file, skeleton, error).scan(Message::Model, 0, file.size(), 0, skeleton.bytes);
}

bool llmopt::onnx_import::scanTensor(llvm::ArrayRef<uint8_t> file, Skeleton &skeleton, std::string &error) {
  return Scanner(file, skeleton, error).scan(Message::Tensor, 0, file.size(), 0, skeleton.bytes);
}

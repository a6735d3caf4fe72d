// Reads ONNX's protobuf wire format without protobuf, so that tensor contents
// never pass through protobuf's heap: the scanner copies a model file into a
// *skeleton*, a ModelProto of its own in which
//  - every `raw_data` is replaced by 8 bytes, the little-endian index of a
//    Payload that says where the bytes are in the file;
//  - a `float_data` or `double_data` of more than kInlineBytes in one packed run
//    becomes such a `raw_data` too (its bytes are the same);
//  - doc strings and training information are dropped.
// The input is hostile: lengths, nesting and varints are all checked.
#ifndef LLMOPT_IMPORT_ONNX_WIRESCANNER_H
#define LLMOPT_IMPORT_ONNX_WIRESCANNER_H

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <string>
#include <vector>

namespace llmopt::onnx_import {

/// Bytes of the scanned file.
struct Payload {
  uint64_t offset;
  uint64_t length;
};

struct Skeleton {
  std::string bytes;
  std::vector<Payload> payloads;
};

/// Packed data up to this size stays in the skeleton.
constexpr uint64_t kInlineBytes = 4096;
/// A skeleton beyond this is refused: no model has so much besides its tensors.
constexpr uint64_t kMaxSkeletonBytes = uint64_t(512) << 20;
/// Messages nested deeper than this are refused (protobuf's own limit is 100).
constexpr unsigned kMaxDepth = 90;

/// Scans a serialized ModelProto. Returns false and sets `error` ("byte 17: a
/// field of 900 bytes ends behind the file") where it is not one.
bool scanModel(llvm::ArrayRef<uint8_t> file, Skeleton &skeleton, std::string &error);

/// The same for a file that holds one TensorProto (ONNX's test data).
bool scanTensor(llvm::ArrayRef<uint8_t> file, Skeleton &skeleton, std::string &error);

} // namespace llmopt::onnx_import

#endif

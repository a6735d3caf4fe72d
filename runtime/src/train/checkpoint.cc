// Checkpoints: a header, the caller's note, then values and moments of every parameter.
#include "file_writer.h"
#include "trainer.h"

#include "llmopt/weights.h"

#include <cstddef>
#include <unistd.h>

using namespace llmopt::rt;

namespace {

struct Header {
  char magic[8]; // "LLMOPTC1"
  uint32_t version, header_size;
  uint8_t build_id[LLMOPT_BUILD_ID_BYTES];
  uint32_t optimizer, num_parameters, moments, reserved;
  uint64_t step, skipped;
  uint64_t note_size, data_size; // bytes
  uint64_t data_hash;            // XXH64 of note and data, seed 0
  uint64_t header_hash;          // XXH64 of the bytes before this field, seed 0
};

constexpr char magic[8] = {'L', 'L', 'M', 'O', 'P', 'T', 'C', '1'};

/// Calls `take(pointer, bytes)` for everything that a checkpoint holds, in its order.
template <typename Take> llmopt_status forEachBlock(llmopt_trainer &t, Take take) {
  for (uint32_t i = 0; i < t.parameters.size(); ++i) {
    const Parameter &p = t.parameters[i];
    float *const blocks[] = {p.value, p.first, p.second};
    for (float *block : blocks)
      if (block)
        if (llmopt_status status = take(block, p.count * sizeof(float)))
          return status;
  }
  return LLMOPT_OK;
}

Header describe(llmopt_trainer &t, uint64_t noteSize) {
  Header header;
  std::memset(&header, 0, sizeof(header));
  std::memcpy(header.magic, magic, sizeof(magic));
  header.version = 1;
  header.header_size = sizeof(Header);
  std::memcpy(header.build_id, t.model->desc.build_id, sizeof(header.build_id));
  header.optimizer = static_cast<uint32_t>(t.kind);
  header.num_parameters = t.training->num_parameters;
  header.moments = t.numMoments();
  header.step = t.step;
  header.skipped = t.skipped;
  header.note_size = noteSize;
  (void)forEachBlock(t, [&](float *, uint64_t bytes) {
    header.data_size += bytes;
    return LLMOPT_OK;
  });
  return header;
}

llmopt_status readFully(int fd, void *to, uint64_t size, uint64_t at) {
  char *bytes = static_cast<char *>(to);
  while (size) {
    ssize_t got = pread(fd, bytes, size < (uint64_t(1) << 30) ? size : uint64_t(1) << 30, static_cast<off_t>(at));
    if (got <= 0)
      return LLMOPT_IO_ERROR;
    bytes += got;
    at += static_cast<uint64_t>(got);
    size -= static_cast<uint64_t>(got);
  }
  return LLMOPT_OK;
}

} // namespace

extern "C" llmopt_status llmopt_trainer_save_checkpoint(llmopt_trainer *t, const char *path, const void *note,
                                                        uint64_t noteSize, llmopt_error *error) {
  if (!t || !path || (noteSize && !note))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer, path or note is NULL");
  if (t->batches)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected a checkpoint between updates, but gradients are accumulated");
  Header header = describe(*t, noteSize);
  FileWriter writer;
  if (llmopt_status status = writer.open(path, error))
    return status;
  llmopt_hash hash;
  llmopt_hash_begin(&hash, 0);
  auto append = [&](const void *bytes, uint64_t size) {
    llmopt_hash_update(&hash, bytes, size);
    return writer.write(bytes, size, error);
  };
  if (llmopt_status status = writer.write(&header, sizeof(header), error))
    return status;
  if (llmopt_status status = append(note, noteSize))
    return status;
  if (llmopt_status status = forEachBlock(*t, append))
    return status;
  header.data_hash = llmopt_hash_finish(&hash);
  header.header_hash = llmopt_hash_bytes(&header, offsetof(Header, header_hash), 0);
  if (llmopt_status status = writer.rewriteStart(&header, sizeof(header), error))
    return status;
  return writer.commit(error);
}

extern "C" llmopt_status llmopt_trainer_load_checkpoint(llmopt_trainer *t, const char *path, void *note,
                                                        uint64_t *noteSize, llmopt_error *error) {
  if (!t || !path)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer or path is NULL");
  File file;
  if (llmopt_status status = file.open(path, "checkpoint", error))
    return status;
  auto damaged = [&](const char *why) {
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: damaged checkpoint: %s", path, why);
  };
  Header header;
  if (file.size() < sizeof(header) || readFully(file.fd(), &header, sizeof(header), 0))
    return damaged("it is shorter than its header");
  if (std::memcmp(header.magic, magic, sizeof(magic)) || header.header_size != sizeof(header))
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: is no checkpoint of this runtime", path);
  if (header.header_hash != llmopt_hash_bytes(&header, offsetof(Header, header_hash), 0))
    return damaged("its header does not match its hash");
  Header wanted = describe(*t, header.note_size);
  if (std::memcmp(header.build_id, wanted.build_id, sizeof(header.build_id)))
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: is a checkpoint of another model", path);
  if (header.optimizer != wanted.optimizer || header.moments != wanted.moments ||
      header.num_parameters != wanted.num_parameters || header.data_size != wanted.data_size)
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: is a checkpoint of another optimizer", path);
  uint64_t total;
  if (__builtin_add_overflow(header.note_size, header.data_size, &total) || file.size() - sizeof(header) != total)
    return damaged("it is cut short");
  // Everything is hashed before anything changes.
  constexpr uint64_t pieceSize = uint64_t(1) << 20;
  Array<char> piece;
  if (!piece.allocate(pieceSize))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  llmopt_hash hash;
  llmopt_hash_begin(&hash, 0);
  for (uint64_t at = 0; at < total; at += pieceSize) {
    uint64_t size = total - at < pieceSize ? total - at : pieceSize;
    if (readFully(file.fd(), piece.data(), size, sizeof(header) + at))
      return damaged("it cannot be read");
    llmopt_hash_update(&hash, piece.data(), size);
  }
  if (llmopt_hash_finish(&hash) != header.data_hash)
    return damaged("its data does not match its hash");
  if (noteSize) {
    if (header.note_size > *noteSize || (header.note_size && !note))
      return fail(error, LLMOPT_INVALID_ARGUMENT, "%s: expected room for a note of %llu bytes, but got %llu", path,
                  static_cast<unsigned long long>(header.note_size), static_cast<unsigned long long>(*noteSize));
    *noteSize = header.note_size;
    if (readFully(file.fd(), note, header.note_size, sizeof(header)))
      return damaged("it cannot be read");
  }
  uint64_t at = sizeof(header) + header.note_size;
  llmopt_status status = forEachBlock(*t, [&](float *block, uint64_t bytes) {
    llmopt_status read = readFully(file.fd(), block, bytes, at);
    at += bytes;
    return read;
  });
  if (status)
    return fail(error, LLMOPT_IO_ERROR, "%s: changed while it was read", path);
  t->step = header.step;
  t->skipped = header.skipped;
  t->batches = 0;
  t->lossSum = t->lossWeight = 0;
  return LLMOPT_OK;
}

#include "weights.h"

#include "elf_check.h"
#include "llmopt/weights.h"

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

using namespace llmopt::rt;

llmopt_status llmopt::rt::findTail(const File &artefact, const char *path, uint64_t *position, llmopt_error *error) {
  struct {
    uint64_t position;
    char magic[8];
  } end;
  *position = 0;
  if (artefact.size() < sizeof(end) || !readFully(artefact.fd(), &end, sizeof(end), artefact.size() - sizeof(end)) ||
      std::memcmp(end.magic, LLMOPT_WEIGHTS_MAGIC, sizeof(end.magic)) != 0)
    return LLMOPT_OK;
  if (end.position == 0 || end.position % 256 != 0 || end.position > artefact.size() - sizeof(end))
    return fail(error, LLMOPT_BAD_WEIGHTS,
                "%s: the embedded weights are damaged: their position lies "
                "outside the file",
                path);
  *position = end.position;
  return LLMOPT_OK;
}

Weights::~Weights() {
  if (mapping)
    munmap(mapping, mappingSize);
}

llmopt_status Weights::open(const File &file, const char *path, uint64_t position, const llmopt_model_desc &desc,
                            uint32_t loadMode, llmopt_error *error) {
  using ull = unsigned long long;
  llmopt_weights_header header;
  if (file.size() - position < sizeof(header))
    return fail(error, LLMOPT_BAD_WEIGHTS,
                "%s: the weights are truncated: expected a header of %zu "
                "bytes, but got %llu bytes",
                path, sizeof(header), ull(file.size() - position));
  if (!readFully(file.fd(), &header, sizeof(header), position))
    return fail(error, LLMOPT_IO_ERROR, "%s: cannot be read", path);
  if (std::memcmp(header.magic, LLMOPT_WEIGHTS_MAGIC, sizeof(header.magic)) != 0)
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: is not a weights file of llmopt", path);
  if (header.version != 1 || header.header_size != sizeof(header))
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: expected weights format version 1, but got %u", path, header.version);
  if (header.header_hash != llmopt_hash_bytes(&header, offsetof(llmopt_weights_header, header_hash), 0))
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: the weights header is damaged", path);
  if (std::memcmp(header.build_id, desc.build_id, sizeof(header.build_id)) != 0)
    return fail(error, LLMOPT_BAD_WEIGHTS,
                "%s: the weights belong to another build of the model; "
                "expected build id %02x%02x%02x%02x..., but got "
                "%02x%02x%02x%02x...",
                path, desc.build_id[0], desc.build_id[1], desc.build_id[2], desc.build_id[3], header.build_id[0],
                header.build_id[1], header.build_id[2], header.build_id[3]);
  if (header.data_size != desc.weights_size)
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: expected %llu bytes of weights, but got %llu", path,
                ull(desc.weights_size), ull(header.data_size));

  uint64_t offset, end;
  if (header.data_offset < sizeof(header) || __builtin_add_overflow(position, header.data_offset, &offset) ||
      offset % 256 != 0 || __builtin_add_overflow(offset, header.data_size, &end))
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: the weights header is damaged: data offset %llu", path,
                ull(header.data_offset));
  if (end > file.size())
    return fail(error, LLMOPT_BAD_WEIGHTS,
                "%s: the weights are truncated: expected %llu bytes, but got "
                "%llu",
                path, ull(end), ull(file.size()));

  if (loadMode == LLMOPT_LOAD_COPY) {
    if (!pages.allocate(header.data_size))
      return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory for %llu bytes of weights", path,
                  ull(header.data_size));
    if (!readFully(file.fd(), pages.data(), header.data_size, offset))
      return fail(error, LLMOPT_IO_ERROR, "%s: cannot be read", path);
    base = pages.data();
  } else {
    uint64_t pageSize = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    uint64_t start = offset & ~(pageSize - 1);
    uint64_t length = end - start;
    // A length of zero is no mapping; an empty tensor still wants a pointer.
    void *map = mmap(nullptr, length ? length : 1, PROT_READ, MAP_PRIVATE, file.fd(), static_cast<off_t>(start));
    if (map == MAP_FAILED)
      return fail(error, LLMOPT_IO_ERROR, "%s: cannot be mapped: %s", path, ErrnoText(errno).c_str());
    mapping = map;
    mappingSize = length ? length : 1;
    base = static_cast<const char *>(map) + (offset - start);
  }
  size = header.data_size;
  expectedHash = header.data_hash;
  hasHeader = true;
  return LLMOPT_OK;
}

llmopt_status Weights::check(const char *path, llmopt_error *error) const {
  if (!hasHeader)
    return LLMOPT_OK;
  uint64_t hash = llmopt_hash_bytes(base, size, 0);
  if (hash == expectedHash)
    return LLMOPT_OK;
  return fail(error, LLMOPT_BAD_WEIGHTS,
              "%s: the weights are damaged: expected hash %016llx, but got "
              "%016llx",
              path, static_cast<unsigned long long>(expectedHash), static_cast<unsigned long long>(hash));
}

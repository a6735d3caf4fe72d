#include "Npz.h"

#include "Files.h"
#include "Npy.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

using namespace llmopt::run;

namespace {
std::string zipError(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

struct CloseFile {
  void operator()(zip_file_t *file) const { zip_fclose(file); }
};
struct DiscardArchive {
  void operator()(zip_t *archive) const { zip_discard(archive); }
};

bool endsWith(const std::string &text, const char *end) {
  size_t n = strlen(end);
  return text.size() >= n && text.compare(text.size() - n, n, end) == 0;
}

Tensor readEntry(zip_t *archive, zip_uint64_t index, const std::string &path, const std::string &entry,
                 std::string name) {
  std::string where = path + ": '" + name + "'";
  zip_stat_t stat;
  if (zip_stat_index(archive, index, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE) ||
      !(stat.valid & ZIP_STAT_COMP_SIZE))
    throw Failure{BadData, where + ": " + zip_strerror(archive)};
  // Deflate shrinks by at most about 1032; a claim beyond that is a lie, found
  // before memory is asked for.
  if (stat.size / 1100 > stat.comp_size)
    throw Failure{BadData, where + ": its stated size is impossible"};
  std::unique_ptr<zip_file_t, CloseFile> file(zip_fopen_index(archive, index, 0));
  if (!file)
    throw Failure{BadData, where + ": " + zip_strerror(archive)};
  auto read = [&](void *data, size_t size) {
    char *p = static_cast<char *>(data);
    while (size > 0) {
      zip_int64_t got = zip_fread(file.get(), p, size);
      if (got <= 0)
        throw Failure{BadData, where + ": " + (got == 0 ? "is truncated" : zip_file_strerror(file.get()))};
      p += got;
      size -= size_t(got);
    }
  };
  Tensor tensor = readNpy(where, std::move(name), stat.size, read);
  // The checksum is compared when the end is read.
  char beyond;
  if (zip_fread(file.get(), &beyond, 1) != 0)
    throw Failure{BadData, where + ": " + zip_file_strerror(file.get())};
  return tensor;
}
} // namespace

std::vector<Tensor> llmopt::run::readNpz(const std::string &path) {
  requireRegularFile(path);
  int code = 0;
  std::unique_ptr<zip_t, DiscardArchive> archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (!archive)
    throw Failure{BadData, path + ": is no .npz file: " + zipError(code)};
  std::vector<Tensor> tensors;
  std::set<std::string> names;
  zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char *entry = zip_get_name(archive.get(), zip_uint64_t(i), 0);
    if (!entry)
      throw Failure{BadData, path + ": " + zip_strerror(archive.get())};
    std::string name = entry;
    if (!endsWith(name, ".npy"))
      throw Failure{BadData, path + ": expected only .npy arrays, but got '" + name + "'"};
    name.resize(name.size() - 4);
    if (!names.insert(name).second)
      throw Failure{BadData, path + ": '" + name + "' occurs twice"};
    tensors.push_back(readEntry(archive.get(), zip_uint64_t(i), path, entry, name));
  }
  return tensors;
}

Tensor llmopt::run::readNpyFile(const std::string &path, std::string name) {
  uint64_t size = requireRegularFile(path);
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0)
    throw Failure{Environment, path + ": " + strerror(errno)};
  return readNpy(path, std::move(name), size, [&](void *data, size_t bytes) {
    char *p = static_cast<char *>(data);
    while (bytes > 0) {
      ssize_t got = ::read(file.get(), p, bytes < 1u << 30 ? bytes : 1u << 30);
      if (got < 0 && errno == EINTR)
        continue;
      if (got <= 0)
        throw Failure{got < 0 ? Environment : BadData, path + ": " + (got < 0 ? strerror(errno) : "is truncated")};
      p += got;
      bytes -= size_t(got);
    }
  });
}

void llmopt::run::writeNpz(const std::string &path, std::vector<Tensor> &tensors) {
  PendingFile file(path);
  int code = 0;
  std::unique_ptr<zip_t, DiscardArchive> archive(zip_open(file.temporary().c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code));
  if (!archive)
    throw Failure{Environment, path + ": " + zipError(code)};
  auto fail = [&](const std::string &why) { throw Failure{Environment, path + ": cannot be written: " + why}; };
  for (Tensor &tensor : tensors) {
    size_t header = placeNpyHeader(tensor);
    zip_source_t *source = zip_source_buffer(archive.get(), tensor.data() - header, header + tensor.size(), 0);
    if (!source)
      fail(zip_strerror(archive.get()));
    zip_int64_t index = zip_file_add(archive.get(), (tensor.name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail(zip_strerror(archive.get()));
    }
    // Stored, and dated as numpy does: equal results are equal files.
    constexpr zip_uint16_t january1980 = 1 << 5 | 1;
    if (zip_set_file_compression(archive.get(), zip_uint64_t(index), ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(archive.get(), zip_uint64_t(index), 0, january1980, 0) != 0)
      fail(zip_strerror(archive.get()));
  }
  if (zip_close(archive.get()) != 0)
    fail(zip_strerror(archive.get()));
  archive.release(); // closed: no longer ours
  file.commit();
}

void llmopt::run::writeNpyFile(const std::string &path, Tensor &tensor) {
  PendingFile file(path);
  size_t header = placeNpyHeader(tensor);
  file.write(tensor.data() - header, header + tensor.size());
  file.commit();
}

#include "elf_check.h"

#include "common.h"

#include <cerrno>
#include <elf.h>
#include <unistd.h>

using namespace llmopt::rt;

namespace {
#if defined(__x86_64__)
constexpr unsigned ownMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr unsigned ownMachine = EM_AARCH64;
#elif defined(__riscv)
constexpr unsigned ownMachine = EM_RISCV;
#else
#error "name this machine's ELF number here"
#endif

const char *machineName(unsigned machine) {
  switch (machine) {
  case EM_386:
    return "i386";
  case EM_X86_64:
    return "x86-64";
  case EM_ARM:
    return "arm";
  case EM_AARCH64:
    return "aarch64";
  case EM_RISCV:
    return "riscv";
  case EM_PPC64:
    return "ppc64";
  case EM_S390:
    return "s390x";
  }
  return "another machine";
}

/// Whether [offset, offset + size) lies in the file.
bool inFile(uint64_t offset, uint64_t size, uint64_t fileSize) {
  return offset <= fileSize && size <= fileSize - offset;
}
} // namespace

bool llmopt::rt::readFully(int fd, void *data, size_t size, uint64_t offset) {
  char *p = static_cast<char *>(data);
  while (size > 0) {
    // One call moves at most about 2 GiB; stay below on purpose.
    size_t piece = size < (size_t(1) << 30) ? size : size_t(1) << 30;
    ssize_t got = pread(fd, p, piece, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return false;
    p += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return true;
}

llmopt_status llmopt::rt::checkElf(int fd, uint64_t fileSize, const char *path, llmopt_error *error) {
  auto notArtefact = [&](const char *why) {
    return fail(error, LLMOPT_BAD_MODEL, "%s: is not a compiled model: %s", path, why);
  };
  auto truncated = [&](uint64_t needed) {
    return fail(error, LLMOPT_BAD_MODEL, "%s: is truncated: expected at least %llu bytes, but got %llu", path,
                static_cast<unsigned long long>(needed), static_cast<unsigned long long>(fileSize));
  };

  Elf64_Ehdr header;
  std::memset(&header, 0, sizeof(header));
  size_t present = fileSize < sizeof(header) ? fileSize : sizeof(header);
  if (present < SELFMAG || !readFully(fd, &header, present, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return notArtefact("no ELF header");
  if (present < sizeof(header))
    return truncated(sizeof(header));
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    return notArtefact("not a 64-bit little-endian ELF file");
  if (header.e_machine != ownMachine)
    return fail(error, LLMOPT_UNSUPPORTED_CPU, "%s: expected code for %s, but got code for %s", path,
                machineName(ownMachine), machineName(header.e_machine));
  if (header.e_type != ET_DYN)
    return notArtefact("an ELF file, but no shared library");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0)
    return notArtefact("an ELF file without program headers");
  uint64_t tableSize = uint64_t(header.e_phnum) * sizeof(Elf64_Phdr);
  if (!inFile(header.e_phoff, tableSize, fileSize))
    return truncated(header.e_phoff + tableSize);
  // Sections come last in what linkers write; a cut there is a cut file too.
  uint64_t sections = uint64_t(header.e_shnum) * sizeof(Elf64_Shdr);
  if (header.e_shoff && !inFile(header.e_shoff, sections, fileSize))
    return truncated(header.e_shoff + sections);
  if (header.e_shnum && header.e_shentsize != sizeof(Elf64_Shdr))
    return notArtefact("sections of another size");

  Array<Elf64_Phdr> segments;
  if (!segments.allocate(header.e_phnum))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  if (!readFully(fd, segments.data(), tableSize, header.e_phoff))
    return fail(error, LLMOPT_IO_ERROR, "%s: cannot be read", path);

  Elf64_Phdr dynamic;
  std::memset(&dynamic, 0, sizeof(dynamic));
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type == PT_INTERP)
      return notArtefact("it is a program");
    if ((segment.p_type == PT_LOAD || segment.p_type == PT_DYNAMIC) &&
        !inFile(segment.p_offset, segment.p_filesz, fileSize))
      return truncated(segment.p_offset + segment.p_filesz);
    if (segment.p_type == PT_DYNAMIC)
      dynamic = segment;
  }
  if (!dynamic.p_filesz)
    return notArtefact("a shared library without dynamic section");

  // The exported name must be among the dynamic strings. A full symbol look-up
  // is the loader's job; this keeps other libraries from being loaded at all.
  constexpr uint64_t largestDynamic = 1 << 20;
  Array<Elf64_Dyn> entries;
  if (dynamic.p_filesz > largestDynamic)
    return notArtefact("a dynamic section out of all proportion");
  if (!entries.allocate(dynamic.p_filesz / sizeof(Elf64_Dyn)))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  if (!readFully(fd, entries.data(), entries.size() * sizeof(Elf64_Dyn), dynamic.p_offset))
    return fail(error, LLMOPT_IO_ERROR, "%s: cannot be read", path);
  uint64_t stringsAddress = 0, stringsSize = 0;
  for (const Elf64_Dyn &entry : entries) {
    if (entry.d_tag == DT_NULL)
      break;
    if (entry.d_tag == DT_STRTAB)
      stringsAddress = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ)
      stringsSize = entry.d_un.d_val;
  }
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type != PT_LOAD || stringsAddress < segment.p_vaddr ||
        !inFile(stringsAddress - segment.p_vaddr, stringsSize, segment.p_filesz))
      continue;
    uint64_t offset = segment.p_offset + (stringsAddress - segment.p_vaddr);
    Array<char> strings;
    if (!strings.allocate(stringsSize))
      return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
    if (!readFully(fd, strings.data(), stringsSize, offset))
      return fail(error, LLMOPT_IO_ERROR, "%s: cannot be read", path);
    // Only the end is anchored: linkers share the tails of names.
    static const char name[] = LLMOPT_MODEL_SYMBOL;
    if (!memmem(strings.data(), stringsSize, name, sizeof(name)))
      continue;
    if (const char *why = findElfDamage(fd, segments.data(), segments.size()))
      return fail(error, LLMOPT_BAD_MODEL, "%s: is damaged: %s", path, why);
    return LLMOPT_OK;
  }
  return notArtefact("it does not export " LLMOPT_MODEL_SYMBOL);
}

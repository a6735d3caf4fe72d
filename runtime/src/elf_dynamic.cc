// What the dynamic loader is told: segments, dynamic section, relocations, symbols.
// It takes all of these at their word, so a flipped bit in them would end the
// process; here it ends in a message. What the tables point at, code and constants,
// is not looked at.
#include "elf_check.h"

#include "common.h"

#include <elf.h>

using namespace llmopt::rt;

namespace {
/// Entries of the dynamic section that are addresses, sizes, or counts.
struct Dynamic {
  uint64_t symbols = 0, strings = 0, stringsSize = 0, hash = 0, gnuHash = 0;
  uint64_t relocations = 0, relocationsSize = 0, relative = 0, plt = 0, pltSize = 0;
  uint64_t arrays[2] = {0, 0}, arraySizes[2] = {0, 0}; // of constructors and destructors
  uint64_t lastName = 0;                               // the largest of the names that entries refer to
};

#if defined(__x86_64__)
constexpr uint32_t relativeKind = R_X86_64_RELATIVE, calledKind = R_X86_64_IRELATIVE, copiedKind = R_X86_64_COPY;
#elif defined(__aarch64__)
constexpr uint32_t relativeKind = R_AARCH64_RELATIVE, calledKind = R_AARCH64_IRELATIVE, copiedKind = R_AARCH64_COPY;
#else
constexpr uint32_t relativeKind = R_RISCV_RELATIVE, calledKind = 58, copiedKind = R_RISCV_COPY;
#endif

constexpr char badSegments[] = "its segments do not fit", badDynamic[] = "its dynamic section does not fit",
               badSymbols[] = "its symbols do not fit", badRelocations[] = "its relocations do not fit";

/// No artefact takes more than this beyond its file in memory.
constexpr uint64_t largestZeroes = uint64_t(1) << 32;
/// Nor has it more entries of any kind.
constexpr uint64_t mostEntries = uint64_t(1) << 26;

class Checker {
public:
  Checker(int fd, const Elf64_Phdr *segments, size_t count) : fd(fd), segments(segments), count(count) {}

  const char *check() {
    if (const char *why = checkSegments())
      return why;
    if (const char *why = readDynamic())
      return why;
    if (!dynamic.strings || !dynamic.symbols || (!dynamic.hash && !dynamic.gnuHash))
      return badSymbols;
    if (dynamic.lastName >= dynamic.stringsSize)
      return badSymbols;
    for (int i = 0; i < 2; ++i)
      if (!dynamic.arrays[i] != !dynamic.arraySizes[i] || !find(dynamic.arrays[i], dynamic.arraySizes[i], false))
        return badDynamic;
    if (dynamic.relative > dynamic.relocationsSize / sizeof(Elf64_Rela))
      return badRelocations;
    if (const char *why = checkSymbols())
      return why;
    if (const char *why = checkRelocations(dynamic.relocations, dynamic.relocationsSize))
      return why;
    return checkRelocations(dynamic.plt, dynamic.pltSize);
  }

private:
  const Elf64_Phdr *find(uint64_t address, uint64_t size, bool inFile) const {
    for (size_t i = 0; i < count; ++i) {
      const Elf64_Phdr &s = segments[i];
      uint64_t length = inFile ? s.p_filesz : s.p_memsz;
      if (s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr <= length &&
          size <= length - (address - s.p_vaddr))
        return &s;
    }
    return nullptr;
  }

  /// Bytes that the file has at an address of memory.
  bool read(uint64_t address, void *data, uint64_t size) const {
    const Elf64_Phdr *s = find(address, size, true);
    return s && readFully(fd, data, size, s->p_offset + (address - s->p_vaddr));
  }

  const char *checkSegments() const {
    uint64_t end = 0;
    for (size_t i = 0; i < count; ++i) {
      const Elf64_Phdr &s = segments[i];
      if (s.p_memsz < s.p_filesz || s.p_memsz - s.p_filesz > largestZeroes || s.p_vaddr + s.p_memsz < s.p_vaddr)
        return badSegments;
      switch (s.p_type) {
      case PT_LOAD:
        // Pages of 4 KB at least, and the same place in a page in file and memory.
        if (s.p_align < 4096 || (s.p_align & (s.p_align - 1)) || s.p_align > (uint64_t(1) << 30) ||
            (s.p_vaddr - s.p_offset) % s.p_align || s.p_vaddr < end || !s.p_memsz || !(s.p_flags & PF_R) ||
            s.p_flags > (PF_R | PF_W | PF_X))
          return badSegments;
        if (s.p_vaddr - end > largestZeroes)
          return badSegments;
        end = s.p_vaddr + s.p_memsz;
        break;
      case PT_DYNAMIC:
      case PT_GNU_EH_FRAME:
      case PT_GNU_RELRO:
      case PT_TLS:
      case PT_PHDR:
      case PT_NOTE:
        if (s.p_memsz && !inside(s))
          return badSegments;
        break;
      case PT_NULL:
      case PT_GNU_STACK:
      case PT_GNU_PROPERTY:
        break;
      default:
        return badSegments;
      }
    }
    return nullptr;
  }

  bool inside(const Elf64_Phdr &part) const {
    const Elf64_Phdr *segment = find(part.p_vaddr, part.p_filesz, false);
    if (!segment || (part.p_align & (part.p_align - 1)))
      return false;
    if (part.p_type == PT_TLS) // its zeroes have no place here
      return true;
    // RELRO is rounded up to a page, all of which is protected.
    uint64_t end = segment->p_vaddr + segment->p_memsz;
    return part.p_vaddr + part.p_memsz <= (part.p_type == PT_GNU_RELRO ? (end + 4095) & ~uint64_t(4095) : end);
  }

  const char *readDynamic() {
    const Elf64_Phdr *segment = nullptr;
    for (size_t i = 0; i < count; ++i)
      if (segments[i].p_type == PT_DYNAMIC) {
        if (segment)
          return badDynamic;
        segment = &segments[i];
      }
    Array<Elf64_Dyn> entries;
    if (!segment || segment->p_vaddr % 8 || !entries.allocate(segment->p_filesz / sizeof(Elf64_Dyn)) ||
        !read(segment->p_vaddr, entries.data(), entries.size() * sizeof(Elf64_Dyn)))
      return badDynamic;
    for (const Elf64_Dyn &entry : entries) {
      uint64_t value = entry.d_un.d_val;
      switch (entry.d_tag) {
      case DT_NULL:
        return nullptr;
      case DT_SYMTAB:
        dynamic.symbols = value;
        break;
      case DT_STRTAB:
        dynamic.strings = value;
        break;
      case DT_STRSZ:
        dynamic.stringsSize = value;
        break;
      case DT_HASH:
        dynamic.hash = value;
        break;
      case DT_GNU_HASH:
        dynamic.gnuHash = value;
        break;
      case DT_RELA:
        dynamic.relocations = value;
        break;
      case DT_RELASZ:
        dynamic.relocationsSize = value;
        break;
      case DT_JMPREL:
        dynamic.plt = value;
        break;
      case DT_PLTRELSZ:
        dynamic.pltSize = value;
        break;
      case DT_SYMENT:
        if (value != sizeof(Elf64_Sym))
          return badDynamic;
        break;
      case DT_RELAENT:
        if (value != sizeof(Elf64_Rela))
          return badDynamic;
        break;
      case DT_NEEDED:
      case DT_SONAME:
      case DT_RUNPATH:
        dynamic.lastName = value > dynamic.lastName ? value : dynamic.lastName;
        break;
      case DT_INIT_ARRAY:
      case DT_FINI_ARRAY:
        dynamic.arrays[entry.d_tag == DT_FINI_ARRAY] = value;
        break;
      case DT_INIT_ARRAYSZ:
      case DT_FINI_ARRAYSZ:
        dynamic.arraySizes[entry.d_tag == DT_FINI_ARRAYSZ] = value;
        break;
      case DT_RELACOUNT:
        dynamic.relative = value;
        break;
      case DT_PLTREL:
        if (value != DT_RELA)
          return badDynamic;
        break;
      // Addresses of code and tables that the loader follows.
      case DT_INIT:
      case DT_FINI:
      case DT_PLTGOT:
      case DT_VERSYM:
      case DT_VERNEED:
      case DT_VERDEF:
        if (!find(value, 8, false))
          return badDynamic;
        break;
      case DT_VERNEEDNUM:
      case DT_VERDEFNUM:
        if (value > mostEntries)
          return badDynamic;
        break;
      case DT_FLAGS:
      case DT_FLAGS_1:
        break;
      default:
        return badDynamic;
      }
    }
    return badDynamic;
  }

  const char *checkSymbols() {
    if (!find(dynamic.strings, dynamic.stringsSize, true) || dynamic.symbols % 8)
      return badSymbols;
    uint64_t last = 0; // by the hash table that has it, the other only by its place
    if (dynamic.hash) {
      uint32_t head[2];
      if (dynamic.hash % 4 || !read(dynamic.hash, head, sizeof(head)) || !head[0] ||
          !find(dynamic.hash, (uint64_t(head[0]) + head[1] + 2) * 4, true))
        return badSymbols;
      last = head[1];
      Array<uint32_t> links;
      if (!links.allocate(head[0] + size_t(head[1])) || !read(dynamic.hash + 8, links.data(), links.size() * 4))
        return badSymbols;
      for (uint32_t link : links)
        if (link >= last)
          return badSymbols;
    }
    if (dynamic.gnuHash)
      if (const char *why = checkGnuHash(&last))
        return why;
    Array<Elf64_Sym> symbols;
    if (last > mostEntries || !symbols.allocate(last) ||
        !read(dynamic.symbols, symbols.data(), last * sizeof(Elf64_Sym)))
      return badSymbols;
    numSymbols = last;
    for (const Elf64_Sym &symbol : symbols)
      if (!isSound(symbol))
        return badSymbols;
    return nullptr;
  }

  /// A name in the table, and an address of its own, of code where it is a function.
  bool isSound(const Elf64_Sym &symbol) const {
    unsigned type = ELF64_ST_TYPE(symbol.st_info);
    if (symbol.st_name >= dynamic.stringsSize || type == STT_GNU_IFUNC)
      return false;
    if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS || type == STT_TLS)
      return true;
    const Elf64_Phdr *at = find(symbol.st_value, 0, false);
    return at && (type != STT_FUNC || at->p_flags & PF_X);
  }

  /// Buckets, and chains that end: the loader follows them as far as they go.
  const char *checkGnuHash(uint64_t *last) {
    uint32_t head[4]; // buckets, first symbol, words of the filter, shift
    if (dynamic.gnuHash % 8 || !read(dynamic.gnuHash, head, sizeof(head)) || !head[0] || !head[2] ||
        (head[2] & (head[2] - 1)) || head[0] > mostEntries || head[2] > mostEntries || head[3] > 31)
      return badSymbols;
    uint64_t buckets = dynamic.gnuHash + 16 + uint64_t(head[2]) * 8, chains = buckets + uint64_t(head[0]) * 4;
    Array<uint32_t> starts;
    if (!starts.allocate(head[0]) || !read(buckets, starts.data(), uint64_t(head[0]) * 4))
      return badSymbols;
    uint64_t end = head[1];
    for (uint32_t start : starts) {
      if (!start)
        continue;
      if (start < head[1])
        return badSymbols;
      uint64_t symbol = start;
      for (uint32_t link = 0; !(link & 1); ++symbol)
        if (!read(chains + (symbol - head[1]) * 4, &link, 4))
          return badSymbols;
      end = symbol > end ? symbol : end;
    }
    *last = end > *last ? end : *last;
    return nullptr;
  }

  const char *checkRelocations(uint64_t address, uint64_t size) const {
    Array<Elf64_Rela> list;
    if (!size)
      return nullptr;
    if (size % sizeof(Elf64_Rela) || !list.allocate(size / sizeof(Elf64_Rela)) || !read(address, list.data(), size))
      return badRelocations;
    for (const Elf64_Rela &relocation : list) {
      const Elf64_Phdr *target = find(relocation.r_offset, 8, false);
      if (!target || !(target->p_flags & PF_W) || ELF64_R_SYM(relocation.r_info) >= (numSymbols ? numSymbols : 1))
        return badRelocations;
      // A plain address is one of its own; none is asked of code before the check.
      uint32_t kind = ELF64_R_TYPE(relocation.r_info);
      bool isSound = kind == relativeKind ? find(static_cast<uint64_t>(relocation.r_addend), 0, false) != nullptr
                                          : kind != calledKind && kind != copiedKind;
      if (!isSound)
        return badRelocations;
    }
    return nullptr;
  }

  int fd;
  const Elf64_Phdr *segments;
  size_t count;
  Dynamic dynamic;
  uint64_t numSymbols = 0;
};
} // namespace

const char *llmopt::rt::findElfDamage(int fd, const void *segments, size_t count) {
  return Checker(fd, static_cast<const Elf64_Phdr *>(segments), count).check();
}

// Self-exec, memory files, and lld's arguments.
#include "llmopt/CodeGen/CPU/Link.h"

#include "lld/Common/Driver.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Triple.h"

#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

LLD_HAS_DRIVER(elf)

extern char **environ;

namespace llmopt::cpu {
namespace {

constexpr const char *childFlag = "--llmopt-internal-lld";
// In the child: the object, and where the library goes (lld's `-o -`).
constexpr int objectFd = 3;

struct MemoryFile {
  int fd;
  explicit MemoryFile(const char *name) : fd(memfd_create(name, MFD_CLOEXEC)) {}
  ~MemoryFile() {
    if (fd >= 0)
      close(fd);
  }
  MemoryFile(const MemoryFile &) = delete;

  bool write(llvm::ArrayRef<char> bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::write(fd, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return false;
      bytes = bytes.drop_front(n);
    }
    return true;
  }
  bool read(llvm::SmallVectorImpl<char> &bytes) {
    struct stat status;
    if (fstat(fd, &status) != 0)
      return false;
    bytes.resize_for_overwrite(status.st_size);
    for (size_t done = 0; done < bytes.size();) {
      ssize_t n = pread(fd, bytes.data() + done, bytes.size() - done, done);
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return false;
      done += n;
    }
    return true;
  }
};

/// Whether the file is all there: lld exits with 0 when a write was cut short.
bool isCompleteElf(llvm::ArrayRef<char> bytes) {
  Elf64_Ehdr header;
  if (bytes.size() < sizeof(header) ||
      memcmp(bytes.data(), ELFMAG, SELFMAG) != 0)
    return false;
  memcpy(&header, bytes.data(), sizeof(header));
  return header.e_shoff + uint64_t(header.e_shnum) * header.e_shentsize <=
         bytes.size();
}

} // namespace

std::optional<int> runLinkerChild(int argc, char **argv) {
  if (argc < 2 || strcmp(argv[1], childFlag) != 0)
    return std::nullopt;
  llvm::SmallVector<const char *> args{"ld.lld"};
  args.append(argv + 2, argv + argc);
  lld::Result result = lld::lldMain(args, llvm::outs(), llvm::errs(),
                                    {{lld::Gnu, &lld::elf::link}});
  llvm::outs().flush();
  llvm::errs().flush();
  _exit(result.retCode); // lld's globals are not worth destroying
}

bool linkSharedLibrary(llvm::ArrayRef<char> object, llvm::StringRef tripleName,
                       llvm::SmallVectorImpl<char> &library,
                       std::string &error) {
  MemoryFile input("llmopt-object"), output("llmopt-library"),
      messages("llmopt-linker-messages");
  if (input.fd < 0 || output.fd < 0 || messages.fd < 0 ||
      !input.write(object)) {
    error = std::string("cannot hold the object in memory: ") + strerror(errno);
    return false;
  }

  llvm::Triple triple(tripleName);
  const char *argv[] = {"llmopt-lld",
                        childFlag,
                        "-m",
                        triple.isAArch64() ? "aarch64linux" : "elf_x86_64",
                        "-shared",
                        "--no-undefined",
                        "--gc-sections",
                        "--build-id=none",
                        "--threads=1",
                        "-z",
                        "noexecstack",
                        "-z",
                        "relro",
                        "-z",
                        "now",
                        "-o",
                        "-",
                        "/proc/self/fd/3",
                        nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // dup2 onto itself keeps close-on-exec, so go through a number none of them
  // has.
  int object2 = fcntl(input.fd, F_DUPFD, 10);
  posix_spawn_file_actions_adddup2(&actions, output.fd, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, messages.fd, STDERR_FILENO);
  posix_spawn_file_actions_adddup2(&actions, object2, objectFd);
  pid_t pid = 0;
  int spawned = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr,
                            const_cast<char *const *>(argv), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(object2);
  if (spawned != 0) {
    error = std::string("cannot start the linker: ") + strerror(spawned);
    return false;
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
    ;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && output.read(library) &&
      isCompleteElf(library))
    return true;

  llvm::SmallVector<char> text;
  messages.read(text);
  error = WIFSIGNALED(status)
              ? "the linker died of signal " + std::to_string(WTERMSIG(status))
              : std::string("the linker failed");
  llvm::StringRef shown =
      llvm::StringRef(text.data(), text.size()).trim().take_front(2000);
  if (!shown.empty())
    error += ": " + shown.str();
  return false;
}

} // namespace llmopt::cpu

#include "Toolchain.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"

#include <cstdlib>

using namespace llmopt;
using llvm::ArrayRef;
using llvm::SmallVector;
using llvm::StringRef;

static llvm::Error failure(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

static std::optional<std::string> findNvcc() {
  if (llvm::ErrorOr<std::string> path = llvm::sys::findProgramByName("nvcc"))
    return *path;
  SmallVector<std::string> folders;
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *home = std::getenv(variable))
      folders.push_back(std::string(home) + "/bin");
  folders.push_back("/usr/local/cuda/bin");
  for (const std::string &folder : folders)
    if (llvm::ErrorOr<std::string> path = llvm::sys::findProgramByName("nvcc", {StringRef(folder)}))
      return *path;
  return std::nullopt;
}

static std::optional<std::string> findHostCompiler() {
  for (const char *name : {"clang++-22", "clang++", "g++", "c++"})
    if (llvm::ErrorOr<std::string> path = llvm::sys::findProgramByName(name))
      return *path;
  return std::nullopt;
}

/// The first line of a compiler's messages that says what is wrong; printable
/// whatever it holds.
static std::string firstError(StringRef log) {
  auto buffer = llvm::MemoryBuffer::getFile(log);
  if (!buffer)
    return "no message";
  SmallVector<StringRef> lines;
  (*buffer)->getBuffer().split(lines, '\n', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  StringRef found = lines.empty() ? "no message" : lines.front();
  for (StringRef line : lines)
    if (line.contains("error") || line.contains("fatal")) {
      found = line;
      break;
    }
  std::string text = found.trim().take_front(300).str();
  for (char &c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      c = ' ';
  return text;
}

/// The exit code; messages go to `log`. Negative where the program could not start,
/// with the reason in `message`.
static int runCompiler(StringRef program, ArrayRef<std::string> arguments, StringRef log, std::string &message) {
  SmallVector<StringRef> all = {program};
  all.append(arguments.begin(), arguments.end());
  std::optional<StringRef> redirects[] = {StringRef(""), log, log};
  return llvm::sys::ExecuteAndWait(program, all, std::nullopt, redirects, 0, 0, &message);
}

llvm::Error cuda::runNvcc(StringRef folder, ArrayRef<std::string> options, StringRef output) {
  std::optional<std::string> nvcc = findNvcc();
  if (!nvcc)
    return failure("nvcc is missing: expected it on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin; -emit=cuda with "
                   "a folder behind -o writes a project without it");
  std::string log = (folder + "/nvcc.log").str(), message;
  std::vector<std::string> arguments = {"-std=c++17", "-O3",       ("-I" + folder).str(), (folder + "/model.cu").str(),
                                        "-o",         output.str()};
  arguments.insert(arguments.end(), options.begin(), options.end());
  int code = runCompiler(*nvcc, arguments, log, message);
  if (code < 0)
    return failure("nvcc cannot run (" + *nvcc + "): " + message + "; the source is " + folder + "/model.cu");
  if (code > 0)
    return failure("nvcc failed: " + firstError(log) + "; the source is " + folder + "/model.cu, all messages are in " +
                   log);
  return llvm::Error::success();
}

llvm::Error cuda::linkHostLibrary(StringRef folder, ArrayRef<std::string> files, ArrayRef<std::string> options,
                                  StringRef output) {
  std::optional<std::string> compiler = findHostCompiler();
  if (!compiler)
    return failure("no C++ compiler: expected c++, g++ or clang++ on PATH: No such file or directory");
  std::string log = (folder + "/cxx.log").str(), message;
  std::vector<std::string> arguments = {"-std=c++17",          "-w", "-shared",   "-fPIC", "-fvisibility=hidden",
                                        ("-I" + folder).str(), "-o", output.str()};
  arguments.insert(arguments.end(), options.begin(), options.end());
  for (const std::string &file : files)
    arguments.push_back((folder + "/" + file).str());
  int code = runCompiler(*compiler, arguments, log, message);
  if (code < 0)
    return failure("the C++ compiler cannot run (" + *compiler + "): " + message);
  if (code > 0)
    return failure("the C++ compiler failed: " + firstError(log) + "; the source is in " + folder);
  return llvm::Error::success();
}

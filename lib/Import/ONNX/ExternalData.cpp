#include "ExternalData.h"

#include "Diagnostics.h"

#include "llvm/Support/Path.h"

#include <climits>
#include <cstdlib>

using namespace llmopt::onnx_import;
namespace path = llvm::sys::path;

// The path with all symbolic links resolved; empty where it does not exist.
static std::string resolve(const std::string &name) {
  char buffer[PATH_MAX];
  return ::realpath(name.c_str(), buffer) ? std::string(buffer) : std::string();
}

ExternalData::ExternalData(llvm::StringRef modelPath) {
  directory = path::parent_path(modelPath).str();
  if (directory.empty())
    directory = ".";
  auto allow = [&](std::string dir) {
    if (dir.empty())
      return;
    if (dir.back() != '/')
      dir += '/';
    allowed.push_back(dir);
  };
  allow(resolve(directory));
  allow(path::parent_path(resolve(modelPath.str())).str());
}

const ExternalData::File *ExternalData::open(llvm::StringRef location, std::string &error) {
  auto [it, isNew] = files.try_emplace(location);
  if (isNew) {
    auto file = std::make_unique<File>();
    it->second.second = openNew(location, *file);
    if (it->second.second.empty())
      it->second.first = std::move(file);
  }
  error = it->second.second;
  return it->second.first.get();
}

std::string ExternalData::openNew(llvm::StringRef location, File &file) {
  std::string name = printable(location);
  if (location.empty())
    return "external data has no location";
  if (location.contains('\0'))
    return "external data '" + name + "' is no file name";
  if (path::is_absolute(location) || location.starts_with("\\"))
    return "external data '" + name + "' must be a path relative to the model";
  for (auto it = path::begin(location), end = path::end(location); it != end; ++it)
    if (*it == "..")
      return "external data '" + name + "' must not contain '..'";

  // Next to the path given, else next to the file it links to.
  std::string resolved = resolve(directory + "/" + location.str());
  if (resolved.empty() && allowed.size() > 1)
    resolved = resolve(allowed[1] + location.str());
  if (resolved.empty())
    return "external data file '" + name + "' " + kMissing.str();
  bool inside = false;
  for (const std::string &dir : allowed)
    inside |= llvm::StringRef(resolved).starts_with(dir);
  if (!inside)
    return "external data '" + name + "' leads outside the model's directory";
  std::string error;
  file.path = resolved;
  file.mapped = MappedFile::open(resolved, error);
  return file.mapped ? "" : "external data file '" + name + "': " + error;
}

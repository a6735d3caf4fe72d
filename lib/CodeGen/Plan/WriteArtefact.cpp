#include "llmopt/CodeGen/Plan/WriteArtefact.h"

#include "llmopt/CodeGen/Plan/WeightsFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MD5.h"

using namespace llmopt;
using llvm::ArrayRef;
using llvm::StringRef;

void llmopt::setBuildId(ModelTables &t, StringRef text) {
  llvm::MD5 md5;
  md5.update(text);
  llvm::MD5::MD5Result digest;
  md5.final(digest);
  std::copy(digest.begin(), digest.end(), t.buildId.begin());
}

void llmopt::addDataHash(ModelTables &t, uint64_t dataHash) {
  setBuildId(t, StringRef(reinterpret_cast<const char *>(t.buildId.data()), t.buildId.size()).str() +
                    std::to_string(dataHash));
}

/// Where the code contains the id; npos unless exactly once.
static size_t findId(StringRef code, const ModelTables &t) {
  StringRef id(reinterpret_cast<const char *>(t.buildId.data()), t.buildId.size());
  size_t at = code.find(id);
  return at != StringRef::npos && code.find(id, at + 1) == StringRef::npos ? at : StringRef::npos;
}

llvm::Error llmopt::writeArtefact(PlannedModel &model, llvm::MutableArrayRef<char> code, const ArtefactPaths &paths) {
  ModelTables &t = model.tables;
  if (paths.weights.empty() && !paths.embed)
    return writeFileAtomically(paths.code, code, paths.executable);

  size_t idAt = findId(StringRef(code.data(), code.size()), t);
  if (idAt == StringRef::npos)
    return llvm::createStringError("the build id is not in the code exactly once");
  llvm::Expected<AtomicFile> file = AtomicFile::create(paths.embed ? paths.code : paths.weights);
  if (!file)
    return file.takeError();
  if (paths.embed)
    if (llvm::Error error = file->write(code))
      return error;
  WeightsWriter writer(*file, paths.embed);
  if (llvm::Error error = writer.write(model))
    return error;
  addDataHash(t, writer.getDataHash());
  if (llvm::Error error = writer.finish(model))
    return error;
  ArrayRef<char> id(reinterpret_cast<const char *>(t.buildId.data()), t.buildId.size());
  if (paths.embed) {
    if (llvm::Error error = file->overwrite(idAt, id))
      return error;
    if (llvm::Error error = file->makeExecutable())
      return error;
    return file->commit();
  }
  llvm::copy(id, code.begin() + idAt);
  llvm::Expected<AtomicFile> codeFile = AtomicFile::create(paths.code);
  if (!codeFile)
    return codeFile.takeError();
  if (llvm::Error error = codeFile->write(code))
    return error;
  if (paths.executable)
    if (llvm::Error error = codeFile->makeExecutable())
      return error;
  for (AtomicFile *each : {&*file, &*codeFile})
    if (llvm::Error error = each->sync())
      return error;
  if (llvm::Error error = file->commit())
    return error;
  return codeFile->commit();
}

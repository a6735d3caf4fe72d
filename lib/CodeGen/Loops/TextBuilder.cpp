// Building the tree of statements.
#include "TextBuilder.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/Support/Format.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::loops;

TextBuilder::TextBuilder(llvm::StringRef name, mlir::Block &block, TextStyle style)
    : name(name), block(block), style(style) {
  frames.push_back({&root, {}, false, -1});
  severalResults = block.getTerminator()->getNumOperands() > 1;
}

llvm::StringRef llmopt::loops::typeName(Elem elem) {
  switch (elem) {
  case Elem::Bool:
    return "bool";
  case Elem::I8:
    return "int8_t";
  case Elem::U8:
    return "uint8_t";
  case Elem::I16:
    return "int16_t";
  case Elem::U16:
    return "uint16_t";
  case Elem::I32:
    return "int32_t";
  case Elem::U32:
    return "uint32_t";
  case Elem::I64:
    return "int64_t";
  case Elem::U64:
    return "uint64_t";
  case Elem::F64:
    return "double";
  default:
    return "float";
  }
}

llvm::StringRef llmopt::loops::memoryTypeName(Elem elem) {
  if (elem == Elem::Bool || isSmallFloat(elem))
    return "uint8_t";
  if (elem == Elem::F16 || elem == Elem::BF16)
    return "uint16_t";
  return typeName(elem);
}

// ---- placement

int32_t TextBuilder::addNode(Node node) {
  nodes.push_back(std::move(node));
  return nodes.size() - 1;
}

int32_t TextBuilder::leaf(Elem elem, std::string text) {
  Node node;
  node.elem = elem;
  node.text = std::move(text);
  return addNode(std::move(node));
}

TextBuilder::Statement &TextBuilder::append(int32_t level, Statement statement) {
  Frame &frame = frames[realLevel(level)];
  auto at = frame.open ? frame.openChild : frame.statements->list.end();
  return *frame.statements->list.insert(at, std::move(statement));
}

void TextBuilder::pushFrame(Statement statement) {
  Frame &parent = frames[realLevel(frames.size() - 1)];
  outerFrames.push_back(parent);
  statement.body = std::make_unique<Statements>();
  statement.body->depth = parent.statements->depth + 1;
  auto at = parent.open ? parent.openChild : parent.statements->list.end();
  parent.openChild = parent.statements->list.insert(at, std::move(statement));
  parent.open = true;
  frames.push_back({parent.openChild->body.get(), {}, false, -1});
}

void TextBuilder::popFrame() {
  frames.pop_back();
  frames[realLevel(frames.size() - 1)] = outerFrames.pop_back_val();
}

void TextBuilder::openMask() {
  int32_t top = frames.size() - 1;
  frames.push_back({nullptr, {}, false, realLevel(top)});
}

void TextBuilder::suspend(int32_t level) {
  suspended.emplace_back(frames.begin() + level + 1, frames.end());
  frames.truncate(level + 1);
}

void TextBuilder::resume() { frames.append(suspended.pop_back_val()); }

// ---- values

int32_t TextBuilder::createOp(Opcode op, ArrayRef<S> operands, S result) {
  Node node;
  node.kind = Node::Operation;
  node.op = op;
  node.elem = result.elem;
  for (S s : operands)
    node.operands.push_back(s.id);
  node.home = frames[realLevel(result.level)].statements;
  int32_t id = addNode(std::move(node));
  append(result.level, {Statement::Define, id});
  return id;
}

static std::string floatText(double value, bool isDouble) {
  if (std::isnan(value))
    return isDouble ? "(double)NAN" : "NAN";
  if (std::isinf(value))
    return value > 0 ? (isDouble ? "(double)INFINITY" : "INFINITY") : (isDouble ? "-(double)INFINITY" : "-INFINITY");
  std::string text;
  llvm::raw_string_ostream os(text);
  if (isDouble)
    os << llvm::format("%.17g", value);
  else
    os << llvm::format("%.9g", static_cast<double>(static_cast<float>(value)));
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return isDouble ? text : text + "f";
}

static std::string intText(Elem elem, int64_t value) {
  if (elem == Elem::Bool)
    return value ? "true" : "false";
  if (elem == Elem::U64)
    return std::to_string(static_cast<uint64_t>(value)) + "ull";
  if (isUnsigned(elem))
    return std::to_string(value) + "u";
  if (value == INT64_MIN)
    return "INT64_MIN";
  if (value == INT32_MIN)
    return "INT32_MIN";
  return std::to_string(value) + (value > INT32_MAX || value < INT32_MIN ? "ll" : "");
}

int32_t TextBuilder::createConstant(S result, double f, int64_t i) {
  return leaf(result.elem, isFloat(result.elem) ? floatText(f, result.elem == Elem::F64) : intText(result.elem, i));
}

int32_t TextBuilder::createDim(int64_t index, const SymExpr &expr) {
  if ((int64_t)dimExprs.size() <= index)
    dimExprs.resize(index + 1);
  dimExprs[index] = expr;
  return leaf(Elem::I64, "d" + std::to_string(index));
}

// ---- memory

std::string TextBuilder::arrayOf(const Buffer &buffer) {
  int64_t inputs = block.getNumArguments();
  switch (buffer.kind) {
  case Buffer::Arg:
    return buffer.index < inputs ? "x" + std::to_string(buffer.index) : "y" + std::to_string(buffer.index - inputs);
  case Buffer::Table:
    return name + "_t" + std::to_string(buffer.index);
  case Buffer::Scratch:
    break;
  }
  std::string type = memoryTypeName(buffer.elem).str(), key = type + "@" + buffer.offset.str();
  size_t i = llvm::find(scratchKeys, key) - scratchKeys.begin();
  if (i == scratchKeys.size()) {
    scratchKeys.push_back(key);
    scratchArrays.push_back({type, size(buffer.offset).id});
  }
  return "s" + std::to_string(i);
}

int32_t TextBuilder::createLoad(const Buffer &buffer, Access, S offset, S, S result) {
  Node node;
  node.kind = Node::Load;
  node.elem = result.elem;
  node.memory = buffer.elem;
  node.text = arrayOf(buffer);
  node.operands.push_back(offset.id);
  node.keep = buffer.kind == Buffer::Scratch || buffer.written || severalResults;
  node.home = frames[realLevel(result.level)].statements;
  int32_t id = addNode(std::move(node));
  append(result.level, {Statement::Define, id});
  return id;
}

void TextBuilder::createStore(const Buffer &buffer, Access, S offset, S value, S, int32_t level) {
  Statement statement{Statement::Store, value.id, offset.id, arrayOf(buffer), buffer.elem};
  append(level, std::move(statement));
}

int64_t TextBuilder::createTable(Elem elem, ArrayRef<double> floats, ArrayRef<int64_t> ints) {
  std::string text = style == TextStyle::Cuda ? "static __device__ const " : "static const ";
  text += (memoryTypeName(elem) + " " + name + "_t" + llvm::Twine(tables.size()) + "[] = {").str();
  size_t column = text.size();
  auto item = [&](std::string value) {
    if (column + value.size() > 100)
      text += "\n   ", column = 3;
    text += " " + value + ",";
    column += value.size() + 2;
  };
  for (double f : floats)
    item(floatText(f, elem == Elem::F64));
  for (int64_t i : ints)
    item(elem == Elem::Bool ? (i ? "1" : "0") : intText(elem, i));
  tables.push_back(text + "};");
  return tables.size() - 1;
}

// ---- control

/// A variable with a start value at the current level; its name.
std::string TextBuilder::declare(S like, std::string value, llvm::StringRef prefix) {
  std::string variable = (prefix + llvm::Twine(variableNames++)).str();
  std::string line = (typeName(like.elem) + " " + variable).str();
  Statement statement{Statement::Raw, -1, -1, value.empty() ? line + ";" : line + " = " + value + ";"};
  if (like.id >= 0)
    statement.mentioned.push_back(like.id);
  append(frames.size() - 1, std::move(statement));
  return variable;
}

void TextBuilder::openLoop(LoopKind kind, S lo, S hi, ArrayRef<S> initial, S &variable,
                           llvm::MutableArrayRef<S> carried, llvm::StringRef hint) {
  SmallVector<std::string> names;
  for (auto [start, s] : llvm::zip(initial, carried)) {
    names.push_back(declare(start, "%0", "acc"));
    s.id = leaf(s.elem, names.back());
  }
  std::string i = hint == "row" ? "row" : hint.str() + std::to_string(loopNames++);
  Statement statement{Statement::Open};
  statement.mentioned = {lo.id, hi.id};
  std::string first = getIndexConstant(lo) == 0 ? "threadIdx.x" : "%0 + threadIdx.x";
  statement.text = kind == LoopKind::Threads
                       ? "for (int64_t " + i + " = " + first + "; " + i + " < %1; " + i + " += blockDim.x)"
                       : "for (int64_t " + i + " = %0; " + i + " < %1; ++" + i + ")";
  pushFrame(std::move(statement));
  // Threads go their own ways inside: reductions there are each thread's own.
  variable.id = leaf(Elem::I64, i);
  carriedNames.push_back(std::move(names));
}

void TextBuilder::assign(ArrayRef<S> values) {
  ArrayRef<std::string> names = carriedNames.back();
  // Simultaneous assignment: with several values, all are computed first.
  if (values.size() > 1)
    for (S s : values)
      nodes[s.id].keep = true;
  for (auto [s, variable] : llvm::zip(values, names))
    append(frames.size() - 1, Statement{Statement::Assign, s.id, -1, variable});
}

void TextBuilder::closeLoop(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) {
  assign(yielded);
  popFrame();
  SmallVector<std::string> names = carriedNames.pop_back_val();
  for (auto [s, variable] : llvm::zip(results, names))
    s.id = leaf(s.elem, variable);
}

void TextBuilder::openBranch(S condition, ArrayRef<S> results) {
  SmallVector<std::string> names;
  for (S s : results)
    names.push_back(declare(s, "", "r"));
  Statement statement{Statement::Open};
  statement.text = "if (%0)";
  statement.mentioned = {condition.id};
  pushFrame(std::move(statement));
  carriedNames.push_back(std::move(names));
}

void TextBuilder::openElse(ArrayRef<S> yielded) {
  assign(yielded);
  Frame &parent = frames[realLevel(frames.size() - 2)];
  Statement &open = *parent.openChild;
  open.otherwise = std::make_unique<Statements>();
  open.otherwise->depth = open.body->depth;
  frames.back() = {open.otherwise.get(), {}, false, -1};
}

void TextBuilder::closeBranch(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) { closeLoop(yielded, results); }

// ---- threads

void TextBuilder::barrierSync() {
  if (style == TextStyle::Cuda)
    append(frames.size() - 1, {Statement::Raw, -1, -1, "__syncthreads();"});
}

void TextBuilder::onFirstThread(llvm::function_ref<void()> body) {
  if (style != TextStyle::Cuda)
    return body();
  Statement statement{Statement::Open};
  statement.text = "if (threadIdx.x == 0)";
  pushFrame(std::move(statement));
  pushLevel(Level::Branch);
  body();
  popLevel();
  popFrame();
}

/// A tree over shared memory, of halves; the block has cudaThreads threads.
SmallVector<S> TextBuilder::combineThreads(ArrayRef<S> values,
                                           llvm::function_ref<SmallVector<S>(ArrayRef<S>, ArrayRef<S>)> combine) {
  SmallVector<std::string> arrays;
  for (auto [i, s] : llvm::enumerate(values)) {
    arrays.push_back(("shared_" + typeName(s.elem) + "_" + llvm::Twine(i)).str());
    std::string line = (typeName(s.elem) + " " + arrays.back()).str();
    if (!llvm::is_contained(shared, line))
      shared.push_back(line);
    append(frames.size() - 1, Statement{Statement::Assign, s.id, -1, arrays.back() + "[threadIdx.x]"});
  }
  barrierSync();
  Statement loop{Statement::Open};
  loop.text = "for (int half = " + std::to_string(cudaThreads / 2) + "; half > 0; half /= 2)";
  pushFrame(std::move(loop));
  pushLevel(Level::Branch);
  Statement lower{Statement::Open};
  lower.text = "if (threadIdx.x < half)";
  pushFrame(std::move(lower));
  pushLevel(Level::Branch);
  SmallVector<S> x(values), y(values);
  auto element = [&](S &s, std::string text) {
    s.level = currentLevel();
    s.id = leaf(s.elem, std::move(text));
  };
  for (auto [i, array] : llvm::enumerate(arrays)) {
    element(x[i], array + "[threadIdx.x]");
    element(y[i], array + "[threadIdx.x + half]");
  }
  SmallVector<S> both = combine(x, y);
  carriedNames.emplace_back();
  for (const std::string &array : arrays)
    carriedNames.back().push_back(array + "[threadIdx.x]");
  assign(both);
  carriedNames.pop_back();
  popLevel();
  popFrame();
  barrierSync();
  popLevel();
  popFrame();
  SmallVector<S> results(values);
  for (auto [s, array] : llvm::zip(results, arrays)) {
    s.level = currentLevel();
    S undefined = s;
    undefined.id = -1;
    s.id = leaf(s.elem, declare(undefined, array + "[0]", "all"));
  }
  barrierSync();
  return results;
}

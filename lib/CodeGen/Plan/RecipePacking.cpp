// Matrices in the layouts of kernels, one panel of columns at a time.
#include "RecipeView.h"

#include <algorithm>
#include <cstring>

using namespace llmopt;
using recipe::View;

bool recipe::writePanels(const View &view, int64_t width, const RecipeSink &sink) {
  int64_t k = view.dims[0], n = view.dims[1], size = getDTypeBytes(view.dtype);
  std::vector<char> panel(static_cast<size_t>(k * width * size));
  for (int64_t first = 0; first < n; first += width) {
    int64_t columns = std::min(width, n - first);
    if (columns < width)
      std::fill(panel.begin(), panel.end(), 0);
    for (int64_t i = 0; i < k; ++i) {
      const char *row = view.data + (i * view.strides[0] + first * view.strides[1]) * size;
      char *to = panel.data() + i * width * size;
      if (view.strides[1] == 1) {
        std::memcpy(to, row, static_cast<size_t>(columns * size));
        continue;
      }
      for (int64_t j = 0; j < columns; ++j)
        std::memcpy(to + j * size, row + j * view.strides[1] * size, static_cast<size_t>(size));
    }
    if (!sink(panel.data(), panel.size()))
      return false;
  }
  return true;
}

/// Copies `count` elements of Size bytes, `stride` elements apart.
template <int Size> static void copyColumn(char *to, const char *from, int64_t count, int64_t stride) {
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(to + i * Size, from + i * stride * Size, Size);
}

bool recipe::writeRows(const View &view, int64_t width, const RecipeSink &sink) {
  // Blocks of both, so that every line of the source is read for all of its columns.
  constexpr int64_t columns = 64, depth = 256;
  const int64_t k = view.dims[0], n = view.dims[1], size = getDTypeBytes(view.dtype);
  const int64_t pitch = (k + width - 1) / width * width * size;
  auto copy = size == 1 ? copyColumn<1> : size == 2 ? copyColumn<2> : size == 4 ? copyColumn<4> : copyColumn<8>;
  std::vector<char> rows(static_cast<size_t>(columns * pitch));
  for (int64_t first = 0; first < n; first += columns) {
    const int64_t count = std::min(columns, n - first);
    for (int64_t i = 0; i < k; i += depth)
      for (int64_t j = 0; j < count; ++j)
        copy(rows.data() + j * pitch + i * size,
             view.data + (i * view.strides[0] + (first + j) * view.strides[1]) * size, std::min(depth, k - i),
             view.strides[0]);
    if (!sink(rows.data(), static_cast<size_t>(count * pitch)))
      return false;
  }
  return true;
}

bool recipe::writeSteps(const View &view, int64_t width, int64_t group, int64_t shift, const RecipeSink &sink) {
  int64_t k = view.dims[0], n = view.dims[1], header = shift ? 4 * width : 0, row = width * group;
  std::vector<char> panel(static_cast<size_t>(header + (k + group - 1) / group * row));
  for (int64_t first = 0; first < n; first += width) {
    std::fill(panel.begin(), panel.end(), 0);
    for (int64_t j = 0; j < std::min(width, n - first); ++j) {
      const char *column = view.data + (first + j) * view.strides[1];
      char *to = panel.data() + header + j * group;
      int32_t sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        char q = column[i * view.strides[0]];
        sum += static_cast<signed char>(q);
        to[i / group * row + i % group] = q;
      }
      sum = static_cast<int32_t>(-shift * sum);
      if (shift)
        std::memcpy(panel.data() + 4 * j, &sum, 4);
    }
    if (!sink(panel.data(), panel.size()))
      return false;
  }
  return true;
}

bool recipe::writeGroups(const View &q, const View &scale, const View *zero, int64_t width, int64_t offset,
                         const RecipeSink &sink) {
  const int64_t groups = q.dims[0], group = q.dims[1], n = q.dims[2], header = width * (zero ? 8 : 4);
  const int64_t blockBytes = header + width * group / 2;
  std::vector<char> panel(static_cast<size_t>(groups * blockBytes));
  for (int64_t first = 0; first < n; first += width) {
    std::fill(panel.begin(), panel.end(), 0);
    for (int64_t g = 0; g < groups; ++g) {
      char *block = panel.data() + g * blockBytes;
      for (int64_t j = 0; j < std::min(width, n - first); ++j) {
        int64_t column = first + j;
        std::memcpy(block + 4 * j, scale.data + 4 * (g * scale.strides[0] + column * scale.strides[2]), 4);
        if (zero) {
          char z = zero->data[g * zero->strides[0] + column * zero->strides[2]];
          int value = zero->dtype == LLMOPT_I4 ? static_cast<signed char>(z) : static_cast<unsigned char>(z);
          auto stored = static_cast<float>(value + offset);
          std::memcpy(block + 4 * (width + j), &stored, 4);
        }
        for (int64_t k = 0; k < group; ++k) {
          int64_t nibble = q.data[g * q.strides[0] + k * q.strides[1] + column * q.strides[2]] + offset;
          char &to = block[header + (k / 8 * width + j) * 4 + k % 4];
          to = static_cast<char>(to | (nibble & 15) << (k % 8 < 4 ? 0 : 4));
        }
      }
    }
    if (!sink(panel.data(), panel.size()))
      return false;
  }
  return true;
}

/// Hands rows to a sink, some of them at a time, and then zeros up to 16 bytes.
template <typename Fill> static bool writePart(int64_t rows, int64_t pitch, const RecipeSink &sink, Fill fill) {
  const int64_t atOnce = std::max<int64_t>(1, (int64_t(1) << 20) / std::max<int64_t>(pitch, 1));
  std::vector<char> piece;
  for (int64_t first = 0; first < rows; first += atOnce) {
    const int64_t count = std::min(atOnce, rows - first);
    piece.assign(static_cast<size_t>(count * pitch), 0);
    for (int64_t j = 0; j < count; ++j)
      fill(first + j, piece.data() + j * pitch);
    if (!sink(piece.data(), piece.size()))
      return false;
  }
  piece.assign(static_cast<size_t>((16 - rows * pitch % 16) % 16), 0);
  return piece.empty() || sink(piece.data(), piece.size());
}

/// Puts the low half of `value` where nibble `i` of a row lies.
static void setNibble(char *row, int64_t i, int64_t value) {
  char &to = row[i / 2];
  to = static_cast<char>(to | (value & 15) << (i % 2 ? 4 : 0));
}

bool recipe::writeGroupRows(const View &q, const View &scale, const View *zero, int64_t offset,
                            const RecipeSink &sink) {
  const int64_t groups = q.dims[0], group = q.dims[1], n = q.dims[2], scaleBytes = getDTypeBytes(scale.dtype);
  return writePart(n, groups * group / 2, sink,
                   [&](int64_t column, char *row) {
                     for (int64_t g = 0; g < groups; ++g) {
                       const char *from = q.data + g * q.strides[0] + column * q.strides[2];
                       for (int64_t k = 0; k < group; ++k)
                         setNibble(row, g * group + k, from[k * q.strides[1]] + offset);
                     }
                   }) &&
         writePart(n, groups * scaleBytes, sink,
                   [&](int64_t column, char *row) {
                     for (int64_t g = 0; g < groups; ++g)
                       std::memcpy(row + g * scaleBytes,
                                   scale.data + scaleBytes * (g * scale.strides[0] + column * scale.strides[2]),
                                   static_cast<size_t>(scaleBytes));
                   }) &&
         (!zero || writePart(n, (groups + 1) / 2, sink, [&](int64_t column, char *row) {
           for (int64_t g = 0; g < groups; ++g)
             setNibble(row, g, zero->data[g * zero->strides[0] + column * zero->strides[2]] + offset);
         }));
}

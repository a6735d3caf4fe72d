/* Runs NEON kernels against plain f64 loops; see AArch64Test.cpp. */
#include "formulas.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define KERNEL(name)                                                           \
  void name(void *const *args, const int64_t *dims, int64_t tile, void *scratch)
KERNEL(gemm);
KERNEL(matmul);
KERNEL(attention);
KERNEL(norm);
KERNEL(tanh_map);
KERNEL(gemm_int8);
KERNEL(quantize_rows);
KERNEL(gemm_int4);
KERNEL(gemm_float_int4);

static uint32_t state = 1;
static float *fill(int64_t n, float scale) {
  float *p = aligned_alloc(64, (n * 4 + 127) / 64 * 64);
  for (int64_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    p[i] = scale * ((int32_t)state / 2147483648.0f);
  }
  return p;
}
static int failures;
static void compare(const char *what, int64_t size, const float *a,
                    const double *b, int64_t n, double limit) {
  double error = 0, scale = 1e-6;
  for (int64_t i = 0; i < n; ++i)
    scale = fmax(scale, fabs(b[i]));
  for (int64_t i = 0; i < n; ++i)
    error = fabs(a[i] - b[i]) <= 1e30 ? fmax(error, fabs(a[i] - b[i]) / scale)
                                      : INFINITY;
  if (!(error <= limit)) {
    fprintf(stderr, "%s, size %ld: error %g\n", what, (long)size, error);
    ++failures;
  }
}
typedef KERNEL(kernel_fn);
static void run(kernel_fn *kernel, void *const *args, const int64_t *dims,
                int64_t tiles, int64_t bytes) {
  void *scratch = aligned_alloc(64, (bytes + 127) / 64 * 64);
  while (tiles-- > 0)
    kernel(args, dims, tiles, scratch);
  free(scratch);
}

int main(void) {
  static const int64_t sizes[] = {1, 2, 3, 5, 8, 9, 17, 130};
  for (int s = 0; s < 8; ++s) {
    int64_t m = sizes[s];
    { /* gemm: N 100, K 500, bias, gelu */
      float *a = fill(m * 500, 1), *b = fill(500 * 100, 0.1f),
            *c = fill(m * 100, 1), *bias = fill(100, 1);
      float *packed = calloc((100 + NR) * 500, 4);
      for (int p = 0; p < 500; ++p)
        for (int j = 0; j < 100; ++j)
          packed[(j / NR * 500 + p) * NR + j % NR] = b[p * 100 + j];
      void *args[] = {a, packed, c, bias};
      run(gemm, args, &m, gemm_tiles(&m), gemm_scratch(&m));
      double *want = malloc(m * 100 * 8);
      for (int i = 0; i < m; ++i)
        for (int j = 0; j < 100; ++j) {
          double x = bias[j];
          for (int p = 0; p < 500; ++p)
            x += (double)a[i * 500 + p] * b[p * 100 + j];
          want[i * 100 + j] = 0.5 * x * (1 + erf(x / sqrt(2)));
        }
      compare("gemm", m, c, want, m * 100, 3e-6);
    }
    { /* matmul: N 33, K 37, B transposed */
      int64_t n = 33, k = 37, dims[] = {m, n, k};
      float *a = fill(m * k, 1), *b = fill(n * k, 1), *c = fill(m * n, 1);
      void *args[] = {a, b, c};
      run(matmul, args, dims, matmul_tiles(dims), matmul_scratch(dims));
      double *want = calloc(m * n, 8);
      for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j)
          for (int p = 0; p < k; ++p)
            want[i * n + j] += (double)a[i * k + p] * b[j * k + p];
      compare("matmul", m, c, want, m * n, 3e-6);
    }
    { /* attention: 2 heads of 64 in one QKV buffer, causal, additive mask */
      float *qkv = fill(m * 384, 2), *out = fill(m * 128, 1),
            *mask = calloc(m, 4);
      for (int j = 1; j < m; ++j)
        mask[j] = j % 3 ? 0 : -INFINITY;
      void *args[] = {qkv, out, mask};
      run(attention, args, &m, attention_tiles(&m), attention_scratch(&m));
      double *want = calloc(m * 128, 8);
      for (int h = 0; h < 2; ++h)
        for (int i = 0; i < m; ++i) {
          double w[130], total = 0;
          for (int j = 0; j <= i; ++j) {
            double x = 0;
            for (int d = 0; d < 64; ++d)
              x += (double)qkv[i * 384 + h * 64 + d] *
                   qkv[j * 384 + 128 + h * 64 + d];
            total += w[j] = exp(x * 0.125 + mask[j]);
          }
          for (int j = 0; j <= i; ++j)
            for (int d = 0; d < 64; ++d)
              want[i * 128 + h * 64 + d] +=
                  w[j] / total * qkv[j * 384 + 256 + h * 64 + d];
        }
      compare("attention", m, out, want, m * 128, 5e-6);
    }
    { /* layer norm of 101 */
      float *x = fill(m * 101, 3), *out = fill(m * 101, 1);
      void *args[] = {x, out};
      run(norm, args, &m, norm_tiles(&m), 0);
      double *want = malloc(m * 101 * 8);
      for (int r = 0; r < m; ++r) {
        double mean = 0, variance = 0;
        for (int i = 0; i < 101; ++i)
          mean += x[r * 101 + i] / 101;
        for (int i = 0; i < 101; ++i)
          variance += pow(x[r * 101 + i] - mean, 2) / 101;
        for (int i = 0; i < 101; ++i)
          want[r * 101 + i] = (x[r * 101 + i] - mean) / sqrt(variance + 1e-5);
      }
      compare("norm", m, out, want, m * 101, 5e-6);
    }
    { /* int8: rows of 301 quantized, then N 37; integers must be equal */
      float *x = fill(m * 301, 5), *scale = fill(m, 1), *out = fill(m * 37, 1),
            ones[130];
      int8_t *q = malloc(m * 301), *w = malloc(301 * 37),
             *packed = calloc((37 + INT8_NR) * 302, 1);
      for (int i = 0; i < 130; ++i)
        ones[i] = 1;
      for (int p = 0; p < 301; ++p)
        for (int j = 0; j < 37; ++j) {
          state = state * 1664525u + 1013904223u;
          w[p * 37 + j] = (int8_t)((int)(state >> 8) % 255 - 127);
          packed[((j / INT8_NR * 151 + p / 2) * INT8_NR + j % INT8_NR) * 2 +
                 p % 2] = w[p * 37 + j];
        }
      void *rows[] = {x, q, scale};
      run(quantize_rows, rows, &m, quantize_tiles(&m), 0);
      for (int r = 0; r < m; ++r) {
        float largest = 0;
        for (int i = 0; i < 301; ++i)
          largest = fmaxf(largest, fabsf(x[r * 301 + i]));
        float s = largest / 127.0f;
        int wrong = scale[r] != s;
        for (int i = 0; i < 301; ++i)
          wrong += q[r * 301 + i] != (int)rintf(x[r * 301 + i] / s);
        if (wrong) {
          fprintf(stderr, "quantize_rows, row %d: %d differ\n", r, wrong);
          ++failures;
        }
      }
      void *args[] = {q, ones, packed, ones, out};
      run(gemm_int8, args, &m, int8_tiles(&m), int8_scratch(&m));
      for (int i = 0; i < m; ++i)
        for (int j = 0; j < 37; ++j) {
          int32_t sum = 0;
          for (int p = 0; p < 301; ++p)
            sum += q[i * 301 + p] * w[p * 37 + j];
          if (out[i * 37 + j] != (float)sum) {
            fprintf(stderr, "int8, size %ld: %g for %d\n", (long)m,
                    out[i * 37 + j], sum);
            ++failures;
          }
        }
    }
    { /* int4: N 37, K 128 in groups of 64, by int8 rows and by floats */
      enum { BLOCK = NR * (64 / 2 + 4) };
      float *x = fill(m * 128, 1), *rows = fill(m * 2, 0.01f),
            *out = fill(m * 37, 1), *scale = fill(2 * 37, 0.1f);
      int8_t *q = malloc(m * 128), *u = malloc(128 * 37);
      uint8_t *packed = calloc((37 + NR) / NR * 2, BLOCK);
      for (int i = 0; i < m * 128; ++i)
        q[i] = (int8_t)(x[i] * 127);
      for (int p = 0; p < 128; ++p)
        for (int j = 0; j < 37; ++j) {
          uint8_t *block = packed + (j / NR * 2 + p / 64) * BLOCK;
          state = state * 1664525u + 1013904223u;
          u[p * 37 + j] = state >> 28;
          ((float *)block)[j % NR] = scale[p / 64 * 37 + j];
          block[NR * 4 + (p % 64 / 8 * NR + j % NR) * 4 + p % 4] |=
              (state >> 28) << (p % 8 < 4 ? 0 : 4);
        }
      void *args[] = {q, rows, packed, out};
      run(gemm_int4, args, &m, int4_tiles(&m), int4_scratch(&m));
      double *want = malloc(m * 37 * 8);
      for (int i = 0; i < m; ++i)
        for (int j = 0; j < 37; ++j) {
          double y = 0;
          for (int g = 0; g < 2; ++g) {
            int32_t sum = 0;
            for (int p = g * 64; p < g * 64 + 64; ++p)
              sum += q[i * 128 + p] * (u[p * 37 + j] - 8);
            y += (double)rows[i * 2 + g] * scale[g * 37 + j] * sum;
          }
          want[i * 37 + j] = y;
        }
      compare("int4", m, out, want, m * 37, 2e-6);
      void *floats[] = {x, packed, out};
      run(gemm_float_int4, floats, &m, float_int4_tiles(&m),
          float_int4_scratch(&m));
      for (int i = 0; i < m; ++i)
        for (int j = 0; j < 37; ++j) {
          double y = 0;
          for (int p = 0; p < 128; ++p)
            y += (double)x[i * 128 + p] * (u[p * 37 + j] - 8) *
                 scale[p / 64 * 37 + j];
          want[i * 37 + j] = y;
        }
      compare("float x int4", m, out, want, m * 37, 5e-6);
    }
    { /* tanh */
      float *x = fill(m, 4), *out = fill(m, 1);
      void *args[] = {x, out};
      run(tanh_map, args, &m, 1, 0);
      double *want = malloc(m * 8);
      for (int i = 0; i < m; ++i)
        want[i] = tanh(x[i]);
      compare("tanh", m, out, want, m, 5e-7);
    }
  }
  return failures != 0;
}

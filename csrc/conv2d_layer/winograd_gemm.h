// The products between Winograd's transforms.
#pragma once
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

// A product of kRows rows by up to kVectors vectors stays in registers.
constexpr int kRows = kVectorBytes == 64 ? 8 : 4, kVectors = 3;

// m[r][..] (+)= sum over k of a[r * a_row + k * a_step] * v[k * v_step ..], with `vectors` vectors a row.
template <int vectors>
FASTGAN_INLINE void multiply_rows(const float* a, int64_t a_row, int64_t a_step, const float* v, int64_t v_step,
                                  int64_t depth, float* m, int64_t m_row, bool add) {
  constexpr int L = Vec<float>::size;
  Vec<float> sum[kRows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int j = 0; j < vectors; ++j) sum[r][j] = add ? load(m + r * m_row + j * L) : Vec<float>(0.0f);
  for (int64_t k = 0; k < depth; ++k, a += a_step, v += v_step) {
    Vec<float> row[vectors];
#pragma GCC unroll 3
    for (int j = 0; j < vectors; ++j) row[j] = load(v + j * L);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec<float> factor(a[r * a_row]);
#pragma GCC unroll 3
      for (int j = 0; j < vectors; ++j) sum[r][j] = factor * row[j] + sum[r][j];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int j = 0; j < vectors; ++j) store(sum[r][j], m + r * m_row + j * L);
}

// Turns the rows of a square of numbers, each a vector right behind the one before, into columns: row r goes to
// to + r * step.
FASTGAN_INLINE void transpose(const float* from, float* to, int64_t step) {
  constexpr int L = Vec<float>::size;
  Vec<float> a[L], b[L];
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) a[i] = load(from + i * L);
#pragma GCC unroll 4
  for (int half = 1; half < L; half *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < L / 2; ++i) interleave(a[i], a[i + L / 2], b[2 * i], b[2 * i + 1]);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) a[i] = b[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) store(a[i], to + i * step);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

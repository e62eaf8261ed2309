// The products between Winograd's transforms.
#pragma once
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

// A product of kRows rows by up to kVectors vectors stays in registers.
constexpr int kRows = kVectorBytes == 64 ? 8 : 4, kVectors = 3;

// m[r][..] (+)= sum over k of a[r * a_row + k * a_step] * v[k * v_step ..], with `vectors` vectors a row. What is added
// to is added last: sums of sums lose less than long ones.
template <int vectors>
FASTGAN_INLINE void multiply_rows(const float* a, int64_t a_row, int64_t a_step, const float* v, int64_t v_step,
                                  int64_t depth, float* m, int64_t m_row, bool add) {
  constexpr int L = Vec<float>::size;
  Vec<float> sum[kRows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int j = 0; j < vectors; ++j) sum[r][j] = Vec<float>(0.0f);
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
    for (int j = 0; j < vectors; ++j) {
      float* const to = m + r * m_row + j * L;
      store(add ? load(to) + sum[r][j] : sum[r][j], to);
    }
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// The matrices of Winograd's F(m x m, 3x3) as formulas on vectors: lanes are tiles, or channels.
#pragma once
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

// Points 0, 1, -1, infinity.
struct Winograd2 {
  using V = Vec<float>;
  static constexpr int m = 2, size = 4;
  // B^T
  static FASTGAN_INLINE void data(const V (&d)[4], V (&to)[4]) {
    to[0] = d[0] - d[2];
    to[1] = d[2] + d[1];
    to[2] = d[2] - d[1];
    to[3] = d[3] - d[1];
  }
  // G and G^T
  static FASTGAN_INLINE void filter(const V (&g)[3], V (&to)[4]) {
    const V even = (g[0] + g[2]) * 0.5f, odd = g[1] * 0.5f;
    to[0] = g[0];
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = g[2];
  }
  static FASTGAN_INLINE void filter_gradient(const V (&du)[4], V (&to)[3]) {
    const V even = (du[1] + du[2]) * 0.5f;
    to[0] = du[0] + even;
    to[1] = (du[1] - du[2]) * 0.5f;
    to[2] = du[3] + even;
  }
  // A^T and A
  static FASTGAN_INLINE void output(const V (&u)[4], V (&to)[2]) {
    to[0] = u[0] + u[1] + u[2];
    to[1] = u[1] - u[2] + u[3];
  }
  static FASTGAN_INLINE void output_gradient(const V (&dy)[2], V (&to)[4]) {
    to[0] = dy[0];
    to[1] = dy[0] + dy[1];
    to[2] = dy[0] - dy[1];
    to[3] = dy[1];
  }
};

// Points 0, a, -a, b, -b, infinity.
struct Winograd4 {
  using V = Vec<float>;
  static constexpr int m = 4, size = 6;
  static constexpr float a = 0.625f, b = 1.5f, aa = a * a, bb = b * b, aaa = aa * a, bbb = bb * b;
  // 1 / the product of a point's distances from the others: of 0, of +-a, of +-b
  static constexpr float n0 = float(1 / (double(aa) * bb)), na = float(1 / (2.0 * aa * (double(aa) - bb))),
                         nb = float(1 / (2.0 * bb * (double(bb) - aa)));

  static FASTGAN_INLINE void data(const V (&d)[6], V (&to)[6]) {
    const V even_a = d[4] - bb * d[2], odd_a = a * (d[3] - bb * d[1]);
    const V even_b = d[4] - aa * d[2], odd_b = b * (d[3] - aa * d[1]);
    to[0] = (aa * bb) * d[0] + (d[4] - (aa + bb) * d[2]);
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = (aa * bb) * d[1] + (d[5] - (aa + bb) * d[3]);
  }
  static FASTGAN_INLINE void filter(const V (&g)[3], V (&to)[6]) {
    const V even_a = na * (g[0] + aa * g[2]), odd_a = (na * a) * g[1];
    const V even_b = nb * (g[0] + bb * g[2]), odd_b = (nb * b) * g[1];
    to[0] = n0 * g[0];
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = g[2];
  }
  static FASTGAN_INLINE void filter_gradient(const V (&du)[6], V (&to)[3]) {
    const V even_a = na * (du[1] + du[2]), odd_a = (na * a) * (du[1] - du[2]);
    const V even_b = nb * (du[3] + du[4]), odd_b = (nb * b) * (du[3] - du[4]);
    to[0] = n0 * du[0] + (even_a + even_b);
    to[1] = odd_a + odd_b;
    to[2] = aa * even_a + (bb * even_b + du[5]);
  }
  static FASTGAN_INLINE void output(const V (&u)[6], V (&to)[4]) {
    const V even_a = u[1] + u[2], odd_a = u[1] - u[2], even_b = u[3] + u[4], odd_b = u[3] - u[4];
    to[0] = u[0] + (even_a + even_b);
    to[1] = a * odd_a + b * odd_b;
    to[2] = aa * even_a + bb * even_b;
    to[3] = aaa * odd_a + (bbb * odd_b + u[5]);
  }
  static FASTGAN_INLINE void output_gradient(const V (&dy)[4], V (&to)[6]) {
    const V even_a = dy[0] + aa * dy[2], odd_a = a * dy[1] + aaa * dy[3];
    const V even_b = dy[0] + bb * dy[2], odd_b = b * dy[1] + bbb * dy[3];
    to[0] = dy[0];
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = dy[3];
  }
};

// What tiles read: patches of the input that overlap by 2, or of the gradient of the output that do not.
template <class F>
struct DataPatch {
  using Form = F;
  static constexpr int rows = F::size, overlap = 2;
  static FASTGAN_INLINE void transform(const Vec<float> (&d)[rows], Vec<float> (&to)[F::size]) { F::data(d, to); }
};
template <class F>
struct GradientPatch {
  using Form = F;
  static constexpr int rows = F::m, overlap = 0;
  static FASTGAN_INLINE void transform(const Vec<float> (&d)[rows], Vec<float> (&to)[F::size]) {
    F::output_gradient(d, to);
  }
};

// Lanes [from, to) of the vector at p; the others are 0 and their memory is not touched.
FASTGAN_INLINE Vec<float> load_between(const float* p, int64_t from, int64_t to) {
  constexpr int L = Vec<float>::size;
  if (from <= 0 && to >= L) return load(p);
#if FASTGAN_VECTOR_BYTES == 64
  const auto below = [](int64_t count) { return count >= L ? 0xFFFFu : count <= 0 ? 0u : (1u << count) - 1; };
  return Vec<float>((Vec<float>::Raw)_mm512_maskz_loadu_ps(__mmask16(below(to) & ~below(from)), p));
#else
  float lanes[L] = {};
  for (int64_t i = from > 0 ? from : 0; i < (to < L ? to : L); ++i) lanes[i] = p[i];
  return load(lanes);
#endif
}

// The first `count` lanes.
FASTGAN_INLINE void store_first(Vec<float> v, float* p, int64_t count) {
  constexpr int L = Vec<float>::size;
  if (count >= L) return store(v, p);
#if FASTGAN_VECTOR_BYTES == 64
  _mm512_mask_storeu_ps(p, __mmask16(count <= 0 ? 0u : (1u << count) - 1), (__m512)v.v);
#else
  float lanes[L];
  store(v, lanes);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
#endif
}

// phase[k] = the elements k, k + m, k + 2m, ... of the m vectors at p, and its inverse.
FASTGAN_INLINE void split_phases(const float* p, Vec<float> (&phase)[2]) {
  deinterleave(load(p), load(p + Vec<float>::size), phase[0], phase[1]);
}
FASTGAN_INLINE void split_phases(const float* p, Vec<float> (&phase)[4]) {
  Vec<float> even[2], odd[2];
  deinterleave(load(p), load(p + Vec<float>::size), even[0], odd[0]);
  deinterleave(load(p + 2 * Vec<float>::size), load(p + 3 * Vec<float>::size), even[1], odd[1]);
  deinterleave(even[0], even[1], phase[0], phase[2]);
  deinterleave(odd[0], odd[1], phase[1], phase[3]);
}
FASTGAN_INLINE void join_phases(const Vec<float> (&phase)[2], float* p) {
  Vec<float> low, high;
  interleave(phase[0], phase[1], low, high);
  store(low, p);
  store(high, p + Vec<float>::size);
}
FASTGAN_INLINE void join_phases(const Vec<float> (&phase)[4], float* p) {
  Vec<float> even[2], odd[2], low, high;
  interleave(phase[0], phase[2], even[0], even[1]);
  interleave(phase[1], phase[3], odd[0], odd[1]);
  for (int i = 0; i < 2; ++i) {
    interleave(even[i], odd[i], low, high);
    store(low, p + 2 * i * Vec<float>::size);
    store(high, p + (2 * i + 1) * Vec<float>::size);
  }
}

// Makes columns of up to a vector of rows, of which `columns` numbers are read: column c goes to to + c * to_step, a
// whole vector each. What there is none of becomes 0.
FASTGAN_INLINE void transpose(const float* from, int64_t from_step, int rows, int64_t columns, float* to,
                              int64_t to_step) {
  constexpr int L = Vec<float>::size;
  Vec<float> a[L], b[L];
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) a[i] = i < rows ? load_between(from + i * from_step, 0, columns) : Vec<float>(0.0f);
#pragma GCC unroll 4
  for (int half = 1; half < L; half *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < L / 2; ++i) interleave(a[i], a[i + L / 2], b[2 * i], b[2 * i + 1]);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) a[i] = b[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) store(a[i], to + i * to_step);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

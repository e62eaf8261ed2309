// The matrices of Winograd's filtering as formulas on vectors: lanes are tiles, or channels.
#pragma once
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

// A form says of one axis:
//   step, rows   input numbers from one tile to the next, and of one tile's patch
//   out          output numbers of a tile
//   size         products of a tile
//   filters      transformed filters; product k is with number filter_of(k)
// F(m, 3), stride 1
template <int m>
struct SameRate {
  using V = Vec<float>;
  static constexpr int step = m, rows = m + 2, out = m, size = m + 2, filters = m + 2;
  static constexpr int filter_of(int k) { return k; }
};

// Points 0, 1, -1, infinity.
struct Winograd2 : SameRate<2> {
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
struct Winograd4 : SameRate<4> {
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

// Stride 2, as winograd.h has it: F(4, 2) with the points a, -a, b, -b, infinity on even samples, odd ones as they are.
struct WinogradDown4 {
  using V = Vec<float>;
  static constexpr int step = 8, rows = 9, out = 4, size = 9, filters = 6;
  static constexpr int filter_of(int k) { return k < 5 ? k : 5; }
  static constexpr float a = 0.375f, b = 1.375f, aa = a * a, bb = b * b, aaa = aa * a, bbb = bb * b;
  // 1 / the product of a point's distances from the others: of a, of b
  static constexpr float na = float(1 / (2.0 * a * (double(aa) - bb))), nb = float(1 / (2.0 * b * (double(bb) - aa)));

  static FASTGAN_INLINE void data(const V (&d)[9], V (&to)[9]) {
    const V even_a = a * (d[4] - bb * d[0]), odd_a = d[6] - bb * d[2];
    const V even_b = b * (d[4] - aa * d[0]), odd_b = d[6] - aa * d[2];
    to[0] = odd_a + even_a;
    to[1] = odd_a - even_a;
    to[2] = odd_b + even_b;
    to[3] = odd_b - even_b;
    to[4] = (aa * bb) * d[0] + (d[8] - (aa + bb) * d[4]);
    for (int j = 0; j < 4; ++j) to[5 + j] = d[2 * j + 1];
  }
  static FASTGAN_INLINE void filter(const V (&g)[3], V (&to)[6]) {
    const V even_a = na * g[0], odd_a = (na * a) * g[2], even_b = nb * g[0], odd_b = (nb * b) * g[2];
    to[0] = even_a + odd_a;
    to[1] = odd_a - even_a;
    to[2] = even_b + odd_b;
    to[3] = odd_b - even_b;
    to[4] = g[2];
    to[5] = g[1];
  }
  static FASTGAN_INLINE void filter_gradient(const V (&du)[6], V (&to)[3]) {
    to[0] = na * (du[0] - du[1]) + nb * (du[2] - du[3]);
    to[1] = du[5];
    to[2] = (na * a) * (du[0] + du[1]) + ((nb * b) * (du[2] + du[3]) + du[4]);
  }
  static FASTGAN_INLINE void output(const V (&u)[9], V (&to)[4]) {
    const V even_a = u[0] + u[1], odd_a = u[0] - u[1], even_b = u[2] + u[3], odd_b = u[2] - u[3];
    to[0] = even_a + even_b + u[5];
    to[1] = a * odd_a + (b * odd_b + u[6]);
    to[2] = aa * even_a + (bb * even_b + u[7]);
    to[3] = aaa * odd_a + (bbb * odd_b + (u[4] + u[8]));
  }
  static FASTGAN_INLINE void output_gradient(const V (&dy)[4], V (&to)[9]) {
    const V even_a = dy[0] + aa * dy[2], odd_a = a * dy[1] + aaa * dy[3];
    const V even_b = dy[0] + bb * dy[2], odd_b = b * dy[1] + bbb * dy[3];
    to[0] = even_a + odd_a;
    to[1] = even_a - odd_a;
    to[2] = even_b + odd_b;
    to[3] = even_b - odd_b;
    to[4] = dy[3];
    for (int j = 0; j < 4; ++j) to[5 + j] = dy[j];
  }
};

// Zeros between samples, as winograd.h has it: F(3, 2) with the points 0, 1, -1, infinity gives even results, the tap in
// the middle odd ones.
struct WinogradUp3 {
  using V = Vec<float>;
  static constexpr int step = 3, rows = 4, out = 6, size = 7, filters = 5;
  static constexpr int filter_of(int k) { return k < 4 ? k : 4; }

  static FASTGAN_INLINE void data(const V (&d)[4], V (&to)[7]) {
    to[0] = d[0] - d[2];
    to[1] = d[2] + d[1];
    to[2] = d[2] - d[1];
    to[3] = d[3] - d[1];
    for (int j = 0; j < 3; ++j) to[4 + j] = d[j + 1];
  }
  static FASTGAN_INLINE void filter(const V (&g)[3], V (&to)[5]) {
    to[0] = g[0];
    to[1] = (g[0] + g[2]) * 0.5f;
    to[2] = (g[0] - g[2]) * 0.5f;
    to[3] = g[2];
    to[4] = g[1];
  }
  static FASTGAN_INLINE void filter_gradient(const V (&du)[5], V (&to)[3]) {
    to[0] = du[0] + (du[1] + du[2]) * 0.5f;
    to[1] = du[4];
    to[2] = du[3] + (du[1] - du[2]) * 0.5f;
  }
  static FASTGAN_INLINE void output(const V (&u)[7], V (&to)[6]) {
    to[0] = u[0] + (u[1] + u[2]);
    to[2] = u[1] - u[2];
    to[4] = u[1] + u[2] + u[3];
    for (int j = 0; j < 3; ++j) to[2 * j + 1] = u[4 + j];
  }
  static FASTGAN_INLINE void output_gradient(const V (&dy)[6], V (&to)[7]) {
    const V outer = dy[0] + dy[4];
    to[0] = dy[0];
    to[1] = outer + dy[2];
    to[2] = outer - dy[2];
    to[3] = dy[4];
    for (int j = 0; j < 3; ++j) to[4 + j] = dy[2 * j + 1];
  }
};

// What tiles read: patches of the input, which overlap, or of the gradient of the output, which do not.
template <class F>
struct DataPatch {
  using Form = F;
  static constexpr int step = F::step, rows = F::rows;
  static FASTGAN_INLINE void transform(const Vec<float> (&d)[rows], Vec<float> (&to)[F::size]) { F::data(d, to); }
};
template <class F>
struct GradientPatch {
  using Form = F;
  static constexpr int step = F::out, rows = F::out;
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

// phase[k] = the numbers k, k + n, k + 2n, ... of the n vectors at p, and its inverse. Without arrays that are copied:
// GCC copies their halves, and a load waits long for two stores.
template <int n>
FASTGAN_INLINE void load_phases(const float* p, Vec<float>* phase) {
  static_assert(n == 2 || n == 3 || n == 4 || n == 6 || n == 8);
  using V = Vec<float>;
  const auto at = [&](int i) { return load(p + i * V::size); };
  const auto four = [](V a, V b, V c, V d, V& k0, V& k1, V& k2, V& k3) {
    V even0, odd0, even1, odd1;
    deinterleave(a, b, even0, odd0), deinterleave(c, d, even1, odd1);
    deinterleave(even0, even1, k0, k2), deinterleave(odd0, odd1, k1, k3);
  };
  if constexpr (n == 2) deinterleave(at(0), at(1), phase[0], phase[1]);
  if constexpr (n == 3) VectorThirds::split(at(0), at(1), at(2), phase[0], phase[1], phase[2]);
  if constexpr (n == 4) four(at(0), at(1), at(2), at(3), phase[0], phase[1], phase[2], phase[3]);
  if constexpr (n == 6) {
    V e0, o0, e1, o1, e2, o2;
    deinterleave(at(0), at(1), e0, o0), deinterleave(at(2), at(3), e1, o1), deinterleave(at(4), at(5), e2, o2);
    VectorThirds::split(e0, e1, e2, phase[0], phase[2], phase[4]);
    VectorThirds::split(o0, o1, o2, phase[1], phase[3], phase[5]);
  }
  if constexpr (n == 8) {
    V e0, o0, e1, o1, e2, o2, e3, o3;
    deinterleave(at(0), at(1), e0, o0), deinterleave(at(2), at(3), e1, o1);
    deinterleave(at(4), at(5), e2, o2), deinterleave(at(6), at(7), e3, o3);
    four(e0, e1, e2, e3, phase[0], phase[2], phase[4], phase[6]);
    four(o0, o1, o2, o3, phase[1], phase[3], phase[5], phase[7]);
  }
}
template <int n>
FASTGAN_INLINE void store_phases(const Vec<float> (&phase)[n], float* p) {
  static_assert(n == 2 || n == 4 || n == 6);
  using V = Vec<float>;
  const auto put = [&](int i, V even, V odd) {
    V low, high;
    interleave(even, odd, low, high);
    store(low, p + 2 * i * V::size);
    store(high, p + (2 * i + 1) * V::size);
  };
  if constexpr (n == 2) put(0, phase[0], phase[1]);
  if constexpr (n == 4) {
    V e0, e1, o0, o1;
    interleave(phase[0], phase[2], e0, e1), interleave(phase[1], phase[3], o0, o1);
    put(0, e0, o0), put(1, e1, o1);
  }
  if constexpr (n == 6) {
    V e0, e1, e2, o0, o1, o2;
    VectorThirds::join(phase[0], phase[2], phase[4], e0, e1, e2);
    VectorThirds::join(phase[1], phase[3], phase[5], o0, o1, o2);
    put(0, e0, o0), put(1, e1, o1), put(2, e2, o2);
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

// Vec<A>: as many floats or doubles as one register of the instruction set holds. Formulas written on a template
// parameter V run on Vec<float>, Vec<double> and on plain numbers alike.
#pragma once
#include <cstdint>
#include <utility>

#include "common/halves.h"
#include "common/isa.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fastgan {
namespace FASTGAN_ISA {

#if defined(__AVX512F__)
#define FASTGAN_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define FASTGAN_VECTOR_BYTES 32
#else
#define FASTGAN_VECTOR_BYTES 16
#endif
constexpr int kVectorBytes = FASTGAN_VECTOR_BYTES;

template <class A>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float Raw __attribute__((vector_size(kVectorBytes)));
  typedef int32_t Int;
  typedef Int IntRaw __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Lanes<double> {
  typedef double Raw __attribute__((vector_size(kVectorBytes)));
  typedef int64_t Int;
  typedef Int IntRaw __attribute__((vector_size(kVectorBytes)));
};

template <class A>
struct Mask {
  using Int = typename Lanes<A>::Int;
  using Raw = typename Lanes<A>::IntRaw;
  Raw m;  // lanes are 0 or -1
};

template <class A>
struct Vec {
  using Scalar = A;
  using Raw = typename Lanes<A>::Raw;
  static constexpr int size = kVectorBytes / int(sizeof(A));
  Raw v;

  Vec() = default;
  FASTGAN_INLINE Vec(Raw raw) : v(raw) {}
  FASTGAN_INLINE Vec(A scalar) : v(scalar - Raw{}) {}  // x - 0 is x, also for -0
  FASTGAN_INLINE Vec& operator+=(Vec o) {
    v += o.v;
    return *this;
  }
};

#define FASTGAN_VEC_OPERATOR(op)                                                                  \
  template <class A>                                                                              \
  FASTGAN_INLINE Vec<A> operator op(Vec<A> a, Vec<A> b) {                                         \
    return Vec<A>(a.v op b.v);                                                                    \
  }                                                                                               \
  template <class A>                                                                              \
  FASTGAN_INLINE Vec<A> operator op(Vec<A> a, typename Vec<A>::Scalar b) {                        \
    return a op Vec<A>(b);                                                                        \
  }                                                                                               \
  template <class A>                                                                              \
  FASTGAN_INLINE Vec<A> operator op(typename Vec<A>::Scalar a, Vec<A> b) {                        \
    return Vec<A>(a) op b;                                                                        \
  }
FASTGAN_VEC_OPERATOR(+)
FASTGAN_VEC_OPERATOR(-)
FASTGAN_VEC_OPERATOR(*)
FASTGAN_VEC_OPERATOR(/)
#undef FASTGAN_VEC_OPERATOR

#define FASTGAN_VEC_COMPARISON(op)                                                                \
  template <class A>                                                                              \
  FASTGAN_INLINE Mask<A> operator op(Vec<A> a, Vec<A> b) {                                        \
    return Mask<A>{a.v op b.v};                                                                   \
  }                                                                                               \
  template <class A>                                                                              \
  FASTGAN_INLINE Mask<A> operator op(Vec<A> a, typename Vec<A>::Scalar b) {                       \
    return a op Vec<A>(b);                                                                        \
  }
FASTGAN_VEC_COMPARISON(>)
FASTGAN_VEC_COMPARISON(<)
FASTGAN_VEC_COMPARISON(<=)
FASTGAN_VEC_COMPARISON(==)
#undef FASTGAN_VEC_COMPARISON

template <class A>
FASTGAN_INLINE Vec<A> operator-(Vec<A> a) {
  return Vec<A>(-a.v);
}
template <class A>
FASTGAN_INLINE Mask<A> operator|(Mask<A> a, Mask<A> b) {
  return Mask<A>{a.m | b.m};
}
template <class A>
FASTGAN_INLINE Mask<A> operator&(Mask<A> a, Mask<A> b) {
  return Mask<A>{a.m & b.m};
}
template <class A>
FASTGAN_INLINE Mask<A> operator!(Mask<A> a) {
  return Mask<A>{~a.m};
}
template <class A>
FASTGAN_INLINE Vec<A> select(Mask<A> condition, Vec<A> yes, Vec<A> no) {
  return Vec<A>(condition.m ? yes.v : no.v);
}
template <class A>
FASTGAN_INLINE Vec<A> abs(Vec<A> a) {
  using Raw = typename Mask<A>::Raw;
  return Vec<A>((typename Vec<A>::Raw)((Raw)a.v & ~(Raw)Vec<A>(A(-0.0)).v));
}
// A NaN in b is kept.
template <class A>
FASTGAN_INLINE Vec<A> min(Vec<A> a, Vec<A> b) {
  return select(a < b, a, b);
}
template <class A>
FASTGAN_INLINE Vec<A> max(Vec<A> a, Vec<A> b) {
  return select(a > b, a, b);
}

template <class A>
FASTGAN_INLINE Vec<A> load(const A* p) {
  Vec<A> r;
  __builtin_memcpy(&r.v, p, sizeof(r.v));
  return r;
}
template <class A>
FASTGAN_INLINE void store(Vec<A> a, A* p) {
  __builtin_memcpy(p, &a.v, sizeof(a.v));
}

#if FASTGAN_VECTOR_BYTES == 64
FASTGAN_INLINE Vec<float> load(const Half* p) {
  return Vec<float>((Vec<float>::Raw)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
FASTGAN_INLINE void store(Vec<float> a, Half* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)a.v, _MM_FROUND_TO_NEAREST_INT));
}
FASTGAN_INLINE Vec<float> load(const BFloat16* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return Vec<float>((Vec<float>::Raw)_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
}
FASTGAN_INLINE void store(Vec<float> a, BFloat16* p) {
  const __m512i u = _mm512_castps_si512((__m512)a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask((__m512)a.v, (__m512)a.v, _CMP_UNORD_Q);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(r, nan, _mm512_set1_epi32(0x7FC0))));
}
#elif FASTGAN_VECTOR_BYTES == 32
FASTGAN_INLINE Vec<float> load(const Half* p) {
  return Vec<float>((Vec<float>::Raw)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
FASTGAN_INLINE void store(Vec<float> a, Half* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)a.v, _MM_FROUND_TO_NEAREST_INT));
}
FASTGAN_INLINE Vec<float> load(const BFloat16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return Vec<float>((Vec<float>::Raw)_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
}
FASTGAN_INLINE void store(Vec<float> a, BFloat16* p) {
  const __m256i u = _mm256_castps_si256((__m256)a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i r = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps((__m256)a.v, (__m256)a.v, _CMP_UNORD_Q));
  r = _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7FC0), nan);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
#else
template <class H>
FASTGAN_INLINE Vec<float> load_lanes(const H* p) {
  Vec<float> r;
  for (int i = 0; i < Vec<float>::size; ++i) r.v[i] = widen(p[i]);
  return r;
}
template <class H>
FASTGAN_INLINE void store_lanes(Vec<float> a, H* p) {
  for (int i = 0; i < Vec<float>::size; ++i) narrow(a.v[i], p[i]);
}
FASTGAN_INLINE Vec<float> load(const Half* p) { return load_lanes(p); }
FASTGAN_INLINE Vec<float> load(const BFloat16* p) { return load_lanes(p); }
FASTGAN_INLINE void store(Vec<float> a, Half* p) { store_lanes(a, p); }
FASTGAN_INLINE void store(Vec<float> a, BFloat16* p) { store_lanes(a, p); }
#endif

// The sum of the lanes, added in pairs: always in the same order.
template <class A>
FASTGAN_INLINE A sum_lanes(Vec<A> a) {
  A lane[Vec<A>::size];
  store(a, lane);
  for (int width = Vec<A>::size / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

// a0 b0 a1 b1 ... in two registers, and its inverse, by lists of lanes of both registers.
#if defined(__clang__)
#define FASTGAN_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FASTGAN_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Index{__VA_ARGS__})
#endif
#define FASTGAN_INTERLEAVES(A, low_lanes, high_lanes, even_lanes, odd_lanes)                      \
  FASTGAN_INLINE void interleave(Vec<A> a, Vec<A> b, Vec<A>& low, Vec<A>& high) {                 \
    using Index [[maybe_unused]] = Mask<A>::Raw;                                                  \
    low.v = FASTGAN_SHUFFLE(a.v, b.v, low_lanes);                                                 \
    high.v = FASTGAN_SHUFFLE(a.v, b.v, high_lanes);                                               \
  }                                                                                               \
  FASTGAN_INLINE void deinterleave(Vec<A> low, Vec<A> high, Vec<A>& even, Vec<A>& odd) {          \
    using Index [[maybe_unused]] = Mask<A>::Raw;                                                  \
    even.v = FASTGAN_SHUFFLE(low.v, high.v, even_lanes);                                          \
    odd.v = FASTGAN_SHUFFLE(low.v, high.v, odd_lanes);                                            \
  }
#define FASTGAN_LANES(...) __VA_ARGS__
#if FASTGAN_VECTOR_BYTES == 64
FASTGAN_INTERLEAVES(float, FASTGAN_LANES(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                    FASTGAN_LANES(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
                    FASTGAN_LANES(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
                    FASTGAN_LANES(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31))
FASTGAN_INTERLEAVES(double, FASTGAN_LANES(0, 8, 1, 9, 2, 10, 3, 11), FASTGAN_LANES(4, 12, 5, 13, 6, 14, 7, 15),
                    FASTGAN_LANES(0, 2, 4, 6, 8, 10, 12, 14), FASTGAN_LANES(1, 3, 5, 7, 9, 11, 13, 15))
#elif FASTGAN_VECTOR_BYTES == 32
FASTGAN_INTERLEAVES(float, FASTGAN_LANES(0, 8, 1, 9, 2, 10, 3, 11), FASTGAN_LANES(4, 12, 5, 13, 6, 14, 7, 15),
                    FASTGAN_LANES(0, 2, 4, 6, 8, 10, 12, 14), FASTGAN_LANES(1, 3, 5, 7, 9, 11, 13, 15))
FASTGAN_INTERLEAVES(double, FASTGAN_LANES(0, 4, 1, 5), FASTGAN_LANES(2, 6, 3, 7), FASTGAN_LANES(0, 2, 4, 6),
                    FASTGAN_LANES(1, 3, 5, 7))
#else
FASTGAN_INTERLEAVES(float, FASTGAN_LANES(0, 4, 1, 5), FASTGAN_LANES(2, 6, 3, 7), FASTGAN_LANES(0, 2, 4, 6),
                    FASTGAN_LANES(1, 3, 5, 7))
FASTGAN_INTERLEAVES(double, FASTGAN_LANES(0, 2), FASTGAN_LANES(1, 3), FASTGAN_LANES(0, 2), FASTGAN_LANES(1, 3))
#endif
#undef FASTGAN_LANES
#undef FASTGAN_INTERLEAVES

// p0, p1, p2 = every third number of three registers, from the first, second and third on, and its inverse. As 3 does not
// divide the number of lanes, each lane belongs to one of them in one register: a choice of registers by lane, and one
// change of lanes.
template <int... lane>
struct Thirds {
  using V = Vec<float>;
  static constexpr int L = V::size, inverse = L % 3 == 1 ? (2 * L + 1) / 3 : (L + 1) / 3;  // of 3 modulo L
  // Lane i of register (first + step * i) % 3.
  template <int first, int step>
  static FASTGAN_INLINE V choose(V a, V b, V c) {
    using Index [[maybe_unused]] = Mask<float>::Raw;
    const auto two = FASTGAN_SHUFFLE(a.v, b.v, (lane + ((first + step * lane) % 3 == 1 ? L : 0))...);
    return V(FASTGAN_SHUFFLE(two, c.v, (lane + ((first + step * lane) % 3 == 2 ? L : 0))...));
  }
  // Lane i of the result is lane (first + step * i) % L.
  template <int first, int step>
  static FASTGAN_INLINE V permute(V a) {
    using Index [[maybe_unused]] = Mask<float>::Raw;
    return V(FASTGAN_SHUFFLE(a.v, a.v, ((first + step * lane) % L)...));
  }
  static FASTGAN_INLINE void split(V a, V b, V c, V& p0, V& p1, V& p2) {
    // Lane i of register j is of p((L * j + i) % 3), so that of pk is in register (k - i) * L: L * L % 3 is 1.
    p0 = permute<0, 3>(choose<0, 2 * L>(a, b, c));
    p1 = permute<1, 3>(choose<L, 2 * L>(a, b, c));
    p2 = permute<2, 3>(choose<2 * L, 2 * L>(a, b, c));
  }
  static FASTGAN_INLINE void join(V p0, V p1, V p2, V& a, V& b, V& c) {
    p0 = permute<0, inverse>(p0);
    p1 = permute<L * L - inverse, inverse>(p1);
    p2 = permute<L * L - 2 * inverse, inverse>(p2);
    a = choose<0, 1>(p0, p1, p2);
    b = choose<L, 1>(p0, p1, p2);
    c = choose<2 * L, 1>(p0, p1, p2);
  }
};
template <int... lane>
constexpr Thirds<lane...> thirds_of(std::integer_sequence<int, lane...>) {
  return {};
}
using VectorThirds = decltype(thirds_of(std::make_integer_sequence<int, Vec<float>::size>()));

#undef FASTGAN_SHUFFLE

}  // namespace FASTGAN_ISA
}  // namespace fastgan

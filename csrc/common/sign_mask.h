// Two bits an element, packed in memory order: bit 0 the positive side, bit 1 clamped.
#pragma once
#include <cstdint>

#include "common/mask_size.h"
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

constexpr int kGroup = 16;  // elements handled at a time: 4 bytes of mask

// Masks of 16 elements in memory order -> 32 bits.
template <class A>
FASTGAN_INLINE uint32_t pack_sign_mask(const Mask<A> (&positive)[kGroup / Vec<A>::size],
                               const Mask<A> (&clamped)[kGroup / Vec<A>::size]) {
  uint32_t bits = 0;
  for (int i = 0; i < kGroup; ++i) {
    const int j = i / Vec<A>::size, lane = i % Vec<A>::size;
    bits |= uint32_t((positive[j].m[lane] & 1) | (clamped[j].m[lane] & 2)) << (2 * i);
  }
  return bits;
}
#if FASTGAN_VECTOR_BYTES == 64
FASTGAN_INLINE uint32_t pack_sign_mask(const Mask<float> (&positive)[1], const Mask<float> (&clamped)[1]) {
  return _pdep_u32(_mm512_movepi32_mask((__m512i)positive[0].m), 0x55555555u) |
         _pdep_u32(_mm512_movepi32_mask((__m512i)clamped[0].m), 0xAAAAAAAAu);
}
#elif FASTGAN_VECTOR_BYTES == 32
FASTGAN_INLINE uint32_t pack_sign_mask(const Mask<float> (&positive)[2], const Mask<float> (&clamped)[2]) {
  const __m256i side = _mm256_packs_epi32((__m256i)positive[0].m, (__m256i)positive[1].m);
  const __m256i clip = _mm256_packs_epi32((__m256i)clamped[0].m, (__m256i)clamped[1].m);
  const __m256i low_bytes = _mm256_set1_epi16(0x00FF);  // of each 16-bit lane: low byte the side, high byte clamped
  const __m256i both = _mm256_or_si256(_mm256_and_si256(side, low_bytes), _mm256_andnot_si256(low_bytes, clip));
  return uint32_t(_mm256_movemask_epi8(_mm256_permute4x64_epi64(both, 0xD8)));
}
#endif

// The slope that each element's two bits stand for: `negative`, `positive`, or 0 where clamped.
template <class A>
class SlopeTable {
 public:
  SlopeTable(A negative, A positive) : negative_(negative), positive_(positive) {}
  // Of the j-th vector of a group.
  FASTGAN_INLINE Vec<A> at(uint32_t bits, int j) const {
    using Raw = typename Mask<A>::Raw;
    using Int = typename Mask<A>::Int;
    Raw side;
    for (int i = 0; i < Vec<A>::size; ++i) side[i] = Int(1) << (2 * i);
    const Raw all = Int(bits >> (2 * Vec<A>::size * j)) - Raw{};
    const Mask<A> positive{(all & side) != 0}, clamped{(all & (side << 1)) != 0};
    return select(clamped, Vec<A>(A(0)), select(positive, Vec<A>(positive_), Vec<A>(negative_)));
  }

 private:
  A negative_, positive_;
};
#if FASTGAN_VECTOR_BYTES == 64
template <>
class SlopeTable<float> {
 public:
  SlopeTable(float n, float p) : table_(_mm512_setr4_ps(n, p, 0, 0)) {}
  FASTGAN_INLINE Vec<float> at(uint32_t bits, int) const {
    const __m512i place = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i code = _mm512_srlv_epi32(_mm512_set1_epi32(int(bits)), place);
    return Vec<float>((Vec<float>::Raw)_mm512_permutevar_ps(table_, code));  // looks at the lowest two bits of each
  }

 private:
  __m512 table_;
};
#elif FASTGAN_VECTOR_BYTES == 32
template <>
class SlopeTable<float> {
 public:
  SlopeTable(float n, float p) : table_(_mm256_setr_ps(n, p, 0, 0, n, p, 0, 0)) {}
  FASTGAN_INLINE Vec<float> at(uint32_t bits, int j) const {
    const __m256i place = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const __m256i code = _mm256_srlv_epi32(_mm256_set1_epi32(int(bits >> (16 * j))), place);
    return Vec<float>((Vec<float>::Raw)_mm256_permutevar_ps(table_, code));  // looks at the lowest two bits of each
  }

 private:
  __m256 table_;
};
#endif

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// Two bits an element, packed in memory order: bit 0 the positive side, bit 1 clamped.
#pragma once
#include <cstdint>

#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

constexpr int kGroup = 16;  // elements handled at a time: 4 bytes of mask

// Masks of 16 elements in memory order -> 32 bits.
template <class A>
inline uint32_t pack_sign_mask(const Mask<A> (&positive)[kGroup / Vec<A>::size],
                               const Mask<A> (&clamped)[kGroup / Vec<A>::size]) {
  uint32_t bits = 0;
  for (int i = 0; i < kGroup; ++i) {
    const int j = i / Vec<A>::size, lane = i % Vec<A>::size;
    bits |= uint32_t((positive[j].m[lane] & 1) | (clamped[j].m[lane] & 2)) << (2 * i);
  }
  return bits;
}
#if defined(__AVX2__)
inline uint32_t pack_sign_mask(const Mask<float> (&positive)[2], const Mask<float> (&clamped)[2]) {
  const __m256i side = _mm256_packs_epi32((__m256i)positive[0].m, (__m256i)positive[1].m);
  const __m256i clip = _mm256_packs_epi32((__m256i)clamped[0].m, (__m256i)clamped[1].m);
  const __m256i low_bytes = _mm256_set1_epi16(0x00FF);  // of each 16-bit lane: low byte the side, high byte clamped
  const __m256i both = _mm256_or_si256(_mm256_and_si256(side, low_bytes), _mm256_andnot_si256(low_bytes, clip));
  return uint32_t(_mm256_movemask_epi8(_mm256_permute4x64_epi64(both, 0xD8)));
}
#endif

// The j-th vector of a group's masks.
template <class A>
inline void unpack_sign_mask(uint32_t bits, int j, Mask<A>& positive, Mask<A>& clamped) {
  using Raw = typename Mask<A>::Raw;
  using Int = typename Mask<A>::Int;
  Raw side;
  for (int i = 0; i < Vec<A>::size; ++i) side[i] = Int(1) << (2 * i);
  const Raw all = Int(bits >> (2 * Vec<A>::size * j)) - Raw{};
  positive.m = (all & side) != 0;
  clamped.m = (all & (side << 1)) != 0;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

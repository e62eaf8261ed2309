// The two 16-bit types as the CPU kernels hold them, and conversions of single values of every type.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace fastgan {
namespace FASTGAN_ISA {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

inline uint32_t float_bits(float v) {
  uint32_t u;
  __builtin_memcpy(&u, &v, 4);
  return u;
}
inline float bits_float(uint32_t u) {
  float v;
  __builtin_memcpy(&v, &u, 4);
  return v;
}

inline float widen(float v) { return v; }
inline double widen(double v) { return v; }
inline float widen(BFloat16 v) { return bits_float(uint32_t(v.bits) << 16); }
inline float widen(Half v) {
#if defined(__F16C__)
  return _cvtsh_ss(v.bits);
#else
  // Exponent and mantissa shifted into place read as the value times 2^-112, subnormals included.
  const uint32_t magnitude = uint32_t(v.bits & 0x7FFF) << 13;
  const float value = magnitude >= 0x0F800000u ? bits_float(magnitude | 0x7F800000u)  // infinity and NaN
                                               : bits_float(magnitude) * bits_float(0x77800000u);
  return bits_float(float_bits(value) | uint32_t(v.bits & 0x8000) << 16);
#endif
}

// Round to nearest, ties to even.
inline void narrow(float v, float& out) { out = v; }
inline void narrow(double v, double& out) { out = v; }
inline void narrow(float v, BFloat16& out) {
  const uint32_t u = float_bits(v);
  out.bits = v != v ? uint16_t(0x7FC0) : uint16_t((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}
inline void narrow(float v, Half& out) {
#if defined(__F16C__)
  out.bits = uint16_t(_cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT));
#else
  const uint32_t sign = float_bits(v) >> 16 & 0x8000, u = float_bits(v) & 0x7FFFFFFF;
  uint32_t half;
  if (u > 0x7F800000u) {
    half = 0x7E00;  // NaN
  } else if (u >= 0x477FF000u) {
    half = 0x7C00;  // 65520 and above round to infinity
  } else if (u < 0x38800000u) {
    half = float_bits(bits_float(u) + 0.5f) - 0x3F000000u;  // subnormal: the addition rounds at 2^-24
  } else {
    half = (u - 0x38000000u + 0xFFF + (u >> 13 & 1)) >> 13;
  }
  out.bits = uint16_t(sign | half);
#endif
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// exp, expm1, log1p on Vec: within a few units in the last place for float, the C library lane by lane for double.
#pragma once
#include <math.h>

#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2: Taylor's polynomial of degree 7 leaves 5e-9.
FASTGAN_INLINE Vec<float> exp(Vec<float> x) {
  using Int = Mask<float>::Raw;
  x = select(x > 89.0f, Vec<float>(89.0f), select(x < -104.0f, Vec<float>(-104.0f), x));
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
  const Vec<float> shifted = x * 1.44269504f + magic;
  const Vec<float> n = shifted - magic;
  const Vec<float> r = (x - n * 0.693145752f) - n * 1.42860677e-6f;  // ln 2 in two parts
  Vec<float> p(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // 2^n in two factors, so that both stay normal where the result overflows or is subnormal.
  const Int whole = (Int)shifted.v - (Int)Vec<float>(magic).v, half = whole >> 1;
  const Vec<float> scale((Vec<float>::Raw)((half + 127) << 23));
  const Vec<float> rest((Vec<float>::Raw)((whole - half + 127) << 23));
  return p * scale * rest;
}

FASTGAN_INLINE Vec<float> expm1(Vec<float> x) {
  Vec<float> p(1.0f / 40320);
  p = p * x + 1.0f / 5040;
  p = p * x + 1.0f / 720;
  p = p * x + 1.0f / 120;
  p = p * x + 1.0f / 24;
  p = p * x + 1.0f / 6;
  p = p * x + 0.5f;
  p = p * x * x + x;
  return select(abs(x) < 0.4f, p, exp(x) - 1.0f);
}

// For 0 <= x <= 1: 2 atanh(x / (2 + x)), an odd series in s <= 1/3.
FASTGAN_INLINE Vec<float> log1p(Vec<float> x) {
  const Vec<float> s = x / (x + 2.0f), s2 = s * s;
  Vec<float> p(1.0f / 15);
  p = p * s2 + 1.0f / 13;
  p = p * s2 + 1.0f / 11;
  p = p * s2 + 1.0f / 9;
  p = p * s2 + 1.0f / 7;
  p = p * s2 + 1.0f / 5;
  p = p * s2 + 1.0f / 3;
  p = p * s2 + 1.0f;
  return 2.0f * s * p;
}

template <double (*function)(double)>
FASTGAN_INLINE Vec<double> map_lanes(Vec<double> x) {
  for (int i = 0; i < Vec<double>::size; ++i) x.v[i] = function(x.v[i]);
  return x;
}
FASTGAN_INLINE Vec<double> exp(Vec<double> x) { return map_lanes<::exp>(x); }
FASTGAN_INLINE Vec<double> expm1(Vec<double> x) { return map_lanes<::expm1>(x); }
FASTGAN_INLINE Vec<double> log1p(Vec<double> x) { return map_lanes<::log1p>(x); }

}  // namespace FASTGAN_ISA
}  // namespace fastgan

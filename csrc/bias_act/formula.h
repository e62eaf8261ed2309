// What every backend computes of one value, or of a vector of them: V is the CPU's Vec or the GPU's Number. Args are an
// operator's arguments, with its gain and clamp.
#pragma once
#include "bias_act/bias_act.h"

namespace fastgan {
namespace FASTGAN_ISA {

// y is clamped to [-limit, limit].
template <class V>
struct Limit {
  using A = typename V::Scalar;
  V limit;
  template <class Args>
  FASTGAN_DEVICE explicit Limit(const Args& a) : limit(a.clamp < 0 ? A(__builtin_inf()) : A(a.clamp)) {}
  FASTGAN_INLINE auto exceeded(V y) const { return abs(y) > limit; }
  // Where a clamp lets no gradient pass: at NaN neither.
  FASTGAN_INLINE auto stops(V y) const { return (limit < V(A(__builtin_inf()))) & !(abs(y) <= limit); }
  FASTGAN_INLINE V clamp(V y) const { return max(-limit, min(limit, y)); }
};

// Piecewise-linear activations times the gain, with their slopes.
template <class V>
struct Slopes {
  using A = typename V::Scalar;
  V positive, negative, floor;
  template <class Args>
  FASTGAN_DEVICE Slopes(const Args& a, double negative_slope)
      : positive(A(a.gain)), negative(A(a.gain * negative_slope)),
        floor(negative_slope == 0 ? A(0) : -A(__builtin_inf())) {}  // a slope of 0 makes 0 of infinity too
  // Whose slope is `positive`; with a slope of 0 below 0, NaN's is too, as in torch's relu.
  FASTGAN_INLINE auto rises(V v) const {
    const V zero(A(0));
    return (v > zero) | ((floor == zero) & !(v <= zero));
  }
  FASTGAN_INLINE V slope(V v) const { return select(rises(v), positive, negative); }
  FASTGAN_INLINE V value(V v) const { return max(floor, v) * select(v > V(A(0)), positive, negative); }
};

// dy times a slope; a slope of 0 stops infinite gradients too.
template <class V>
FASTGAN_INLINE V times_slope(V dy, V slope) {
  const V zero(typename V::Scalar(0));
  return select(slope == zero, zero, dy * slope);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

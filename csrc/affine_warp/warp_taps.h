// sym6 and pixels as the CPU kernels take them: four channels side by side, two neighbouring pixels a vector.
#pragma once
#include "affine_warp/affine_warp.h"

namespace fastgan {
namespace FASTGAN_ISA {

constexpr int kLanes = 4;  // channels of a pixel

template <class A>
struct Quads;
template <>
struct Quads<float> {
  typedef float Pixel __attribute__((vector_size(16)));
  typedef float Pair __attribute__((vector_size(32)));
};
template <>
struct Quads<double> {
  typedef double Pixel __attribute__((vector_size(32)));
  typedef double Pair __attribute__((vector_size(64)));
};
template <class A>
using Pixel = typename Quads<A>::Pixel;
template <class A>
using Pair = typename Quads<A>::Pair;

// Vectors go by reference: by value, how they are handed over depends on the instruction set.
template <class V, class A>
FASTGAN_INLINE void get(V& v, const A* p) {
  __builtin_memcpy(&v, p, sizeof v);
}
template <class V, class A>
FASTGAN_INLINE void put(const V& v, A* p) {
  __builtin_memcpy(p, &v, sizeof v);
}
// The sum of both pixels.
template <class A>
FASTGAN_INLINE void fold(Pixel<A>& sum, const Pair<A>& both) {
  Pixel<A> half[2];
  __builtin_memcpy(half, &both, sizeof both);
  sum = half[0] + half[1];
}

// The taps of `up_tap`, even and odd, and those of the halving.
template <class A>
struct WarpTaps {
  A even[kPhaseTaps], odd[kPhaseTaps], down[kWarpTaps];
  Pair<A> up_pair[kPhaseTaps];        // even, odd
  Pair<A> down_pair[kWarpTaps / 2];  // two neighbouring taps

  WarpTaps() {
    for (int t = 0; t < kPhaseTaps; ++t) {
      even[t] = A(up_tap(0, t));
      odd[t] = A(up_tap(1, t));
      set(up_pair[t], even[t], odd[t]);
    }
    for (int k = 0; k < kWarpTaps; ++k) down[k] = A(sym6(k));
    for (int q = 0; q < kWarpTaps / 2; ++q) set(down_pair[q], down[2 * q], down[2 * q + 1]);
  }

 private:
  static void set(Pair<A>& both, A first, A second) {
    for (int l = 0; l < kLanes; ++l) {
      both[l] = first;
      both[kLanes + l] = second;
    }
  }
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

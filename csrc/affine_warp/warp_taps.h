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

// Samples 2e and 2e + 1 at twice the rate are even[t] and odd[t] times pixel e - kWarpReach + t, summed.
constexpr int kPhaseTaps = 2 * kWarpReach + 1;

template <class A>
struct WarpTaps {
  A even[kPhaseTaps], odd[kPhaseTaps], down[kWarpTaps];
  Pair<A> up_pair[kPhaseTaps];        // even, odd
  Pair<A> down_pair[kWarpTaps / 2];  // two neighbouring taps

  WarpTaps() {
    for (int t = 0; t < kPhaseTaps; ++t) {
      const int tap = kWarpCentre + 2 * (kWarpReach - t);
      even[t] = tap >= 0 ? A(2 * sym6(tap)) : A(0);
      odd[t] = tap + 1 < kWarpTaps ? A(2 * sym6(tap + 1)) : A(0);
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

// What pixels e - kWarpReach + t weigh at a place between two samples, one of which lies at 2e or 2e + 1.
template <class A>
struct PlaceTaps {
  int64_t e;
  A weight[kPhaseTaps];

  PlaceTaps(const WarpTaps<A>& taps, double place) {
    const int64_t low = int64_t(place) - (place < double(int64_t(place)));
    const A part = A(place - double(low));
    const bool is_odd = low & 1;
    e = (low - is_odd) / 2;
    for (int t = 0; t < kPhaseTaps; ++t) {
      const A next = is_odd ? (t ? taps.even[t - 1] : A(0)) : taps.odd[t];
      weight[t] = (1 - part) * (is_odd ? taps.odd[t] : taps.even[t]) + part * next;
    }
  }
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

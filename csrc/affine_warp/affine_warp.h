// affine_warp, y = M D(bilinear(U(x), theta)) + b, and its adjoint. Neither torch nor CUDA headers: what the kernels of every
// backend share.
//
// U doubles the rate along both axes, D halves it, both by the 12 taps of sym6; sample m of either grid lies at pixel m / 2,
// tap 5 of the filter is its centre. y has 2 size + 10 samples an axis, from -5 on. x goes on by reflection, for ever.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "common/isa.h"

namespace fastgan {

constexpr int kWarpTaps = 12, kWarpCentre = 5;
constexpr int kWarpReach = 3;       // pixels on either side of pixel m / 2 (rounded down) that samples m and m + 1 are made of
constexpr int kPhaseTaps = 2 * kWarpReach + 1;
constexpr int kWarpColors = 4;      // channels that a colour matrix takes at most
constexpr double kWarpFarthest = 16777216.0;  // samples from the centre

// x and out hold [n, c, h, w] by the same strides (elements). theta [n, 2, 3] and color [n, c, c + 1], or null, are contiguous,
// in the type of the arithmetic: float, or double where the elements are.
struct AffineWarpArgs {
  const void* x = nullptr;
  void* out = nullptr;
  const void* theta = nullptr;
  const void* color = nullptr;
  GpuStream stream;  // CUDA: the stream to launch on
  int64_t n = 0, c = 0, h = 0, w = 0;
  int64_t stride_n = 0, stride_c = 0, stride_h = 0, stride_w = 0;
  bool linear = false;  // leave out b
  DType dtype = DType::f32;
};

struct AffineWarpKernels {
  void (*forward)(const AffineWarpArgs&);   // x is read, y written
  void (*backward)(const AffineWarpArgs&);  // x is dy, which is read, dx written
};

namespace FASTGAN_ISA {

// Its sum is 1.
FASTGAN_DEVICE constexpr double sym6(int tap) {
  constexpr double taps[kWarpTaps] = {0.01089235016328, 0.00246830618592, -0.08343160770584002, -0.03416156079324,
                                     0.34722898647835, 0.55694639196396, 0.23895218566605, -0.05136248493090002,
                                     -0.01489187564922, 0.03162528132994, 0.00124996104639, -0.005515933754690001};
  return taps[tap];
}

// Samples 2e and 2e + 1 at twice the rate (phases 0 and 1) are these times pixel e - kWarpReach + t, summed.
FASTGAN_DEVICE constexpr double up_tap(int phase, int t) {
  const int tap = kWarpCentre + 2 * (kWarpReach - t) + phase;
  return tap < 0 || tap >= kWarpTaps ? 0 : 2 * sym6(tap);
}

// What pixels e - kWarpReach + t weigh at a place between two samples, one of which lies at 2e or 2e + 1.
template <class A>
struct PlaceTaps {
  int64_t e;
  A weight[kPhaseTaps];

  FASTGAN_DEVICE explicit PlaceTaps(double place) {
    const int64_t low = int64_t(place) - (place < double(int64_t(place)));
    const A part = A(place - double(low));
    const bool is_odd = low & 1;
    e = (low - is_odd) / 2;
    for (int t = 0; t < kPhaseTaps; ++t) {
      const A own = is_odd ? A(up_tap(1, t)) : A(up_tap(0, t));
      const A next = !is_odd ? A(up_tap(1, t)) : t ? A(up_tap(0, t - 1)) : A(0);
      weight[t] = (1 - part) * own + part * next;
    }
  }
};

// Which of `size` pixels an image shows at a place, when it goes on by reflection at its outer pixels.
template <class Int>
FASTGAN_DEVICE inline Int reflected(Int place, Int size) {
  if (size == 1) return 0;
  const Int period = 2 * size - 2;
  place %= period;
  if (place < 0) place += period;
  return place < size ? place : period - place;
}

// One sample's map, from y to x.
struct WarpMap {
  double turn[2][2];  // x and y of x's place, by column and row of y's
  double shift[2];    // of samples: x's at place (0, 0) of y, both counted from the first pixel
  bool reachable;     // else the result is NaN
  bool copies;        // pixels are copied: pixel (j, i) of y shows x at `first` + turn (j, i)
  int64_t first[2];

  template <class A>
  FASTGAN_DEVICE static WarpMap of(const A* theta, int64_t h, int64_t w) {
    WarpMap map;
    const double size[2] = {double(w), double(h)};
    map.reachable = map.copies = true;
    for (int axis = 0; axis < 2; ++axis) {
      const double a = theta[3 * axis], b = theta[3 * axis + 1], t = theta[3 * axis + 2];
      map.turn[axis][0] = a;
      map.turn[axis][1] = b;
      map.shift[axis] = 2 * t + (size[axis] - 1) - a * (size[0] - 1) - b * (size[1] - 1);
      const double farthest = absolute(a) * (size[0] + 5) + absolute(b) * (size[1] + 5) + 2 * absolute(t) + size[0] + size[1];
      if (!(farthest < kWarpFarthest)) map.reachable = false;
      map.first[axis] = 0;
      const double first = t - a * ((size[0] - 1) / 2) - b * ((size[1] - 1) / 2) + (size[axis] - 1) / 2;
      if (!map.reachable || absolute(a) + absolute(b) != 1 || a * b != 0 || first != double(int64_t(first)))
        map.copies = false;
      else
        map.first[axis] = int64_t(first);
    }
    // one axis by columns, the other by rows
    if (map.turn[0][0] * map.turn[1][1] == 0 && map.turn[0][1] * map.turn[1][0] == 0) map.copies = false;
    return map;
  }

  // Column (axis 0) or row (1), among x's samples, of y's sample in column b and row a.
  FASTGAN_DEVICE double place(int axis, double b, double a) const {
    return turn[axis][0] * b + turn[axis][1] * a + shift[axis];
  }

 private:
  FASTGAN_DEVICE static double absolute(double v) { return v < 0 ? -v : v; }
};

}  // namespace FASTGAN_ISA

namespace generic {
const AffineWarpKernels& affine_warp_kernels();
}
#if FASTGAN_HAVE_AVX2
namespace avx2 {
const AffineWarpKernels& affine_warp_kernels();
}
#endif
#if FASTGAN_HAVE_AVX512
namespace avx512 {
const AffineWarpKernels& affine_warp_kernels();
}
#endif

namespace cuda {
const AffineWarpKernels& affine_warp_kernels();
}

static inline const AffineWarpKernels& affine_warp_kernels(Isa isa) {
#if FASTGAN_HAVE_AVX512
  if (isa == Isa::avx512) return avx512::affine_warp_kernels();
#endif
#if FASTGAN_HAVE_AVX2
  if (isa == Isa::avx2) return avx2::affine_warp_kernels();
#endif
  (void)isa;
  return generic::affine_warp_kernels();
}

}  // namespace fastgan

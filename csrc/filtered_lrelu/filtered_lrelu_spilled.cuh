// filtered_lrelu of filters that no block's shared memory holds: the middle goes through the GPU's memory, in two passes.
#pragma once
#include "filtered_lrelu/filtered_lrelu_middle.cuh"

namespace fastgan {
namespace cuda {

// Planes from `first` on, whose middle is [planes, middle_y, middle_x].
struct SpilledLaunch {
  FilteredLreluArgs a;
  void* middle = nullptr;
  int64_t first = 0, planes = 0, blocks = 1;  // blocks of outputs in a plane
};

// A word of the mask a thread.
template <class T>
__global__ void __launch_bounds__(256, 2) filtered_lrelu_spilled_up_kernel(SpilledLaunch l) {
  using A = Accumulate<T>;
  const FilteredLreluArgs& a = l.a;
  const FilteredAxis &ay = a.axis_y, &ax = a.axis_x;
  const int64_t classes = filtered_classes(a.up, a.down), words = filtered_columns(ax.middle, classes) / kWord;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, row = i / (classes * words), item = i - row * classes * words;
  const int64_t local = row / ay.middle, y = row - local * ay.middle, s = item / words, word = item - s * words;
  if (local >= l.planes) return;
  const int64_t plane = l.first + local, n = plane / a.channels, c = plane - n * a.channels;
  const int64_t count = ax.up_taps * (a.up_full ? ay.up_taps : 1);
  const Middle<A> formula(a);
  const A gain = A(a.up) * A(a.up);
  const A bias = a.b ? widen(static_cast<const T*>(a.b)[c]) : A(0);
  uint32_t* const stored =
      a.mask ? reinterpret_cast<uint32_t*>(a.mask) + (plane * ay.middle + y) * classes * words + item : nullptr;
  uint32_t bits = a.masked ? formula.begun(*stored) : 0;
  const UpSampled up_y(ay, a.up, y);
  for (int e = 0; e < kWord; ++e) {
    const int64_t m = (word * kWord + e) * classes + s;
    if (m >= ax.middle) break;
    const UpSampled up_x(ax, a.up, m);
    A sum = 0;
    for (int64_t ky = up_y.phase, iy = up_y.begin; ky < ay.up_taps && iy < ay.in; ky += a.up, ++iy) {
      if (iy < 0) continue;
      A across = 0;
      for (int64_t kx = up_x.phase, ix = up_x.begin; kx < ax.up_taps && ix < ax.in; kx += a.up, ++ix)
        if (ix >= 0)
          across += tap_of<A>(a, a.up_filter, a.up_full ? ky * ax.up_taps + kx : kx, count) *
                    (widen(static_cast<const T*>(a.x)[place_of(a, n, c, ay.in, ax.in, iy, ix)]) + bias);
      sum += a.up_full ? across : tap_of<A>(a, a.up_filter, ky, count) * across;
    }
    static_cast<A*>(l.middle)[row * ax.middle + m] =
        a.masked ? formula.masked(sum, e, bits) : formula.value(sum * gain, e, bits);
  }
  if (!a.masked && stored) *stored = formula.finished(bits);
}

// An output a thread.
template <class T>
__global__ void __launch_bounds__(256, 2) filtered_lrelu_spilled_down_kernel(SpilledLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, shared);
  const FilteredLreluArgs& a = l.a;
  const FilteredAxis &ay = a.axis_y, &ax = a.axis_x;
  const int64_t local = blockIdx.x / l.blocks, block = blockIdx.x - local * l.blocks, plane = l.first + local;
  const int64_t pixel = block * blockDim.x + threadIdx.x, y = pixel / ax.out, x = pixel - y * ax.out;
  const int64_t count = ax.down_taps * (a.down_full ? ay.down_taps : 1);
  const int64_t first_y = y * a.down - ay.inner, first_x = x * a.down - ax.inner;
  const A* const middle = static_cast<const A*>(l.middle) + local * ay.middle * ax.middle;
  A sum = 0;
  if (y < ay.out) {
    for (int64_t ky = 0; ky < ay.down_taps; ++ky) {
      if (first_y + ky < 0 || first_y + ky >= ay.middle) continue;
      A across = 0;
      for (int64_t kx = 0; kx < ax.down_taps; ++kx)
        if (first_x + kx >= 0 && first_x + kx < ax.middle)
          across += tap_of<A>(a, a.down_filter, a.down_full ? ky * ax.down_taps + kx : kx, count) *
                    middle[(first_y + ky) * ax.middle + first_x + kx];
      sum += a.down_full ? across : tap_of<A>(a, a.down_filter, ky, count) * across;
    }
    const int64_t n = plane / a.channels, c = plane - n * a.channels;
    narrow(sum, static_cast<T*>(a.y)[place_of(a, n, c, ay.out, ax.out, y, x)]);
  }
  if (a.db) store_block_sum(sum, shared, static_cast<A*>(a.workspace) + plane * l.blocks + block);
}

}  // namespace cuda
}  // namespace fastgan

// What every kernel of filtered_lrelu does with an element between the FIRs, and how it finds its neighbours.
#pragma once
#include "gpu/number.h"
#include "gpu/packet.h"
// after the types it is written in terms of
#include "bias_act/formula.h"
#include "filtered_lrelu/filtered_lrelu.h"

namespace fastgan {
namespace cuda {

constexpr int kWord = 16;  // elements of a word of the mask

// a / b towards minus infinity.
__host__ __device__ inline int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The non-linearity of a forward pass, and its two bits; or the product of a masked pass.
template <class A>
struct Middle {
  using N = Number<A>;
  Slopes<N> slopes;
  Limit<N> limit;
  A gain;  // of the sum
  __device__ __forceinline__ Middle(const FilteredLreluArgs& a, int up_gain)
      : slopes(a, a.slope), limit(a), gain(A(a.masked ? 1 : up_gain)) {}
  __device__ __forceinline__ A value(A sum, unsigned& bits) const {
    const N v(sum * gain), y = slopes.value(v);
    bits = unsigned(slopes.rises(v)) | unsigned(limit.stops(y)) << 1;
    return limit.clamp(y).v;
  }
  __device__ __forceinline__ A masked(A sum, unsigned bits) const {
    const N slope = bits & 2 ? N(A(0)) : bits & 1 ? slopes.positive : slopes.negative;
    return times_slope(N(sum), slope).v;
  }
};

// Tap k of the correlation kernel of a filter that is stored to be convolved with, unless a.flip.
template <class A>
__device__ __forceinline__ A tap_of(const FilteredLreluArgs& a, const void* filter, int64_t k, int64_t count) {
  return __ldg(static_cast<const A*>(filter) + (a.flip ? k : count - 1 - k));
}

// Which inputs a run of samples of the middle reads, from sample `first` on: sample j the inputs from input(j) on, relative
// to `begin`, by taps from tap(j) on, up apart.
struct UpSampled {
  int64_t begin;
  int up, phase;
  __host__ __device__ UpSampled(const FilteredAxis& axis, int factor, int64_t first)
      : begin(-floor_divide(axis.pad - first, factor)), up(factor), phase(int(begin * factor - (first - axis.pad))) {}
  __device__ __forceinline__ int input(int j) const { return (j + up - 1 - phase) / up; }
  __device__ __forceinline__ int tap(int j) const { return input(j) * up + phase - j; }
  // Inputs of `count` samples, at most.
  static __host__ __device__ int64_t inputs(int64_t count, int64_t taps, int factor) {
    return (count + taps - 2) / factor + 1;
  }
};

// Where pixel (y, x) of plane c of sample n lies in images of height x width.
__device__ __forceinline__ int64_t place_of(const FilteredLreluArgs& a, int64_t n, int64_t c, int64_t height, int64_t width,
                                            int64_t y, int64_t x) {
  return a.channels_last ? ((n * height + y) * width + x) * a.channels + c
                         : ((n * a.channels + c) * height + y) * width + x;
}

// The sum over a block, in order, to *to. All threads call it; `warps` has room for one number a warp.
template <class A>
__device__ __forceinline__ void store_block_sum(A sum, A* warps, A* to) {
  sum = warp_sum(sum);
  __syncthreads();
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int other = 1; other < int(blockDim.x) / 32; ++other) sum += warps[other];
  *to = sum;
}

// db of a channel from the parts of its planes: a block a channel.
template <class T>
__global__ void __launch_bounds__(256) filtered_lrelu_sum_kernel(FilteredLreluArgs a, int64_t parts) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, shared);
  const int64_t c = blockIdx.x;
  A sum = 0;
  for (int64_t i = threadIdx.x; i < a.n * parts; i += blockDim.x)
    sum += static_cast<const A*>(a.workspace)[(i / parts * a.channels + c) * parts + i % parts];
  store_block_sum(sum, shared, shared + 8);
  if (threadIdx.x == 0) narrow(shared[8], static_cast<T*>(a.db)[c]);
}

}  // namespace cuda
}  // namespace fastgan

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

// The non-linearity of a forward pass, and its two bits an element; or the product of a masked pass. What hardly ever
// happens is seen to for 16 elements at a time: a forward pass finishes a word, a masked one begins with it.
template <class A>
struct Middle {
  A positive = 0, negative = 0, floor = 0, limit = 0;
  Middle() = default;
  FASTGAN_DEVICE explicit Middle(const FilteredLreluArgs& a) {
    const Slopes<Number<A>> slopes(a, a.slope);
    positive = slopes.positive.v, negative = slopes.negative.v, floor = slopes.floor.v;
    limit = Limit<Number<A>>(a).limit.v;
  }
  // As Slopes::value and Limit::clamp; sets bits 2e and 2e + 1.
  __device__ __forceinline__ A value(A v, int e, uint32_t& bits) const {
    const bool above = v > 0;
    const A y = greater(floor, v) * (above ? positive : negative), clamped = greater(-limit, lesser(limit, y));
    if (above) bits |= 1u << (2 * e);
    if (clamped != y) bits |= 2u << (2 * e);  // NaN too
    return clamped;
  }
  // NaN is stopped by a clamp alone, and with a slope of 0 it rises.
  __device__ __forceinline__ uint32_t finished(uint32_t bits) const {
    if (limit < A(INFINITY)) return bits;
    return (floor == 0 ? bits | bits >> 1 : bits) & 0x55555555u;
  }
  // Elements whose slope is 0 are as those that are stopped: times_slope.
  __device__ __forceinline__ uint32_t begun(uint32_t bits) const {
    if (negative == 0) bits |= ~bits << 1 & 0xAAAAAAAAu;
    if (positive == 0) bits |= bits << 1 & 0xAAAAAAAAu;
    return bits;
  }
  __device__ __forceinline__ A masked(A sum, int e, uint32_t bits) const {
    const A product = sum * (bits >> (2 * e) & 1 ? positive : negative);
    return bits >> (2 * e) & 2 ? A(0) : product;
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

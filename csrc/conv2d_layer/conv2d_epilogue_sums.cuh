// The sums of an epilogue's backward: where their parts lie, and the kernels that add them.
#pragma once
#include "conv2d_layer/conv2d_epilogue_packet.cuh"

namespace fastgan {
namespace cuda {
namespace {

// Blocks a multiprocessor: said aloud, or ptxas spills a few registers for the sake of a rounder number.
constexpr int kThreads = 256, kLeastBlocks = 1, kWarps = kThreads / 32;

// Over the lanes that differ in bits from `least` up to `end`.
template <class A>
__device__ __forceinline__ A lane_sum(A sum, int least, int end) {
  for (int lane = least; lane < end; lane *= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, lane);
  return sum;
}

// Part k of the sums of channel o of sample n, in the workspace: of g, and of the product behind all of g.
template <class T>
__device__ __forceinline__ Accumulate<T>* part_of(const EpilogueLaunch& l, int64_t n, int64_t o, int64_t k) {
  return static_cast<Accumulate<T>*>(l.a.workspace) + (n * l.a.channels + o) * l.parts + k;
}
__host__ __device__ inline int64_t part_count(const EpilogueLaunch& l) { return l.a.samples * l.a.channels * l.parts; }
__host__ __device__ inline int64_t parts_elements(const EpilogueLaunch& l) {
  return (l.a.dscale || l.a.db ? part_count(l) : 0) + (l.a.dscale ? part_count(l) : 0);
}

// The sum of g over a slice of the channels, or over all.
template <class T>
__device__ __forceinline__ void store_noise(const EpilogueLaunch& l, int64_t n, int64_t slice, int64_t pixel,
                                            Accumulate<T> sum) {
  if (l.slices > 1)
    (static_cast<Accumulate<T>*>(l.a.workspace) + parts_elements(l))[(n * l.slices + slice) * l.a.pixels + pixel] = sum;
  else
    narrow(sum, static_cast<T*>(l.a.dnoise)[n * l.a.pixels + pixel]);
}

// dscale and db from their parts: a block a channel, a warp a sample.
template <class T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) epilogue_sum_kernel(EpilogueLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, warp_sums);
  const EpilogueArgs& a = l.a;
  const int64_t o = blockIdx.x;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  A db = 0;
  for (int64_t n = warp; n < a.samples; n += kWarps) {
    A sum = 0, product = 0;
    for (int64_t k = lane; k < l.parts; k += 32) {
      sum += part_of<T>(l, n, o, k)[0];
      if (a.dscale) product += part_of<T>(l, n, o, k)[part_count(l)];
    }
    db += warp_sum(sum);
    if (!a.dscale) continue;
    const A scale = a.operands.scale && !a.u ? static_cast<const A*>(a.operands.scale)[n * a.channels + o] : A(1);
    product = warp_sum(product) / scale;
    if (lane == 0) static_cast<A*>(a.dscale)[n * a.channels + o] = product;
  }
  if (!a.db) return;
  if (lane == 0) warp_sums[warp] = db;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int other = 1; other < kWarps; ++other) db += warp_sums[other];
  narrow(db, static_cast<T*>(a.db)[o]);
}

// dnoise from the slices of the channels.
template <class T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) epilogue_noise_kernel(EpilogueLaunch l) {
  using A = Accumulate<T>;
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x, n = i / l.a.pixels;
  if (n >= l.a.samples) return;
  const A* const first = static_cast<const A*>(l.a.workspace) + parts_elements(l) + n * (l.slices - 1) * l.a.pixels + i;
  A sum = first[0];
  for (int64_t slice = 1; slice < l.slices; ++slice) sum += first[slice * l.a.pixels];
  narrow(sum, static_cast<T*>(l.a.dnoise)[i]);
}

}  // namespace
}  // namespace cuda
}  // namespace fastgan

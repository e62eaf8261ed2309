// upfirdn2d with any factors and any filter, in any layout: in tiles where their inputs fit into shared memory, else
// each output by itself.
#pragma once
#include "gpu/gpu.h"
// after the types it is written in terms of
#include "upfirdn2d/upfirdn2d.h"

namespace fastgan {
namespace cuda {

// Output o of an axis is the sum of the inputs from first(o) on, through the kernel taps from tap(o, first(o)) on, up
// apart: inserted zeros are never multiplied.
__device__ __forceinline__ int64_t first_input(const ResampleAxis& axis, int64_t o) {
  const int64_t position = o * axis.down - axis.pad0;  // at the up-sampled rate, of kernel tap 0
  return position > 0 ? (position + axis.up - 1) / axis.up : -(-position / axis.up);
}
__device__ __forceinline__ int64_t tap_of(const ResampleAxis& axis, int64_t o, int64_t input) {
  return input * axis.up + axis.pad0 - o * axis.down;
}

// Kernel tap k of a filter that is stored to be convolved with, unless a.flip.
template <class A>
__device__ __forceinline__ A weight_of(const Upfirdn2dArgs& a, int64_t k, int64_t count) {
  return __ldg(static_cast<const A*>(a.filter) + (a.flip ? k : count - 1 - k));
}

// A block computes a tile of out_y x out_x outputs of `channels` neighbouring channels, from rows x columns inputs.
struct TileLaunch {
  Upfirdn2dArgs a;
  int out_y = 1, out_x = 1, channels = 1, rows = 1, columns = 1;
  unsigned tiles_c = 1, tiles_x = 1, tiles_y = 1;
};

// Where an output of a tile begins to read, and with which tap.
struct Start {
  int input, tap;
};

// What of a block's shared memory lies where, in bytes.
template <class A>
struct TileMemory {
  int64_t starts_y, starts_x, weights, weights_y, inputs, sums, end;
  __host__ __device__ explicit TileMemory(const TileLaunch& l) {
    const int64_t taps_y = l.a.axis_y.taps, taps_x = l.a.axis_x.taps, separable = l.a.separable ? 1 : 0;
    starts_y = 0;
    starts_x = starts_y + l.out_y * int64_t(sizeof(Start));
    weights = starts_x + l.out_x * int64_t(sizeof(Start));
    weights_y = weights + (separable ? taps_x : taps_y * taps_x) * int64_t(sizeof(A));
    inputs = weights_y + separable * taps_y * int64_t(sizeof(A));
    sums = inputs + int64_t(l.rows) * l.columns * l.channels * int64_t(sizeof(A));
    end = sums + separable * l.rows * l.out_x * l.channels * int64_t(sizeof(A));
  }
};

// starts[j] of outputs from o on, relative to the first.
__device__ __forceinline__ void find_starts(const ResampleAxis& axis, int64_t o, int count, Start* starts) {
  const int64_t begin = first_input(axis, o);
  for (int j = int(threadIdx.x); j < count; j += int(blockDim.x)) {
    const int64_t input = first_input(axis, o + j);
    starts[j] = {int(input - begin), int(tap_of(axis, o + j, input))};
  }
}

template <class T>
__global__ void __launch_bounds__(256) upfirdn2d_tile_kernel(TileLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(unsigned char, shared);
  const TileMemory<A> memory(l);
  Start* const starts_y = reinterpret_cast<Start*>(shared + memory.starts_y);
  Start* const starts_x = reinterpret_cast<Start*>(shared + memory.starts_x);
  A* const weights = reinterpret_cast<A*>(shared + memory.weights);
  A* const weights_y = reinterpret_cast<A*>(shared + memory.weights_y);
  A* const inputs = reinterpret_cast<A*>(shared + memory.inputs);
  A* const sums = reinterpret_cast<A*>(shared + memory.sums);

  const ResampleAxis &ay = l.a.axis_y, &ax = l.a.axis_x;
  const unsigned column_of_tiles = blockIdx.x / l.tiles_c, tile_c = blockIdx.x - column_of_tiles * l.tiles_c;
  const unsigned row_of_tiles = column_of_tiles / l.tiles_x, tile_x = column_of_tiles - row_of_tiles * l.tiles_x;
  const unsigned plane = row_of_tiles / l.tiles_y, tile_y = row_of_tiles - plane * l.tiles_y;
  const int64_t out_y = int64_t(tile_y) * l.out_y, out_x = int64_t(tile_x) * l.out_x;
  const int64_t pixel = l.a.pixel, channel = int64_t(tile_c) * l.channels;
  const int64_t first_y = first_input(ay, out_y), first_x = first_input(ax, out_x);
  const int self = int(threadIdx.x), threads = int(blockDim.x);
  const int taps_y = int(ay.taps), taps_x = int(ax.taps), up_y = int(ay.up), up_x = int(ax.up);
  const int row = l.columns * l.channels, out_row = l.out_x * l.channels;

  find_starts(ay, out_y, l.out_y, starts_y);
  find_starts(ax, out_x, l.out_x, starts_x);
  const int count = l.a.separable ? taps_x : taps_y * taps_x;
  for (int k = self; k < count; k += threads) {
    const A tap = weight_of<A>(l.a, k, count);
    weights[k] = tap * A(l.a.gain);
    if (l.a.separable) weights_y[k] = tap;
  }
  const T* const in = static_cast<const T*>(l.a.x) + plane * ay.in * ax.in * pixel + channel;
  for (int e = self; e < l.rows * row; e += threads) {
    const int r = e / row, rest = e - r * row, column = rest / l.channels, c = rest - column * l.channels;
    const int64_t y = first_y + r, x = first_x + column;
    const bool inside = y >= 0 && y < ay.in && x >= 0 && x < ax.in && channel + c < pixel;
    inputs[e] = inside ? widen(in[(y * ax.in + x) * pixel + c]) : A(0);
  }
  __syncthreads();
  if (l.a.separable) {
    for (int e = self; e < l.rows * out_row; e += threads) {
      const int r = e / out_row, rest = e - r * out_row, j = rest / l.channels, c = rest - j * l.channels;
      const Start start = starts_x[j];
      const A* from = inputs + r * row + start.input * l.channels + c;
      A sum = 0;
      for (int k = start.tap; k < taps_x; k += up_x, from += l.channels) sum += weights[k] * *from;
      sums[e] = sum;
    }
    __syncthreads();
  }
  T* const out = static_cast<T*>(l.a.y) + plane * ay.out * ax.out * pixel + channel;
  for (int e = self; e < l.out_y * out_row; e += threads) {
    const int r = e / out_row, rest = e - r * out_row, j = rest / l.channels, c = rest - j * l.channels;
    if (out_y + r >= ay.out || out_x + j >= ax.out || channel + c >= pixel) continue;
    const Start start = starts_y[r];
    A sum = 0;
    if (l.a.separable) {
      const A* from = sums + start.input * out_row + rest;
      for (int k = start.tap; k < taps_y; k += up_y, from += out_row) sum += weights_y[k] * *from;
    } else {
      const Start start_x = starts_x[j];
      const A* from = inputs + start.input * row + start_x.input * l.channels + c;
      for (int ky = start.tap; ky < taps_y; ky += up_y, from += row) {
        const A* across = from;
        for (int kx = start_x.tap; kx < taps_x; kx += up_x, across += l.channels)
          sum += weights[ky * taps_x + kx] * *across;
      }
    }
    narrow(sum, out[((out_y + r) * ax.out + out_x + j) * pixel + c]);
  }
}

// An output a thread, its inputs from global memory.
template <class T>
__global__ void __launch_bounds__(256) upfirdn2d_direct_kernel(Upfirdn2dArgs a) {
  using A = Accumulate<T>;
  const ResampleAxis &ay = a.axis_y, &ax = a.axis_x;
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t column = i / a.pixel, c = i - column * a.pixel, line = column / ax.out, out_x = column - line * ax.out;
  const int64_t plane = line / ay.out, out_y = line - plane * ay.out;
  if (plane >= a.planes) return;
  const int64_t count = a.separable ? ax.taps : ay.taps * ax.taps;
  const T* const in = static_cast<const T*>(a.x) + plane * ay.in * ax.in * a.pixel + c;
  const int64_t first_y = first_input(ay, out_y), first_x = first_input(ax, out_x);
  const int64_t tap_y = tap_of(ay, out_y, first_y), tap_x = tap_of(ax, out_x, first_x);
  A sum = 0;
  for (int64_t y = first_y, ky = tap_y; ky < ay.taps && y < ay.in; ++y, ky += ay.up) {
    if (y < 0) continue;
    A row = 0;
    for (int64_t x = first_x, kx = tap_x; kx < ax.taps && x < ax.in; ++x, kx += ax.up)
      if (x >= 0)
        row += weight_of<A>(a, a.separable ? kx : ky * ax.taps + kx, count) * widen(in[(y * ax.in + x) * a.pixel]);
    sum += a.separable ? weight_of<A>(a, ky, count) * row : row;
  }
  narrow(sum * A(a.gain), static_cast<T*>(a.y)[i]);
}

}  // namespace cuda
}  // namespace fastgan

// filtered_lrelu with any factors and any filters, in any layout: a block computes a tile of outputs of a plane, with all
// that lies between input and output in shared memory.
#pragma once
#include "filtered_lrelu/filtered_lrelu_middle.cuh"

namespace fastgan {
namespace cuda {

// Samples of a tile along an axis: outputs, of the middle, inputs.
struct TileAxis {
  int out = 1, middle = 1, in = 1;
  unsigned tiles = 1;
  // The middle has also what no output reads, of which the mask still tells.
  void set(const FilteredAxis& axis, int64_t outputs, int up, int down) {
    out = int(outputs);
    tiles = unsigned(divide_up(axis.out, outputs));
    middle = int(outputs * down + axis.down_taps - 1);
    in = int(UpSampled::inputs(middle, axis.up_taps, up));
  }
};

struct TileLaunch {
  FilteredLreluArgs a;
  TileAxis y, x;
};

// What of a block's shared memory lies where, in numbers.
struct TileMemory {
  int64_t up, down, middle, inputs, rows, columns, end;
  __host__ __device__ explicit TileMemory(const TileLaunch& l) {
    const FilteredLreluArgs& a = l.a;
    up = 32;  // the sums of warps
    down = up + a.axis_x.up_taps * (a.up_full ? a.axis_y.up_taps : 1);
    middle = down + a.axis_x.down_taps * (a.down_full ? a.axis_y.down_taps : 1);
    inputs = middle + int64_t(l.y.middle) * l.x.middle;
    rows = inputs + int64_t(l.y.in) * l.x.in;
    columns = inputs;  // when they are written, what lies there has been read
    const int64_t up_end = rows + (a.up_full ? 0 : int64_t(l.y.in) * l.x.middle);
    const int64_t down_end = columns + (a.down_full ? 0 : int64_t(l.y.out) * l.x.middle);
    end = up_end > down_end ? up_end : down_end;
  }
};

// The sum of a sample of the middle: of column j in `rows`, or of `inputs`, where the filter is full.
template <class A>
__device__ __forceinline__ A up_sum(const TileLaunch& l, const UpSampled& up_y, const UpSampled& up_x, const A* weights,
                                    const A* inputs, const A* rows, int r, int j) {
  const int taps_y = int(l.a.axis_y.up_taps), taps_x = int(l.a.axis_x.up_taps), up = l.a.up;
  const int first = up_y.input(r);
  A sum = 0;
  if (!l.a.up_full) {
    const A* from = rows + first * l.x.middle + j;
    for (int k = up_y.tap(r); k < taps_y; k += up, from += l.x.middle) sum += weights[k] * *from;
    return sum;
  }
  const A* from = inputs + first * l.x.in + up_x.input(j);
  for (int ky = up_y.tap(r); ky < taps_y; ky += up, from += l.x.in) {
    const A* across = from;
    for (int kx = up_x.tap(j); kx < taps_x; kx += up, ++across) sum += weights[ky * taps_x + kx] * *across;
  }
  return sum;
}

// The middle of a tile, from (first_y, first_x) on, zeros where it ends; and the words of the mask that are this block's.
template <class A>
__device__ __forceinline__ void fill_middle(const TileLaunch& l, int64_t plane, unsigned tile_y, unsigned tile_x,
                                            int64_t first_y, int64_t first_x, const A* weights, const A* inputs,
                                            const A* rows, A* middle) {
  const FilteredLreluArgs& a = l.a;
  const Middle<A> formula(a);
  const A gain = A(a.up) * A(a.up);
  const UpSampled up_y(a.axis_y, a.up, first_y), up_x(a.axis_x, a.up, first_x);
  const int classes = int(filtered_classes(a.up, a.down)), group = classes * kWord;
  const int64_t words = filtered_columns(a.axis_x.middle, classes) / kWord;  // of a class
  const int64_t begin = floor_divide(first_x, group), end = floor_divide(first_x + l.x.middle - 1, group) + 1;
  // Each word has one owner among the tiles that compute its elements.
  const int64_t own_y = tile_y + 1 == l.y.tiles ? a.axis_y.middle : first_y + l.y.out * a.down;
  const int64_t own_x = tile_x + 1 == l.x.tiles ? a.axis_x.middle : first_x + l.x.out * a.down;
  const int across = int(end - begin) * classes;
  for (int i = int(threadIdx.x); i < l.y.middle * across; i += int(blockDim.x)) {
    const int r = i / across, item = i - r * across, s = item % classes;
    const int64_t word = begin + item / classes, y = first_y + r, x = word * group + s;
    const bool inside = y >= 0 && y < a.axis_y.middle && word >= 0 && word < words;
    uint32_t* const stored = a.mask && inside
        ? reinterpret_cast<uint32_t*>(a.mask) + (plane * a.axis_y.middle + y) * classes * words + s * words + word
        : nullptr;
    uint32_t bits = a.masked && stored ? formula.begun(*stored) : 0;
    for (int e = 0; e < kWord; ++e) {
      const int64_t m = x + e * classes, j = m - first_x;
      if (j < 0 || j >= l.x.middle) continue;
      A value = 0;
      if (inside && m < a.axis_x.middle) {
        const A sum = up_sum(l, up_y, up_x, weights, inputs, rows, r, int(j));
        value = a.masked ? formula.masked(sum, e, bits) : formula.value(sum * gain, e, bits);
      }
      middle[int64_t(r) * l.x.middle + j] = value;
    }
    if (!a.masked && stored && y < own_y && word * group < own_x) *stored = formula.finished(bits);
  }
}

template <class T>
__global__ void __launch_bounds__(256, 2) filtered_lrelu_tile_kernel(TileLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, shared);
  const TileMemory memory(l);
  A* const up = shared + memory.up;
  A* const down = shared + memory.down;
  A* const middle = shared + memory.middle;
  A* const inputs = shared + memory.inputs;
  A* const rows = shared + memory.rows;
  A* const columns = shared + memory.columns;
  const FilteredLreluArgs& a = l.a;
  const FilteredAxis &ay = a.axis_y, &ax = a.axis_x;
  const unsigned row_of_tiles = blockIdx.x / l.x.tiles, tile_x = blockIdx.x - row_of_tiles * l.x.tiles;
  const unsigned plane = row_of_tiles / l.y.tiles, tile_y = row_of_tiles - plane * l.y.tiles;
  const int64_t n = plane / a.channels, c = plane - n * a.channels;
  const int64_t out_y = int64_t(tile_y) * l.y.out, out_x = int64_t(tile_x) * l.x.out;
  const int64_t first_y = out_y * a.down - ay.inner, first_x = out_x * a.down - ax.inner;
  const UpSampled up_y(ay, a.up, first_y), up_x(ax, a.up, first_x);
  const int self = int(threadIdx.x), threads = int(blockDim.x);
  const int down_y = int(ay.down_taps), down_x = int(ax.down_taps), up_taps = int(ax.up_taps);

  const int up_count = int(memory.down - memory.up), down_count = int(memory.middle - memory.down);
  for (int k = self; k < up_count; k += threads) up[k] = tap_of<A>(a, a.up_filter, k, up_count);
  for (int k = self; k < down_count; k += threads) down[k] = tap_of<A>(a, a.down_filter, k, down_count);
  const A bias = a.b ? widen(static_cast<const T*>(a.b)[c]) : A(0);
  for (int i = self; i < l.y.in * l.x.in; i += threads) {
    const int r = i / l.x.in;
    const int64_t y = up_y.begin + r, x = up_x.begin + (i - r * l.x.in);
    const bool inside = y >= 0 && y < ay.in && x >= 0 && x < ax.in;
    inputs[i] = inside ? widen(static_cast<const T*>(a.x)[place_of(a, n, c, ay.in, ax.in, y, x)]) + bias : A(0);
  }
  __syncthreads();
  if (!a.up_full) {
    for (int i = self; i < l.y.in * l.x.middle; i += threads) {
      const int r = i / l.x.middle, j = i - r * l.x.middle;
      const A* from = inputs + r * l.x.in + up_x.input(j);
      A sum = 0;
      for (int k = up_x.tap(j); k < up_taps; k += a.up) sum += up[k] * *from++;
      rows[i] = sum;
    }
    __syncthreads();
  }
  fill_middle(l, plane, tile_y, tile_x, first_y, first_x, up, inputs, rows, middle);
  __syncthreads();
  if (!a.down_full) {
    for (int i = self; i < l.y.out * l.x.middle; i += threads) {
      const int r = i / l.x.middle;
      const A* from = middle + r * a.down * l.x.middle + (i - r * l.x.middle);
      A sum = 0;
      for (int k = 0; k < down_y; ++k, from += l.x.middle) sum += down[k] * *from;
      columns[i] = sum;
    }
    __syncthreads();
  }
  A total = 0;
  for (int i = self; i < l.y.out * l.x.out; i += threads) {
    const int r = i / l.x.out, j = i - r * l.x.out;
    const int64_t y = out_y + r, x = out_x + j;
    if (y >= ay.out || x >= ax.out) continue;
    const A* from = (a.down_full ? middle + r * a.down * l.x.middle : columns + r * l.x.middle) + j * a.down;
    A sum = 0;
    for (int ky = 0; ky < (a.down_full ? down_y : 1); ++ky, from += l.x.middle)
      for (int kx = 0; kx < down_x; ++kx) sum += down[ky * down_x + kx] * from[kx];
    total += sum;
    narrow(sum, static_cast<T*>(a.y)[place_of(a, n, c, ay.out, ax.out, y, x)]);
  }
  if (a.db) store_block_sum(total, shared, static_cast<A*>(a.workspace) + blockIdx.x);
}

}  // namespace cuda
}  // namespace fastgan

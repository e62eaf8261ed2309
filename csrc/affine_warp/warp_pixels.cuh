// Pixels as the GPU's threads read and write them: channels of a group, colours, mirror images, samples without a box.
#pragma once
#include "affine_warp/warp_plan.cuh"

namespace fastgan {
namespace cuda {

// The pixel that a place shows: x goes on by reflection; y, in the adjoint, ends: -1.
template <bool adjoint>
__device__ __forceinline__ int pixel_at(int place, int size) {
  if constexpr (adjoint) return place >= 0 && place < size ? place : -1;
  return reflected(place, size);
}

// Up to kWarpColors channels of one sample.
template <class T>
struct Channels {
  using A = Accumulate<T>;
  const T* in;
  const A* color;  // or null
  int count;
  int64_t stride_c, stride_h, stride_w;

  __device__ Channels(const AffineWarpArgs& a, int64_t n, int64_t group)
      : in(static_cast<const T*>(a.x) + n * a.stride_n + group * kWarpColors * a.stride_c),
        color(a.color ? static_cast<const A*>(a.color) + n * a.c * (a.c + 1) : nullptr),
        count(int(a.c - group * kWarpColors < kWarpColors ? a.c - group * kWarpColors : kWarpColors)),
        stride_c(a.stride_c), stride_h(a.stride_h), stride_w(a.stride_w) {}

  __device__ __forceinline__ A read(int c, int column, int row) const {
    return widen(in[c * stride_c + row * stride_h + column * stride_w]);
  }
};

// One pixel that is written: what channels of the other image add to it under the colour matrix, in the adjoint transposed.
template <class T, bool adjoint>
struct PixelSums {
  using A = Accumulate<T>;
  A sum[kWarpColors] = {};

  __device__ __forceinline__ void add(const Channels<T>& all, int c, A value) {
#pragma unroll
    for (int i = 0; i < kWarpColors; ++i) {
      if (!all.color) {
        if (i == c) sum[i] += value;
      } else if (i < all.count) {
        sum[i] += __ldg(all.color + (adjoint ? c * (all.count + 1) + i : i * (all.count + 1) + c)) * value;
      }
    }
  }
  __device__ __forceinline__ void write(const AffineWarpArgs& a, const Channels<T>& all, bool linear, int64_t column,
                                        int64_t row) const {
    T* const out = static_cast<T*>(a.out) + (all.in - static_cast<const T*>(a.x)) + row * all.stride_h + column * all.stride_w;
#pragma unroll
    for (int i = 0; i < kWarpColors; ++i) {
      if (i >= all.count) continue;
      const bool shifted = all.color && !linear;
      const A shift = shifted ? __ldg(all.color + i * (all.count + 1) + all.count) : A(0);
      narrow(shifted ? sum[i] + shift : sum[i], out[i * all.stride_c]);
    }
  }
};

// The least place from `low` on that differs from `place` by whole periods.
__device__ __forceinline__ int next_place(int place, int low, int period) {
  const int rest = (place - low) % period;
  return low + (rest < 0 ? rest + period : rest);
}

// f(place) for all places from low to high at which an image of `size` pixels, by reflection, shows pixel j.
template <class F>
__device__ __forceinline__ void for_mirrors(int j, int size, int low, int high, const F& f) {
  const int period = size == 1 ? 1 : 2 * size - 2;
  for (int place = next_place(j, low, period); place <= high; place += period) f(place);
  if (j == 0 || j == size - 1) return;  // its mirror image is itself
  for (int place = next_place(-j, low, period); place <= high; place += period) f(place);
}

// A pixel of y that is a copy, or the sum of dy's copies of a pixel of x.
template <class T, bool adjoint>
__device__ void take_copies(const AffineWarpArgs& a, const WarpMap& map, const Channels<T>& all, int column, int row,
                            PixelSums<T, adjoint>& sums) {
  const int w = int(a.w), h = int(a.h), first_x = int(map.first[0]), first_y = int(map.first[1]);
  const bool turned = map.turn[0][0] == 0;  // x's columns follow y's rows
  const int step_x = int(map.turn[0][turned]), step_y = int(map.turn[1][!turned]);
  if constexpr (!adjoint) {
    const int x = reflected(first_x + step_x * (turned ? row : column), w);
    const int y = reflected(first_y + step_y * (turned ? column : row), h);
    for (int c = 0; c < all.count; ++c) sums.add(all, c, all.read(c, x, y));
  } else {
    const auto for_copies = [](int pixel, int size, int first, int step, int count, const auto& f) {
      const int last = first + step * (count - 1);
      for_mirrors(pixel, size, smaller(first, last), larger(first, last), [&](int place) { f(step * (place - first)); });
    };
    for_copies(column, w, first_x, step_x, turned ? h : w, [&](int p) {
      for_copies(row, h, first_y, step_y, turned ? w : h, [&](int q) {
        for (int c = 0; c < all.count; ++c) sums.add(all, c, turned ? all.read(c, q, p) : all.read(c, p, q));
      });
    });
  }
}

// A sample at twice the rate from 7 x 7 pixels.
template <bool adjoint, class T>
__device__ Accumulate<T> take_directly(const AffineWarpArgs& a, const Channels<T>& all, int c, double column, double row) {
  using A = Accumulate<T>;
  const PlaceTaps<A> across(column), down(row);
  A sum = 0;
#pragma unroll 1  // or registers are spilled to memory
  for (int i = 0; i < kPhaseTaps; ++i) {
    const int y = pixel_at<adjoint>(int(down.e) - kWarpReach + i, int(a.h));
    if (y < 0) continue;
    A of_row = 0, weight = 0;
#pragma unroll
    for (int j = 0; j < kPhaseTaps; ++j) {
      const int x = pixel_at<adjoint>(int(across.e) - kWarpReach + j, int(a.w));
      if (x >= 0) of_row += across.weight[j] * all.read(c, x, y);
      if (i == j) weight = down.weight[j];
    }
    sum += weight * of_row;
  }
  return sum;
}

// The adjoint of maps that have no windows: every pixel of a tile of dx from all samples of y, of which shared memory holds
// kSamples at a time, with what each column and row of the tile weighs in them.
template <class T>
class Spread {
  using A = Accumulate<T>;
  static constexpr int kColumns = 16, kRows = 8, kSamples = kColumns * kRows;

 public:
  static constexpr int kBytes = kSamples * (2 * kSide + kWarpColors) * int(sizeof(A));

  __device__ Spread(const AffineWarpArgs& a, const WarpMap& map, const Channels<T>& all, const Tile& tile, A* shared)
      : a_(a), map_(map), all_(all), tile_(tile), weights_(shared), samples_(shared + 2 * kSamples * kSide) {}

  __device__ void add_to(PixelSums<T, true>& sums) {
    const int across = (2 * int(a_.w) + kWarpTaps - 2 + kColumns - 1) / kColumns;
    const int down = (2 * int(a_.h) + kWarpTaps - 2 + kRows - 1) / kRows;
    for (int part = 0; part < across * down; ++part) {
      const int column = part % across * kColumns - kWarpCentre, row = part / across * kRows - kWarpCentre;
      if (!reads(column, row)) continue;
      find(column, row);
      __syncthreads();
      const int self = recomputed(int(threadIdx.x));  // or it stays in registers that the rest lacks
      const A* const of_column = weights_ + self % kSide;
      const A* const of_row = weights_ + kSamples * kSide + self / kSide;
#pragma unroll 1
      for (int q = 0; q < kSamples; ++q) {
        const A weight = of_column[q * kSide] * of_row[q * kSide];
        if (weight == 0) continue;
#pragma unroll 1
        for (int c = 0; c < all_.count; ++c) sums.add(all_, c, weight * samples_[c * kSamples + q]);
      }
      __syncthreads();
    }
  }

 private:
  // Whether samples from (column, row) on may read the tile.
  __device__ bool reads(int column, int row) const {
    const int size[2] = {int(a_.w), int(a_.h)};
    for (int axis = 0; axis < 2; ++axis) {
      const double half = span(map_.turn, axis, kColumns - 1, kRows - 1) / 2 + kSlack;
      const double middle = map_.place(axis, column + (kColumns - 1) / 2.0, row + (kRows - 1) / 2.0);
      const int low = floor_of((middle - half) / 2) - kWarpReach, high = floor_of((middle + half + 1) / 2) + kWarpReach;
      const int period = size[axis] == 1 ? 1 : 2 * size[axis] - 2, more = tile_.count[axis] - 1;
      const int begin = tile_.begin[axis], end = begin + more;  // of the tile, and of its mirror image
      if (next_place(end, low, period) - more > high && next_place(-begin, low, period) - more > high) return false;
    }
    return true;
  }

  __device__ void find(int column, int row) {
    const int self = recomputed(int(threadIdx.x)), q = self % kSamples, axis = self / kSamples;
    const int x = column + q % kColumns, y = row + q / kColumns;  // beyond y's last samples are 0
    const int size = int(axis ? a_.h : a_.w), begin = axis ? tile_.begin[1] : tile_.begin[0];
    A* const own = weights_ + (axis * kSamples + q) * kSide;
    for (int k = 0; k < kSide; ++k) own[k] = 0;
    const PlaceTaps<A> taps(map_.place(axis, x, y));
#pragma unroll
    for (int t = 0; t < kPhaseTaps; ++t) {
      const int k = reflected(int(taps.e) - kWarpReach + t, size) - begin;
      if (k >= 0 && k < kSide) own[k] += taps.weight[t];
    }
#pragma unroll 1
    for (int c = axis; c < all_.count; c += 2) samples_[c * kSamples + q] = take_directly<true>(a_, all_, c, x, y) / 4;
  }

  const AffineWarpArgs& a_;
  const WarpMap& map_;
  const Channels<T>& all_;
  const Tile& tile_;
  A* const weights_;  // [2, kSamples, kSide]: of the tile's columns, then of its rows
  A* const samples_;  // [kWarpColors, kSamples]
};
static_assert(kPlanBytes + Spread<double>::kBytes <= kSharedBytes, "shared memory has room for the adjoint without windows");

}  // namespace cuda
}  // namespace fastgan

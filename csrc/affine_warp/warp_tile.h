// A tile of y and the samples of x, at twice the rate, that it is made of: from an image to samples, and the adjoint.
#pragma once
#include "affine_warp/warp_taps.h"
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

constexpr int64_t kTile = 64;
constexpr int64_t kMostSamples = 1 << 18;  // that a box holds; where a tile reads more, each sample of y is made of x alone

struct Tile {
  int64_t i, j, rows, columns;

  int64_t sample_rows() const { return 2 * rows + kWarpTaps - 2; }
  int64_t sample_columns() const { return 2 * columns + kWarpTaps - 2; }
  double row(int64_t a) const { return double(2 * i - kWarpCentre + a); }
  double column(int64_t b) const { return double(2 * j - kWarpCentre + b); }
};

// The samples of x from (column, row) on, both even. There is room for the neighbours of all that a tile reads.
struct Box {
  int64_t column, row, columns, rows;

  static Box of(const WarpMap& map, const Tile& tile) {
    int64_t begin[2], count[2];
    for (int axis = 0; axis < 2; ++axis) {
      double low = map.place(axis, tile.column(0), tile.row(0)), high = low;
      for (int corner = 1; corner < 4; ++corner) {
        const double at = map.place(axis, tile.column(corner & 1 ? tile.sample_columns() - 1 : 0),
                                    tile.row(corner & 2 ? tile.sample_rows() - 1 : 0));
        low = at < low ? at : low;
        high = at > high ? at : high;
      }
      constexpr double kSlack = 0.0625;  // for places that are rounded
      begin[axis] = 2 * (int64_t(low - kSlack) / 2 - 1);
      count[axis] = (int64_t(high + kSlack) + 2 - begin[axis] + 3) / 4 * 4;
    }
    return {begin[0], begin[1], count[0], count[1]};
  }
  int64_t samples() const { return columns * rows; }
  int64_t pixel_columns() const { return columns / 2 + kPhaseTaps - 1; }
  int64_t pixel_rows() const { return rows / 2 + kPhaseTaps - 1; }
  int64_t pixel_column(int64_t k) const { return column / 2 - kWarpReach + k; }
  int64_t pixel_row(int64_t k) const { return row / 2 - kWarpReach + k; }
};

// sum_t weight[t] rows[t], `count` numbers, a multiple of 16.
template <class A>
FASTGAN_INLINE void add_rows(const A* const* rows, const A* weight, int taps, int64_t count, A* out) {
  using V = Vec<A>;
  for (int64_t k = 0; k < count; k += V::size) {
    V sum = load(rows[0] + k) * weight[0];
    for (int t = 1; t < taps; ++t) sum += load(rows[t] + k) * weight[t];
    store(sum, out + k);
  }
}

// Sums of pixels by two sets of taps, for two neighbouring places at once: the first by `even` and by `odd`, then the second.
template <class A>
FASTGAN_INLINE void put_phases(const Pair<A>& even, const Pair<A>& odd, A* out) {
  Pixel<A> of_even[2], of_odd[2];
  __builtin_memcpy(of_even, &even, sizeof even);
  __builtin_memcpy(of_odd, &odd, sizeof odd);
  for (int place = 0; place < 2; ++place) {
    put(of_even[place], out + 2 * place * kLanes);
    put(of_odd[place], out + (2 * place + 1) * kLanes);
  }
}

// Pixels of a row -> samples at twice the rate, a multiple of four.
template <class A>
void double_row(const WarpTaps<A>& taps, const A* pixels, int64_t samples, A* out) {
  A even[kPhaseTaps], odd[kPhaseTaps];
  __builtin_memcpy(even, taps.even, sizeof even);
  __builtin_memcpy(odd, taps.odd, sizeof odd);
  for (int64_t p = 0; p < samples / 2; p += 2) {
    Pair<A> pair, of_even = {}, of_odd = {};
    for (int t = 0; t < kPhaseTaps; ++t) {
      get(pair, pixels + (p + t) * kLanes);
      if (t < kPhaseTaps - 1) of_even += pair * even[t];
      if (t > 0) of_odd += pair * odd[t];
    }
    put_phases<A>(of_even, of_odd, out + p * 2 * kLanes);
  }
}

// The adjoint: samples of a row -> pixels. Six pairs of zeros lie on either side of the samples.
template <class A>
void halve_row_adjoint(const WarpTaps<A>& taps, const A* samples, int64_t pixels, A* out) {
  for (int64_t k = 0; k < pixels; ++k) {
    Pair<A> sum, pair;
    get(pair, samples + k * 2 * kLanes);
    sum = taps.up_pair[0] * pair;
    for (int t = 1; t < kPhaseTaps; ++t) {
      get(pair, samples + (k - t) * 2 * kLanes);
      sum += taps.up_pair[t] * pair;
    }
    Pixel<A> pixel;
    fold<A>(pixel, sum);
    put(pixel, out + k * kLanes);
  }
}

// Samples of a row of y -> its pixels.
template <class A>
void halve_row(const WarpTaps<A>& taps, const A* samples, int64_t pixels, A* out) {
  for (int64_t j = 0; j < pixels; ++j) {
    Pair<A> sum, pair;
    get(pair, samples + 2 * j * kLanes);
    sum = taps.down_pair[0] * pair;
    for (int q = 1; q < kWarpTaps / 2; ++q) {
      get(pair, samples + 2 * (j + q) * kLanes);
      sum += taps.down_pair[q] * pair;
    }
    Pixel<A> pixel;
    fold<A>(pixel, sum);
    put(pixel, out + j * kLanes);
  }
}

// The adjoint: pixels of a row -> their samples, and up to three more. Five pixels of zeros lie on either side.
template <class A>
void halve_row_transposed(const WarpTaps<A>& taps, const A* pixels, int64_t samples, A* out) {
  A down[kWarpTaps];
  __builtin_memcpy(down, taps.down, sizeof down);
  for (int64_t p = 0; p < samples / 2; p += 2) {
    Pair<A> pair, of_even = {}, of_odd = {};
    for (int q = 0; q < kWarpTaps / 2; ++q) {
      get(pair, pixels + (p - q) * kLanes);
      of_even += pair * down[2 * q];
      of_odd += pair * down[2 * q + 1];
    }
    put_phases<A>(of_even, of_odd, out + p * 2 * kLanes);
  }
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

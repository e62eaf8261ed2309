// The box of x that a tile of y reads: filled from an image and sampled, and the adjoint of both.
#pragma once
#include "affine_warp/warp_planes.h"
#include "affine_warp/warp_tile.h"
#include "common/parallel.h"

namespace fastgan {
namespace FASTGAN_ISA {

constexpr int64_t kEdge = 12 * kLanes;  // zeros on either side of a row
constexpr int kRing = 16;               // rows of which the latest are wanted

inline int64_t row_room(int64_t columns) { return (columns + 16) * kLanes + 2 * kEdge; }

template <class T>
class BoxSampler {
  using A = Accumulate<T>;

 public:
  // Room for boxes of at most so many samples, so many in a row. Sums of the adjoint go to pixels [h, w] of four channels.
  BoxSampler(const AffineWarpArgs& a, int64_t samples, int64_t columns, A* image)
      : a_(a), image_(image), box_(samples * kLanes), rows_(kRing * row_room(columns)), row_(row_room(columns)),
        offsets_(columns + 16) {}

  const WarpTaps<A>& taps() const { return taps_; }

  // The box <- x at twice the rate.
  void fill(const Planes<const T>& x, const Box& box) {
    const int64_t pixels = box.pixel_columns();
    int64_t* const offsets = offsets_.get();
    for (int64_t k = 0; k < pixels; ++k) offsets[k] = reflected(box.pixel_column(k), a_.w) * x.stride_w;
    for (int64_t r = 0; r < box.pixel_rows(); ++r) {
      const T* const row = x.data + reflected(box.pixel_row(r), a_.h) * x.stride_h;
      gather(x, row, offsets, pixels, row_.get());
      double_row(taps_, row_.get(), box.columns, ring(r, box.columns));
      const int64_t p = r - (kPhaseTaps - 1);
      if (p < 0) continue;
      const A* from[kPhaseTaps];
      for (int t = 0; t < kPhaseTaps; ++t) from[t] = ring(p + t, box.columns);
      A* const out = box_.get() + 2 * p * box.columns * kLanes;
      add_rows(from, taps_.even, kPhaseTaps - 1, box.columns * kLanes, out);
      add_rows(from + 1, taps_.odd + 1, kPhaseTaps - 1, box.columns * kLanes, out + box.columns * kLanes);
    }
  }

  void clear(const Box& box) { __builtin_memset(box_.get(), 0, size_t(box.samples() * kLanes) * sizeof(A)); }

  // The adjoint: the image <- itself and the box.
  void empty(const Box& box) {
    const int64_t pixels = box.pixel_columns(), width = box.columns * kLanes;
    int64_t* const offsets = offsets_.get();
    for (int64_t k = 0; k < pixels; ++k) offsets[k] = reflected(box.pixel_column(k), a_.w) * kLanes;
    A* const sums = ring(0, box.columns);
    __builtin_memset(sums - kEdge, 0, size_t(kEdge) * sizeof(A));
    __builtin_memset(sums + width, 0, size_t(kEdge) * sizeof(A));
    for (int64_t r = 0; r < box.pixel_rows(); ++r) {
      const A* from[2 * kPhaseTaps];
      A weight[2 * kPhaseTaps];
      int count = 0;
      for (int t = 0; t < kPhaseTaps; ++t) {
        const int64_t p = r - t;
        if (p < 0 || 2 * p >= box.rows) continue;
        for (int phase = 0; phase < 2; ++phase) {
          from[count] = box_.get() + (2 * p + phase) * width;
          weight[count++] = phase ? taps_.odd[t] : taps_.even[t];
        }
      }
      add_rows(from, weight, count, width, sums);
      halve_row_adjoint(taps_, sums, pixels, row_.get());
      A* const out = image_ + reflected(box.pixel_row(r), a_.h) * a_.w * kLanes;
      for (int64_t k = 0; k < pixels; ++k) add_pixel(out + offsets[k], row_.get() + k * kLanes);
    }
  }

  // f(b, four samples of the box from its upper left one on, part right of it, part below it) for a row of y's samples.
  template <class F>
  FASTGAN_INLINE void walk(const WarpMap& map, const Box& box, const Tile& tile, int64_t r, const F& f) {
    const double b = tile.column(0), a = tile.row(r);
    const A x = A(map.place(0, b, a) - double(box.column)), y = A(map.place(1, b, a) - double(box.row));
    const A step_x = A(map.turn[0][0]), step_y = A(map.turn[1][0]);
    for (int64_t k = 0; k < tile.sample_columns(); ++k) {
      const A column = x + A(k) * step_x, row = y + A(k) * step_y;
      const int32_t left = int32_t(column), above = int32_t(row);  // neither is below 0
      f(k, box_.get() + (int64_t(above) * box.columns + left) * kLanes, column - A(left), row - A(above));
    }
  }

  void take(const WarpMap& map, const Box& box, const Tile& tile, int64_t r, A* samples) {
    const int64_t below = box.columns * kLanes;
    walk(map, box, tile, r, [&](int64_t k, const A* at, A right, A down) {
      Pair<A> upper, lower;
      get(upper, at);
      get(lower, at + below);
      upper += (lower - upper) * down;
      Pixel<A> half[2];
      __builtin_memcpy(half, &upper, sizeof upper);
      half[0] += (half[1] - half[0]) * right;
      put(half[0], samples + k * kLanes);
    });
  }

  void give(const WarpMap& map, const Box& box, const Tile& tile, int64_t r, const A* samples) {
    const int64_t below = box.columns * kLanes;
    walk(map, box, tile, r, [&](int64_t k, A* at, A right, A down) {
      Pixel<A> half[2];
      get(half[0], samples + k * kLanes);
      half[1] = half[0] * right;
      half[0] -= half[1];
      Pair<A> both, upper, lower;
      __builtin_memcpy(&both, half, sizeof both);
      get(upper, at);
      get(lower, at + below);
      const Pair<A> part = both * down;
      upper += both - part;
      lower += part;
      put(upper, at);
      put(lower, at + below);
    });
  }

  // The same without a box: every sample of y from 7 x 7 pixels of x.
  template <class F>
  void walk_directly(const WarpMap& map, const Tile& tile, int64_t r, const F& f) {
    for (int64_t k = 0; k < tile.sample_columns(); ++k) {
      const double b = tile.column(k), row = tile.row(r);
      const PlaceTaps<A> across(map.place(0, b, row)), down(map.place(1, b, row));
      for (int i = 0; i < kPhaseTaps; ++i)
        for (int j = 0; j < kPhaseTaps; ++j)
          f(k, reflected(down.e - kWarpReach + i, a_.h), reflected(across.e - kWarpReach + j, a_.w),
            down.weight[i] * across.weight[j]);
    }
  }

  void take_directly(const Planes<const T>& x, const WarpMap& map, const Tile& tile, int64_t r,
                     A* samples) {
    __builtin_memset(samples, 0, size_t(tile.sample_columns() * kLanes) * sizeof(A));
    walk_directly(map, tile, r, [&](int64_t k, int64_t i, int64_t j, A weight) {
      const T* const at = x.data + i * x.stride_h + j * x.stride_w;
      for (int64_t c = 0; c < x.channels; ++c) samples[k * kLanes + c] += weight * A(widen(at[c * x.stride_c]));
    });
  }

  void give_directly(const WarpMap& map, const Tile& tile, int64_t r, const A* samples) {
    walk_directly(map, tile, r, [&](int64_t k, int64_t i, int64_t j, A weight) {
      A* const at = image_ + (i * a_.w + j) * kLanes;
      for (int c = 0; c < kLanes; ++c) at[c] += weight * samples[k * kLanes + c];
    });
  }

 private:
  A* ring(int64_t row, int64_t columns) { return rows_.get() + row % kRing * row_room(columns) + kEdge; }

  const AffineWarpArgs& a_;
  A* const image_;
  const WarpTaps<A> taps_;
  const Scratch<A> box_, rows_, row_;
  const Scratch<int64_t> offsets_;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

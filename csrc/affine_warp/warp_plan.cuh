// What a block knows of its image's map, and where it reads: windows of samples at twice the rate, and boxes of samples of the
// other image that these are made of.
//
// D's adjoint is U / 2 along each axis (beyond its outer pixels dy is 0), U's adjoint is 2 D. So the adjoint of y = D B U x, B
// for the bilinear samples, is dx = D B' U dy, and goes the same way: forward a window holds the samples that a tile of y is
// halved from, its box samples of x; in the adjoint the window is of dx, and the box holds those samples of y that read it.
// Every mirror image of a tile of dx that y sees has a window.
#pragma once
#include "gpu/gpu.h"
// after the types it is written in terms of
#include "affine_warp/affine_warp.h"

namespace fastgan {
namespace cuda {

constexpr int kSide = 16, kLeastSide = 4, kThreads = kSide * kSide;  // of a tile, a thread a pixel
constexpr int kSharedBytes = 48 << 10, kPlanBytes = 512;
constexpr double kMostSpan = 1024, kMostWindows = 256;
constexpr double kSlack = 0.0625;  // for places that are rounded

// Samples that so many pixels of an axis are halved from.
FASTGAN_DEVICE constexpr int samples_of(int pixels) { return 2 * pixels + kWarpTaps - 2; }

template <class A>
__device__ __forceinline__ int floor_of(A v) {
  const int below = int(v);
  return below - (A(below) > v);
}
template <class A>
__device__ __forceinline__ int ceiling_of(A v) {
  return -floor_of(-v);
}
__device__ __forceinline__ int larger(int a, int b) { return a > b ? a : b; }
__device__ __forceinline__ int smaller(int a, int b) { return a < b ? a : b; }

// By how much a linear map spreads so many columns and rows along an axis.
__device__ __forceinline__ double span(const double (&turn)[2][2], int axis, double columns, double rows) {
  return fabs(turn[axis][0]) * columns + fabs(turn[axis][1]) * rows;
}

// Pixels from `begin` on, columns (axis 0) and rows (1).
struct Tile {
  int begin[2], count[2];

  __device__ static Tile of(const AffineWarpArgs& a, int column, int row, int side) {
    Tile tile{{column, row}, {int(a.w) - column, int(a.h) - row}};
    for (int& count : tile.count) count = smaller(count, side);
    return tile;
  }
  __device__ bool empty() const { return count[0] <= 0 || count[1] <= 0; }
};

// Where in a block's shared memory a window's parts lie, in bytes: the pixels of columns and rows; pixels, then samples of the
// box, then halved rows; doubled rows, then samples of the window.
template <class A>
struct WarpMemory {
  int columns, rows, first, second, end;

  __device__ WarpMemory(const int (&pixels)[2], const int (&samples)[2]) {
    const int across = pixels[0] - kPhaseTaps + 1, down = pixels[1] - kPhaseTaps + 1;  // pairs of samples
    const int read = pixels[0] * pixels[1], doubled = 4 * across * down, halved = samples[1] * kSide;
    const int wide = 2 * across * pixels[1], window = samples[0] * samples[1];
    columns = kPlanBytes;
    rows = columns + pixels[0] * int(sizeof(int));
    first = (rows + pixels[1] * int(sizeof(int)) + 15) / 16 * 16;
    second = (first + larger(read, larger(doubled, halved)) * int(sizeof(A)) + 15) / 16 * 16;
    end = second + larger(wide, window) * int(sizeof(A));
  }
};

// By (column, row), in units of samples of the image that is named.
template <class A>
struct Window {
  bool empty;
  bool mirrored[2];           // the window is of the tile's mirror image
  int pixel[2], pixels[2];    // the first pixel that the box is made of, and how many: six more than its pairs of samples
  A place[2];   // forward: the window's first sample in the box; adjoint: x's place of the box's first sample, in the window
  A centre[2];  // adjoint: the window's first sample in the box, amid the samples of y that read it
};

enum class Way { unreachable, copy, window, direct };

template <class A, bool adjoint>
struct WarpPlan {
  WarpMap map;
  Way way;
  int side;           // of the tiles that have windows
  A turn[2][2], back[2][2];  // the linear map and, in the adjoint, its inverse
  A reach[2];         // adjoint: how far from a window's sample, in the box, are those of y that read it
  int mirrors[2][2];  // adjoint: how many mirror images of a tile y sees along an axis, by whether they are mirrored
  int first[2][2];    // the first pixel of the first of them
  Window<A> windows[2];  // the one that threads work on, and the next

  // By one thread, of sample n; `made` is the image that is written.
  __device__ void make(const AffineWarpArgs& a, int64_t n) {
    map = WarpMap::of(static_cast<const A*>(a.theta) + 6 * n, a.h, a.w);
    size_[0] = double(a.w);
    size_[1] = double(a.h);
    way = !map.reachable ? Way::unreachable : map.copies ? Way::copy : Way::direct;
    if (way != Way::direct) return;
    find_box_map();
    for (side = kSide; side >= kLeastSide && way == Way::direct; side /= 2)
      if (fits()) way = Way::window;
    side = way == Way::window ? 2 * side : kSide;
  }

  // By one thread: the mirror images of a tile of dx that y sees.
  __device__ void find_mirrors(const Tile& tile) {
    for (int axis = 0; axis < 2; ++axis) {
      const double least = (low_[axis] - 2 - kWarpCentre) / 2 - (tile.count[axis] - 1);
      const double most = (high_[axis] + 1 + kWarpCentre) / 2, period = period_of(axis);
      for (int mirrored = 0; mirrored < 2; ++mirrored) {
        const int begin = mirrored ? 1 - tile.begin[axis] - tile.count[axis] : tile.begin[axis];
        const int from = ceiling_of((least - begin) / period), to = floor_of((most - begin) / period);
        first[axis][mirrored] = begin + from * int(period);
        mirrors[axis][mirrored] = to < from || (mirrored && size_[axis] == 1) ? 0 : to - from + 1;
      }
    }
  }

  __device__ int windows_along(int axis) const { return adjoint ? mirrors[axis][0] + mirrors[axis][1] : 1; }

  // By one thread: window `number` of a tile.
  __device__ void find_window(const Tile& tile, int number) {
    Window<A>& window = windows[number % 2];
    double at[2], middle[2];  // of the window's first sample, and of its middle
    const int across = windows_along(0), numbers[2] = {number % across, number / across};
    for (int axis = 0; axis < 2; ++axis) {
      int pixel = tile.begin[axis];
      window.mirrored[axis] = false;
      if constexpr (adjoint) {
        const bool mirrored = numbers[axis] >= mirrors[axis][0];
        window.mirrored[axis] = mirrored;
        pixel = first[axis][mirrored] + (numbers[axis] - (mirrored ? mirrors[axis][0] : 0)) * int(period_of(axis));
      }
      at[axis] = 2 * pixel - kWarpCentre;
      middle[axis] = at[axis] + (samples_of(tile.count[axis]) - 1) / 2.0;
    }
    window.empty = false;
    double begin[2];
    for (int axis = 0; axis < 2; ++axis) {
      const double half = half_span(axis, samples_of(tile.count[0]), samples_of(tile.count[1])) + kSlack;
      double low = place(axis, middle) - half, high = place(axis, middle) + half + (adjoint ? 0 : 1);
      if constexpr (adjoint) {
        low = greater(low, double(-kWarpCentre));
        high = lesser(high, 2 * size_[axis] + kWarpTaps - kWarpCentre - 3);
        if (!(low <= high)) window.empty = true;
      }
      const int pair = floor_of(low / 2), pairs = (floor_of(high / 2) - pair + 2) / 2 * 2;
      window.pixel[axis] = pair - kWarpReach;
      window.pixels[axis] = pairs + kPhaseTaps - 1;
      begin[axis] = 2 * pair;
    }
    for (int axis = 0; axis < 2; ++axis) {
      window.place[axis] = A(adjoint ? map.place(axis, begin[0], begin[1]) - at[axis] : place(axis, at) - begin[axis]);
      window.centre[axis] = A(place(axis, at) - begin[axis]);
    }
  }

 private:
  double size_[2];
  double box_turn_[2][2];  // from the window's samples to the box's
  double low_[2], high_[2];   // places in x that y's samples take

  __device__ double period_of(int axis) const { return size_[axis] == 1 ? 1 : 2 * size_[axis] - 2; }

  // Of a place of the window's image, in that of the box.
  __device__ double place(int axis, const double (&at)[2]) const {
    if constexpr (!adjoint) return map.place(axis, at[0], at[1]);
    return box_turn_[axis][0] * (at[0] - map.shift[0]) + box_turn_[axis][1] * (at[1] - map.shift[1]);
  }

  // Half of what so many samples of a window read along an axis of the box's image.
  __device__ double half_span(int axis, double columns, double rows) const {
    const double more = adjoint ? 1 : -1;  // the adjoint's are read by all that is nearer than one sample
    return span(box_turn_, axis, columns + more, rows + more) / 2;
  }

  __device__ void find_box_map() {
    const double(&t)[2][2] = map.turn;
    const double scale = adjoint ? 1 / (t[0][0] * t[1][1] - t[0][1] * t[1][0]) : 1;
    for (int axis = 0; axis < 2; ++axis) {
      const int other = 1 - axis;
      for (int k = 0; k < 2; ++k) {
        turn[axis][k] = A(t[axis][k]);
        box_turn_[axis][k] = !adjoint ? t[axis][k] : scale * (axis == k ? t[other][other] : -t[axis][k]);
        back[axis][k] = A(box_turn_[axis][k]);
      }
      reach[axis] = A(span(box_turn_, axis, 1, 1) + kSlack);
      const double middle = map.place(axis, size_[0] - 0.5, size_[1] - 0.5);
      const double half = span(map.turn, axis, 2 * size_[0] + kWarpTaps - 3, 2 * size_[1] + kWarpTaps - 3) / 2;
      low_[axis] = middle - half;
      high_[axis] = middle + half;
    }
  }

  // Whether windows of tiles of this side have boxes for which there is room, and are not too many. A map without an inverse
  // has infinite spans, or none.
  __device__ bool fits() const {
    int samples[2], pixels[2];
    double count = 1;
    for (int axis = 0; axis < 2; ++axis) samples[axis] = samples_of(smaller(side, int(size_[axis])));
    for (int axis = 0; axis < 2; ++axis) {
      double half = half_span(axis, samples[0], samples[1]);
      if (!(half <= kMostSpan)) return false;
      if constexpr (adjoint) {
        half = lesser(half, (2 * size_[axis] + kWarpTaps - 3) / 2);
        count *= 2 + (high_[axis] - low_[axis] + 2 * side + kWarpTaps) / period_of(axis);
      }
      pixels[axis] = int(half + 3 + kSlack + 1) / 2 * 2 + kPhaseTaps - 1;
    }
    return count <= kMostWindows && WarpMemory<A>(pixels, samples).end <= kSharedBytes;
  }
};
static_assert(sizeof(WarpPlan<double, true>) <= kPlanBytes, "shared memory has room for a plan");

}  // namespace cuda
}  // namespace fastgan

// upfirdn2d with filters that are known when it is compiled: a thread computes a patch of outputs in registers, input
// row after input row, each of which is read once.
#pragma once
#include "gpu/gpu.h"
// after the types it is written in terms of
#include "upfirdn2d/upfirdn2d.h"

namespace fastgan {
namespace cuda {

// Both axes alike, pad0 a multiple of up. A patch begins at an output that is a multiple of up: its input 0 meets
// kernel tap 0 there, and input i reaches output j through tap i * up - j * down, if there is such a tap.
template <int up_, int down_, int taps_>
struct Fir {
  static constexpr int up = up_, down = down_, taps = taps_;
  FASTGAN_DEVICE static constexpr int tap(int i, int j) { return i * up - j * down; }
  FASTGAN_DEVICE static constexpr bool reaches(int i, int j) { return tap(i, j) >= 0 && tap(i, j) < taps; }
  FASTGAN_DEVICE static constexpr bool completes(int i, int j) { return reaches(i, j) && !reaches(i + 1, j); }
  FASTGAN_DEVICE static constexpr int inputs(int outputs) { return ((outputs - 1) * down + taps - 1) / up + 1; }
};

// How a block is laid out. Its threads are 2^log_c (packed: packets of a pixel; planar: planes), 2^log_x and 2^log_y.
struct PatchLaunch {
  Upfirdn2dArgs a;
  int log_c = 0, log_x = 0, log_y = 0;
  unsigned tiles_c = 1, tiles_x = 1, tiles_y = 1;  // blocks; in planar kernels tiles_c is the slowest of the three
  int rows = 0, width = 0, pitch = 0;              // planar: inputs of a tile, and numbers from one row to the next
  int rounds = 0;                                  // packed: rows of patches that a thread computes
  int log_across = 0, log_rest = 0;                // planar: threads that fetch a row, and the rest of one
  bool pairs = false;                              // planar: halves are fetched two at a time
  bool packets = false;                            // planar: rows of y are stored in packets
};

template <class F, bool full, class A>
struct Weights {
  A x[full ? F::taps * F::taps : F::taps], y[full ? 1 : F::taps];

  __device__ __forceinline__ explicit Weights(const Upfirdn2dArgs& a) {
    constexpr int count = full ? F::taps * F::taps : F::taps;
    const A* const f = static_cast<const A*>(a.filter);
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const A tap = __ldg(f + (a.flip ? k : count - 1 - k));
      x[k] = tap * A(a.gain);
      if constexpr (!full) y[k] = tap;
    }
  }
};

// Sums of rows x columns outputs, of each of `lanes` channels. A ring is a patch that moves down: its inputs also reach
// the outputs of the patch above, which it keeps in the places of its own until they are complete.
template <class F, bool full, bool ring, int rows, int columns, int lanes, class A>
struct Patch {
  static constexpr int first_row = ring ? 1 - rows : 0;
  A sum[rows][columns][lanes];

  __device__ __forceinline__ Patch() {
#pragma unroll
    for (int j = 0; j < rows; ++j) clear(sum[j]);
  }
  __device__ __forceinline__ static void clear(A (&row)[columns][lanes]) {
#pragma unroll
    for (int p = 0; p < columns; ++p)
#pragma unroll
      for (int v = 0; v < lanes; ++v) row[p][v] = A(0);
  }
  __device__ __forceinline__ A (&at(int j))[columns][lanes] { return sum[(j + rows) % rows]; }

  // Input row i of the patch.
  __device__ __forceinline__ void add(int i, const A (&u)[F::inputs(columns)][lanes], const Weights<F, full, A>& w) {
    if constexpr (full) {
#pragma unroll
      for (int j = first_row; j < rows; ++j)
        if (F::reaches(i, j)) across(w.x + F::tap(i, j) * F::taps, u, at(j));
    } else {
      A row[columns][lanes];
      clear(row);
      across(w.x, u, row);
#pragma unroll
      for (int j = first_row; j < rows; ++j)
        if (F::reaches(i, j))
#pragma unroll
          for (int p = 0; p < columns; ++p)
#pragma unroll
            for (int v = 0; v < lanes; ++v) at(j)[p][v] += w.y[F::tap(i, j)] * row[p][v];
    }
  }

 private:
  __device__ __forceinline__ void across(const A* weights, const A (&u)[F::inputs(columns)][lanes],
                                         A (&to)[columns][lanes]) {
#pragma unroll
    for (int p = 0; p < columns; ++p)
#pragma unroll
      for (int c = 0; c < F::inputs(columns); ++c)
        if (F::reaches(c, p))
#pragma unroll
          for (int v = 0; v < lanes; ++v) to[p][v] += weights[F::tap(c, p)] * u[c][v];
  }
};

// A packet, or zeros. In words, since halves would be chosen one by one.
template <int count, class T>
__device__ __forceinline__ Packet<T, count> load_inside(const T* p, bool inside) {
  Packet<T, count> packet = {};
  if constexpr (sizeof packet < 4) {
    if (inside) packet.v[0] = *p;
  } else {
    constexpr int words = int(sizeof packet) / 4;
    Packet<uint32_t, words> bits = {};
    if (inside) bits = load_packet<words>(reinterpret_cast<const uint32_t*>(p));
    memcpy(&packet, &bits, sizeof packet);
  }
  return packet;
}

}  // namespace cuda
}  // namespace fastgan

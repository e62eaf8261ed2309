// upfirdn2d with filters that are known when it is compiled: a thread computes a patch of outputs in registers, input row
// after input row, each of which is read once.
#pragma once
#include "cuda/gpu.h"
// after the types it is written in terms of
#include "upfirdn2d/upfirdn2d.h"

namespace fastgan {
namespace cuda {

// Both axes alike, pad0 a multiple of up. A patch begins at an output that is a multiple of up: its input 0 meets kernel
// tap 0 there, and input i reaches output j through tap i * up - j * down, if there is such a tap.
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

// Sums of rows x columns outputs, of each of `lanes` channels. A ring is a patch that moves down: its inputs also reach the
// outputs of the patch above, which it keeps in the places of its own until they are complete.
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

// Planar: single numbers a pixel. A patch is at most 16 bytes wide, and no more than 4 numbers of input apart from the
// next, so that a warp reads shared memory without bank conflicts.
template <class T, class F>
struct PlanarPatch {
  static constexpr int by_input = 4 * F::up / F::down, by_bytes = 16 / int(sizeof(T));
  static constexpr int columns = by_input < by_bytes ? by_input : by_bytes, rows = F::down == 1 ? 8 : 4;
  static constexpr int step_x = columns * F::down / F::up, step_y = rows * F::down / F::up;  // inputs to the next patch
  static constexpr int window = (F::inputs(columns) + step_x - 1) / step_x;  // packets of step_x inputs that it reads
  static_assert(sizeof(T) != 2 || window * step_x > F::inputs(columns), "rows end in a number that nothing reads");
  static constexpr int lead = 4;  // numbers before the first tile
  static constexpr int in_flight = (7 * step_y + F::inputs(rows) + 7) / 8;   // rows of a tile that one of 8 warps fetches
};

// Copies packs [begin, end) of the rows of a plane's tile, [l.rows, l.pitch] from (first_y, first_x) on, 0 outside the
// image. 2^log_across of the 2^(log_x + log_y) threads share a row; each has `in_flight` packs on their way at a time.
// A pack may also write the column before the tile or after it: the last one of a row, which nothing reads.
template <int pack, int in_flight, class T, class A>
__device__ __forceinline__ void fetch_columns(const PatchLaunch& l, const T* plane, int height, int own, int first_y,
                                              int first_x, int begin, int end, int log_across, A* tile) {
  const int log_y = l.log_x + l.log_y - log_across, top = own >> log_across;
  const int width = int(l.a.axis_x.in), bottom = first_y + l.rows;
#pragma unroll 1
  for (int p = begin + (own & ((1 << log_across) - 1)); p < end; p += 1 << log_across) {
    const int x = (first_x & ~(pack - 1)) + p * pack;
    const bool inside = x >= 0 && x < width && bottom > 0;
    const unsigned limit = inside ? unsigned(bottom < height ? bottom : height) : 0;
    int y = first_y + top;
    unsigned from = unsigned(y) * unsigned(width) + unsigned(x);  // may wrap outside the image
    A* to = tile + top * l.pitch + x - first_x;
#pragma unroll 1
    while (y < bottom) {
      Packet<T, pack> in[in_flight];
#pragma unroll
      for (int b = 0; b < in_flight; ++b, from += unsigned(width) << log_y)
        in[b] = load_inside<pack>(plane + from, unsigned(y + (b << log_y)) < limit);
#pragma unroll
      for (int b = 0; b < in_flight; ++b, y += 1 << log_y, to += l.pitch << log_y)
        if (y < bottom)
#pragma unroll
          for (int k = 0; k < pack; ++k) to[k] = widen(in[b].v[k]);
    }
  }
}

// The whole tile: as many columns as a warp takes evenly, then the rest, of which threads take more rows at a time.
template <int pack, int in_flight, class T, class A>
__device__ __forceinline__ void fetch_tile(const PatchLaunch& l, const T* plane, int height, int own, int first_y,
                                           int first_x, A* tile) {
  const int packs = (l.width + (first_x & (pack - 1)) + pack - 1) / pack, main = packs & -(1 << l.log_across);
  fetch_columns<pack, in_flight>(l, plane, height, own, first_y, first_x, 0, main, l.log_across, tile);
  fetch_columns<pack, 2>(l, plane, height, own, first_y, first_x, main, packs, l.log_rest, tile);
}

// Stores a thread's outputs of a row whose part for these threads begins at `to` and has `left` columns. Rows that
// cannot take packets are turned round in `turn`, so that neighbouring threads still store neighbouring numbers.
template <int columns, class T, class A>
__device__ __forceinline__ void store_outputs(const PatchLaunch& l, const A (&sum)[columns][1], int tx, int left, T* to,
                                              T* turn) {
  Packet<T, columns> packet;
#pragma unroll
  for (int p = 0; p < columns; ++p) narrow(sum[p][0], packet.v[p]);
  if (l.packets) {
    if (tx * columns < left) store_packet(to + tx * columns, packet);
    return;
  }
  store_packet(turn + tx * columns, packet);
  __syncwarp();
#pragma unroll
  for (int p = 0; p < columns; ++p) {
    const int at = (p << l.log_x) + tx;
    if (at < left) to[at] = turn[at];
  }
  __syncwarp();
}

template <class T, class F, bool full>
__global__ void __launch_bounds__(256, sizeof(T) == 8 ? 2 : 4) upfirdn2d_planar_kernel(PatchLaunch l) {
  using A = Accumulate<T>;
  using P = PlanarPatch<T, F>;
  FASTGAN_SHARED(A, shared);  // [planes, rows, pitch], and 256 packets of outputs where they are not stored as such
  const int log_plane = l.log_x + l.log_y, own = int(threadIdx.x) & ((1 << log_plane) - 1);
  const int slot = int(threadIdx.x) >> log_plane, tx = own & ((1 << l.log_x) - 1), ty = own >> l.log_x;
  const unsigned row_of_tiles = blockIdx.x / l.tiles_x, tile_x = blockIdx.x - row_of_tiles * l.tiles_x;
  const unsigned group = row_of_tiles / l.tiles_y, tile_y = row_of_tiles - group * l.tiles_y;
  const ResampleAxis &ay = l.a.axis_y, &ax = l.a.axis_x;
  const int out_y = int(tile_y << l.log_y) * P::rows, out_x = int(tile_x << l.log_x) * P::columns;
  const int first_y = (out_y * F::down - int(ay.pad0)) / F::up, first_x = (out_x * F::down - int(ax.pad0)) / F::up;
  const int64_t plane = (int64_t(group) << l.log_c) + slot;
  const bool any = plane < l.a.planes;
  A* const tile = shared + P::lead + slot * l.rows * l.pitch;

  const T* const in = static_cast<const T*>(l.a.x) + (any ? plane * ay.in * ax.in : 0);
  const int height = any ? int(ay.in) : 0;
  if (sizeof(T) == 2 && l.pairs)
    fetch_tile<2, P::in_flight>(l, in, height, own, first_y, first_x, tile);
  else
    fetch_tile<1, P::in_flight>(l, in, height, own, first_y, first_x, tile);
  const Weights<F, full, A> weights(l.a);
  __syncthreads();

  const int begin = out_y + ty * P::rows, left = any ? int(ax.out) - out_x : 0;
  T* to = static_cast<T*>(l.a.y) + (plane * ay.out + begin) * ax.out + out_x;
  T* const turn = reinterpret_cast<T*>(shared + P::lead + (l.rows * l.pitch << l.log_c)) + (int(threadIdx.x) - tx) * P::columns;
  const A* from = tile + ty * P::step_y * l.pitch + tx * P::step_x;
  Patch<F, full, false, P::rows, P::columns, 1, A> patch;
#pragma unroll
  for (int i = 0; i < F::inputs(P::rows); ++i, from += l.pitch) {
    A u[F::inputs(P::columns)][1];
#pragma unroll
    for (int k = 0; k < P::window; ++k) {
      const Packet<A, P::step_x> packet = load_packet<P::step_x>(from + k * P::step_x);
#pragma unroll
      for (int c = 0; c < P::step_x; ++c)
        if (k * P::step_x + c < F::inputs(P::columns)) u[k * P::step_x + c][0] = packet.v[c];
    }
    patch.add(i, u, weights);
#pragma unroll
    for (int j = 0; j < P::rows; ++j) {
      if (!F::completes(i, j)) continue;
      store_outputs(l, patch.sum[j], tx, begin + j < ay.out ? left : 0, to, turn);
      to += ax.out;
    }
  }
}

// Packed: pixels of many channels. A thread has a packet of channels, and a ring of outputs that moves down. One column
// where the weights of two would not fit into the registers.
template <class T, class F, bool full>
struct PackedPatch {
  static constexpr int lanes = 16 / int(sizeof(T)), columns = full && sizeof(T) == 2 && F::up == 1 ? 1 : 2;
  static constexpr int rows = F::taps / F::down;
  static constexpr int inputs = rows * F::down / F::up;  // input rows that it moves down by at a time
  static_assert(F::taps % F::down == 0 && rows % F::up == 0, "a ring holds all outputs that an input reaches");
};

template <class T, class F, bool full>
__global__ void __launch_bounds__(128, 3) upfirdn2d_packed_kernel(PatchLaunch l) {
  using A = Accumulate<T>;
  using P = PackedPatch<T, F, full>;
  const unsigned column_of_tiles = blockIdx.x / l.tiles_c, tile_c = blockIdx.x - column_of_tiles * l.tiles_c;
  const unsigned row_of_tiles = column_of_tiles / l.tiles_x, tile_x = column_of_tiles - row_of_tiles * l.tiles_x;
  const unsigned plane = row_of_tiles / l.tiles_y, tile_y = row_of_tiles - plane * l.tiles_y;
  const unsigned own = threadIdx.x, own_x = own >> l.log_c, own_y = own_x >> l.log_x;
  const int out_y = int((tile_y << l.log_y) + own_y) * P::rows * l.rounds;
  const int out_x = int((tile_x << l.log_x) + (own_x & ((1u << l.log_x) - 1))) * P::columns;
  const int64_t pixel = l.a.pixel, channel = int64_t((tile_c << l.log_c) + (own & ((1u << l.log_c) - 1))) * P::lanes;
  const ResampleAxis &ay = l.a.axis_y, &ax = l.a.axis_x;
  const int left_x = int(ax.out) - out_x, left_y = int(ay.out) - out_y;
  if (channel >= pixel || left_x <= 0 || left_y <= 0) return;

  int y = (out_y * F::down - int(ay.pad0)) / F::up;
  const int first_x = (out_x * F::down - int(ax.pad0)) / F::up, height = int(ay.in), width = int(ax.in);
  const int64_t in_row = ax.in * pixel, out_row = ax.out * pixel;
  const T* from = static_cast<const T*>(l.a.x) + (plane * ay.in + y) * in_row + first_x * pixel + channel;
  T* to = static_cast<T*>(l.a.y) + (plane * ay.out + out_y) * out_row + out_x * pixel + channel;
  const Weights<F, full, A> weights(l.a);
  Patch<F, full, true, P::rows, P::columns, P::lanes, A> ring;
  const int end = left_y < P::rows * l.rounds ? left_y : P::rows * l.rounds;
  // The round after the last completes what the last one began.
#pragma unroll 1
  for (int row = 0; row < end + P::rows; row += P::rows) {
#pragma unroll
    for (int i = 0; i < P::inputs; ++i, ++y, from += in_row) {
      A u[F::inputs(P::columns)][P::lanes];
#pragma unroll
      for (int c = 0; c < F::inputs(P::columns); ++c) {
        const bool inside = y >= 0 && y < height && first_x + c >= 0 && first_x + c < width;
        const Packet<T, P::lanes> packet = load_inside<P::lanes>(from + c * pixel, inside);
#pragma unroll
        for (int v = 0; v < P::lanes; ++v) u[c][v] = widen(packet.v[v]);
      }
      ring.add(i, u, weights);
#pragma unroll
      for (int j = ring.first_row; j < P::rows; ++j) {
        if (!F::completes(i, j)) continue;
        const bool wanted = row + j >= 0 && row + j < end;
#pragma unroll
        for (int p = 0; p < P::columns; ++p) {
          Packet<T, P::lanes> packet;
#pragma unroll
          for (int v = 0; v < P::lanes; ++v) narrow(ring.at(j)[p][v], packet.v[v]);
          if (wanted && p < left_x) store_packet(to + p * pixel, packet);
        }
        if (wanted) to += out_row;
        ring.clear(ring.at(j));
      }
    }
  }
}

}  // namespace cuda
}  // namespace fastgan

// upfirdn2d of planes of single numbers, [N, C, H, W], with the filters of upfirdn2d_patch.cuh: a block fetches the
// inputs of a tile into shared memory, each of its threads computes a patch of it.
#pragma once
#include "upfirdn2d/upfirdn2d_patch.cuh"

namespace fastgan {
namespace cuda {

// A patch is at most 16 bytes wide, and no more than 4 numbers of input apart from the next, so that a warp reads
// shared memory without bank conflicts.
template <class T, class F>
struct PlanarPatch {
  static constexpr int by_input = 4 * F::up / F::down, by_bytes = 16 / int(sizeof(T));
  static constexpr int columns = by_input < by_bytes ? by_input : by_bytes, rows = F::down == 1 ? 8 : 4;
  static constexpr int step_x = columns * F::down / F::up, step_y = rows * F::down / F::up;  // inputs to the next patch
  static constexpr int window = (F::inputs(columns) + step_x - 1) / step_x;  // packets of step_x inputs that it reads
  static_assert(sizeof(T) != 2 || window * step_x > F::inputs(columns), "rows end in a number that nothing reads");
  static constexpr int per_16 = 16 / int(sizeof(Accumulate<T>));
  static_assert(step_x % per_16 == 0 || (2 * step_x % per_16 == 0 && step_y % 2 == 0 && F::inputs(rows) % 2 == 0),
                "tiles end at 16 bytes");
  static constexpr int lead = 4;  // numbers before the first tile
  static constexpr int in_flight = (7 * step_y + F::inputs(rows) + 7) / 8;  // rows of a tile for each of 8 warps
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
  store_shared_packet(turn + tx * columns, packet);
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
  T* const turns = reinterpret_cast<T*>(shared + P::lead + (l.rows * l.pitch << l.log_c));
  T* const turn = turns + (int(threadIdx.x) - tx) * P::columns;
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

}  // namespace cuda
}  // namespace fastgan

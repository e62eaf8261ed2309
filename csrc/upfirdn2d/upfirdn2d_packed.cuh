// upfirdn2d of pixels of many channels, [N, H, W, C], with the filters of upfirdn2d_patch.cuh: inputs come through the
// L1 cache, which neighbouring threads share.
#pragma once
#include "upfirdn2d/upfirdn2d_patch.cuh"

namespace fastgan {
namespace cuda {

// A thread has a packet of channels, and a ring of outputs that moves down. One column where the weights of two would
// not fit into the registers.
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

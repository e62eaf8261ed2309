// The horizontal FIRs of a strip: rows of inputs on their way into the columns of the middle, rows of outputs on theirs out.
#pragma once
#include "filtered_lrelu/filtered_lrelu_strip.cuh"

namespace fastgan {
namespace cuda {

// Inputs of rows from `row` on into shared memory, with their bias, 0 outside; `apart`: rows from a plane to the next.
template <class T, class S, class A, class In>
__device__ __forceinline__ void fetch_rows(const StreamLaunch& l, const Strip<S>& strip, int row, int column, int pitch,
                                           const A* bias, In* inputs, int apart) {
  const FilteredLreluArgs& a = l.a;
  const int height = int(a.axis_y.in), width = int(a.axis_x.in), step = a.channels_last ? int(a.channels) : 1;
  const int planes = 1 << l.log_planes, warps = int(blockDim.x) / 32, count = (l.up_length + S::window) << l.log_planes;
  for (int r = int(threadIdx.x) / 32; r < S::in; r += warps) {
    const int y = row + r;
    const bool inside = y >= 0 && y < height;
    const T* const from = static_cast<const T*>(a.x) + (inside ? place_of(a, strip.n, strip.c, height, width, y, 0) : 0);
    for (int i = int(threadIdx.x) % 32; i < count; i += 32) {
      const int p = i & (planes - 1), j = i >> l.log_planes, x = column + j;
      A value = 0;
      if (inside && unsigned(x) < unsigned(width) && strip.c + p < a.channels)
        value = widen(from[int64_t(x) * step + p]) + bias[p];
      narrow(value, inputs[(p * apart + r) * pitch + j]);
    }
  }
}

// Numbers from p on, which is aligned to 16 bytes.
template <int count, class A>
__device__ __forceinline__ void load_run(const A* p, A (&to)[(count + 3) / 4 * 4]) {
#pragma unroll
  for (int k = 0; k < (count + 3) / 4; ++k) {
    const Packet<A, 4> packet = load_packet<4>(p + 4 * k);
#pragma unroll
    for (int i = 0; i < 4; ++i) to[4 * k + i] = packet.v[i];
  }
}

// Rows at the up-sampled rate: sample q is number q / up of class q % up.
template <class S, class A>
__device__ __forceinline__ void widen_rows(const StreamLaunch& l, const A (&up)[S::up_taps][1], int input_pitch,
                                           const A* inputs, A* rows) {
  const int quads = l.up_length / 4, count = (S::in * quads) << l.log_planes;
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) {
    const int r = divided(i, l.per_quad), quad = i - r * quads;
    constexpr int run = 4 + S::window - (S::up == 1 ? 1 : 0);
    A in[(run + 3) / 4 * 4];
    load_run<run>(inputs + r * input_pitch + 4 * quad, in);
#pragma unroll
    for (int c = 0; c < S::up; ++c) {
      Packet<A, 4> sums;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        A sum = 0;
#pragma unroll
        for (int t = 0; t < S::window; ++t) sum += up[(S::up - c) % S::up + S::up * t][0] * in[e + (c > 0) + t];
        sums.v[e] = sum;
      }
      store_shared_packet(rows + (r * S::up + c) * l.up_length + 4 * quad, sums);
    }
  }
}

// Stores 4 outputs of a row, from column x on, and returns their sum.
template <class T, class A>
__device__ __forceinline__ A store_quad(const StreamLaunch& l, int64_t n, int64_t c, int64_t y, int64_t x, const A (&sum)[4]) {
  const FilteredAxis &ay = l.a.axis_y, &ax = l.a.axis_x;
  T* const to = static_cast<T*>(l.a.y) + place_of(l.a, n, c, ay.out, ax.out, y, x);
  if (l.packets) {
    if (x < 0 || x >= ax.out) return 0;
    Packet<T, 4> packet;
#pragma unroll
    for (int e = 0; e < 4; ++e) narrow(sum[e], packet.v[e]);
    store_packet(to, packet);
    return sum[0] + sum[1] + (sum[2] + sum[3]);
  }
  const int64_t step = l.a.channels_last ? l.a.channels : 1;
  A total = 0;
#pragma unroll
  for (int e = 0; e < 4; ++e)
    if (x + e >= 0 && x + e < ax.out) {
      narrow(sum[e], to[e * step]);
      total += sum[e];
    }
  return total;
}

// Outputs of a chunk, of rows from `row` on, from sums along y. A thread keeps to a plane. Returns what it has stored.
template <class T, class S, class A>
__device__ __forceinline__ A finish_rows(const StreamLaunch& l, const Strip<S>& strip, int row, const A (&down)[S::down_taps],
                                         const A* columns) {
  const int quads = l.own / (4 * S::down), count = (S::out * quads) << l.log_planes;
  A total = 0;
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) {
    const int p = i & ((1 << l.log_planes) - 1), item = i >> l.log_planes, r = divided(item, l.per_out);
    const int quad = item - r * quads;
    if (row + r < strip.out_begin || row + r >= strip.out_end || strip.c + p >= l.a.channels) continue;
    const A* from = columns + (p * S::out + r) * S::down * l.down_length + 4 * quad;
    A sum[4] = {};
#pragma unroll
    for (int c = 0; c < S::down; ++c, from += l.down_length) {
      constexpr int run = 3 + S::reach;
      A in[(run + 3) / 4 * 4];
      load_run<run>(from, in);
#pragma unroll
      for (int t = 0; t < S::reach; ++t)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] += down[c + S::down * t] * in[e + t];
    }
    total += store_quad<T>(l, strip.n, strip.c + p, row + r, strip.out_x + 4 * quad, sum);
  }
  return total;
}

// The same from rows of the middle, by a filter that is full: `weights` has those of a class of columns in a row. Row k of the
// ring is row k of the strip, modulo its length; `top` is tap 0 of the first output.
template <class T, class S, class A>
__device__ __forceinline__ void finish_full(const StreamLaunch& l, const Strip<S>& strip, int row, int top, const A* weights,
                                         const A* ring) {
  constexpr int ring_rows = StreamMemory<S, false, true>::ring, pair = 2;
  const int quads = l.own / (4 * S::down), count = (S::out / pair * quads) << l.log_planes, pitch = S::down * l.down_length;
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) {
    const int p = i & ((1 << l.log_planes) - 1), item = i >> l.log_planes, r = divided(item, l.per_out);
    const int quad = item - r * quads;
    if (strip.c + p >= l.a.channels) continue;
    const A* const plane = ring + p * ring_rows * pitch + 4 * quad;
    A sum[pair][4] = {};
#pragma unroll 1
    for (int k = 0; k < S::down_taps + S::down; ++k) {
      const A* const from = plane + ((top + r * pair * S::down + k) & (ring_rows - 1)) * pitch;
#pragma unroll
      for (int c = 0; c < S::down; ++c) {
        constexpr int run = 3 + S::reach;
        A in[(run + 3) / 4 * 4];
        load_run<run>(from + c * l.down_length, in);
#pragma unroll
        for (int o = 0; o < pair; ++o) {
          if (k < o * S::down || k >= S::down_taps + o * S::down) continue;
          const A* const taps = weights + ((k - o * S::down) * S::down + c) * S::reach;
#pragma unroll
          for (int t = 0; t < S::reach; ++t)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[o][e] += taps[t] * in[e + t];
        }
      }
    }
#pragma unroll
    for (int o = 0; o < pair; ++o) {
      const int y = row + r * pair + o;
      if (y >= strip.out_begin && y < strip.out_end)
        store_quad<T>(l, strip.n, strip.c + p, y, strip.out_x + 4 * quad, sum[o]);
    }
  }
}

// The sum of each plane over a block, in order.
template <class A>
__device__ __forceinline__ void store_plane_sums(const StreamLaunch& l, int64_t n, int64_t c, A total, A* warps) {
  const int planes = 1 << l.log_planes, self = int(threadIdx.x);
  for (int lane = planes; lane < 32; lane *= 2) total += __shfl_xor_sync(0xFFFFFFFFu, total, lane);
  if (self % 32 < planes) warps[self / 32 * planes + self % 32] = total;
  __syncthreads();
  if (self >= planes || c + self >= l.a.channels) return;
  for (int w = 1; w < int(blockDim.x) / 32; ++w) total += warps[w * planes + self];
  const int64_t part = blockIdx.x % (l.tiles * l.segments), parts = int64_t(l.tiles) * l.segments;
  static_cast<A*>(l.a.workspace)[(n * l.a.channels + c + self) * parts + part] = total;
}

}  // namespace cuda
}  // namespace fastgan

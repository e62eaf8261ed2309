// filtered_lrelu with the filters of StyleGAN3: a block walks down a strip of an image, a thread a column between the FIRs.
// Both vertical FIRs and what lies between them stay in the registers of that thread, so that nothing but the horizontal
// FIRs goes through shared memory, and rows are computed once.
#pragma once
#include "filtered_lrelu/filtered_lrelu_middle.cuh"

namespace fastgan {
namespace cuda {

// Factors and taps that kernels are compiled for, of both axes.
template <int up_, int down_, int up_taps_, int down_taps_>
struct Sampler {
  static constexpr int up = up_, down = down_, up_taps = up_taps_, down_taps = down_taps_;
  static constexpr int classes = int(filtered_classes(up, down)), common = up * down / classes;  // least multiple, greatest divisor
  static constexpr int window = up_taps / up, reach = down_taps / down;  // inputs of a sample, outputs that one is for
  static constexpr int rows = 16, in = rows / up, out = rows / down;     // of the middle at a time, and what goes with them
  static_assert(up_taps % up == 0 && down_taps % down == 0 && rows % up == 0 && rows % down == 0 && common <= 2 && (up <= 2 || down <= 2 || up == down), "whole windows, few phases");
};

// A tile has `groups` groups of columns of the middle, as many as words of a class have, from a multiple of as many on. The
// last is there for the outputs of those before, where there are several tiles.
struct StreamLaunch {
  FilteredLreluArgs a;
  Middle<float> formula;  // as it stands here threads need no registers for it
  int columns = 0, own = 0, log_planes = 0;  // threads of a plane; columns that are this tile's; planes of a block
  int first = 0, skip = 0, first_out = 0;    // column and output of the first tile; columns before what its output reads
  unsigned tiles = 1, segments = 1, groups = 1;  // across, down, of planes
  int segment = 0;                               // rows of outputs in one
  int up_length = 0, down_length = 0;            // numbers of a class in shared memory, multiples of 4
  uint32_t per_quad = 0, per_out = 0;            // 2^32 / quads of a row, rounded up
  bool packets = false;
};

// i / count of what per = 2^32 / count rounded up stands for.
__device__ __forceinline__ int divided(int i, uint32_t per) { return int(uint64_t(unsigned(i)) * per >> 32); }

// A 16 x 16 matrix of 2 bits: element e of lane l to element l of lane e, in each half of a warp.
__device__ __forceinline__ uint32_t transpose_bits(uint32_t bits) {
  constexpr uint32_t kept[4] = {0x33333333u, 0x0F0F0F0Fu, 0x00FF00FFu, 0x0000FFFFu};
#pragma unroll
  for (int step = 3; step >= 0; --step) {
    const int lane = 1 << step, shift = 2 << step;
    const uint32_t low = kept[step], other = __shfl_xor_sync(0xFFFFFFFFu, bits, lane);
    bits = threadIdx.x & lane ? (bits & ~low) | (other & ~low) >> shift : (bits & low) | (other & low) << shift;
  }
  return bits;
}

// What of a block's shared memory lies where, in numbers: of each plane.
template <class S, bool up_full, bool down_full>
struct StreamMemory {
  static constexpr int ring = 32;  // rows of the middle that a full filter reads and those that are written next
  static_assert(!down_full || S::rows + S::down_taps - S::down <= ring, "a chunk and what it needs of those before");
  static constexpr int row_count = down_full ? ring : S::out;
  int input_pitch, up_pitch, down_pitch, bias, weights, inputs, rows, columns, end;
  __host__ __device__ explicit StreamMemory(const StreamLaunch& l) {
    const int planes = 1 << l.log_planes;
    input_pitch = l.up_length + (S::window + 4) / 4 * 4;
    up_pitch = S::up * l.up_length;
    down_pitch = S::down * l.down_length;
    bias = 64;  // before it the sums of warps
    weights = bias + 16;
    inputs = weights + (down_full ? S::down_taps * S::down_taps : 0);
    rows = inputs + planes * S::in * input_pitch;
    columns = rows + (up_full ? 0 : planes * S::in * up_pitch);
    end = columns + planes * row_count * down_pitch;
  }
};

// Where a block is: its planes, its columns, its rows.
template <class S>
struct Strip {
  int64_t n, c;
  int out_x, out_begin, out_end, own_begin, own_end, first_x, first_y, first_in, first_row, chunks;
  int delta;  // delta: rows of a chunk before the first that is tap 0 of an output
  __device__ explicit Strip(const StreamLaunch& l) {
    const FilteredLreluArgs& a = l.a;
    const FilteredAxis& ay = a.axis_y;
    const unsigned above = blockIdx.x / l.tiles, tile = blockIdx.x - above * l.tiles;
    const unsigned group = above / l.segments, segment = above - group * l.segments;
    const int64_t plane = int64_t(group) << l.log_planes;
    const int64_t groups = divide_up(a.channels, int64_t(1) << l.log_planes);
    n = l.log_planes ? group / groups : plane / a.channels;
    c = l.log_planes ? (group - n * groups) << l.log_planes : plane - n * a.channels;
    first_x = l.first + int(tile) * l.own;
    const int inner = int(ay.inner), pad = int(ay.pad);
    out_x = l.first_out + int(tile) * (l.own / S::down);
    out_begin = int(segment) * l.segment;
    out_end = out_begin + l.segment < ay.out ? out_begin + l.segment : int(ay.out);
    const int begin = out_begin * S::down - inner;  // what the first output reads
    // Of a chunk's first row tap up - 1 meets the first input; then the outputs' phase has few values.
    int before = (begin - pad - 1) % S::up;
    before += before < 0 ? S::up : 0;
    first_y = begin - before;
    delta = before % S::down;
    first_in = (first_y - pad - 1) / S::up + S::window;
    const int last = (delta + S::down - 1) % S::down;  // row of a chunk where its first output ends
    first_row = (first_y + last - (S::down_taps - 1) + inner) / S::down;
    own_begin = segment == 0 ? 0 : begin;
    own_end = segment + 1 == l.segments ? int(ay.middle) : out_end * S::down - inner;
    const int of_outputs = (out_end - first_row + S::out - 1) / S::out, of_mask = (own_end - first_y + S::rows - 1) / S::rows;
    chunks = a.masked || !a.mask || of_outputs > of_mask ? of_outputs : of_mask;
  }
};

// Inputs of rows from `row` on into shared memory, with their bias, 0 outside.
template <class T, class S, class A>
__device__ __forceinline__ void fetch_rows(const StreamLaunch& l, const Strip<S>& strip, int row, int column,
                                           int pitch, const A* bias, A* inputs) {
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
      inputs[(p * S::in + r) * pitch + j] = value;
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

// A column of the middle: sums of the rows to come, and of the outputs to come.
template <class S, class A, bool masked, bool up_full, bool down_full>
struct Column {
  static constexpr int width = up_full ? S::window : 1;
  A up[S::up_taps][width], down[S::down_taps];
  A middle[S::rows + S::up_taps - S::up] = {}, sum[S::out + S::reach + 1] = {};

  // Takes in a chunk of rows from `from` on, `pitch` apart. `live`: what they complete is wanted; it goes to `to`: sums of
  // outputs, or the middle itself for a filter that is full.
  template <int delta, bool live>
  __device__ __forceinline__ void take(const Middle<A>& formula, const A* from, int pitch, A* to, int to_pitch,
                                       uint32_t& bits) {
#pragma unroll
    for (int i = 0; i < S::in; ++i) {
      A in[width];
#pragma unroll
      for (int u = 0; u < width; ++u) in[u] = from[i * pitch + u];
#pragma unroll
      for (int w = 0; w < S::window; ++w)
#pragma unroll
        for (int c = 0; c < S::up; ++c) {
          const int r = S::up * (i + w) + c, k = S::up - 1 - c + S::up * (S::window - 1 - w);
#pragma unroll
          for (int u = 0; u < width; ++u) middle[r] = (w + 1 == S::window && u == 0 ? A(0) : middle[r]) + up[k][u] * in[u];
        }
      if constexpr (live)
#pragma unroll
        for (int c = 0; c < S::up; ++c) complete<delta>(formula, S::up * i + c, to, to_pitch, bits);
    }
#pragma unroll
    for (int k = 0; k < S::up_taps - S::up; ++k) middle[k] = middle[k + S::rows];
    if constexpr (live && !down_full)
#pragma unroll
      for (int k = 0; k <= S::reach; ++k) sum[k] = sum[k + S::out];
  }

  template <int delta>
  __device__ __forceinline__ void complete(const Middle<A>& formula, int r, A* to, int to_pitch, uint32_t& bits) {
    const A value = masked ? formula.masked(middle[r], r, bits) : formula.value(middle[r], r, bits);
    if (down_full) {
      to[r * to_pitch] = value;
      return;
    }
    const int place = r - delta + S::down, phase = place % S::down;
#pragma unroll
    for (int t = 0; t < S::reach; ++t) {
      const int k = phase + S::down * t, o = place / S::down - 1 - t + S::reach;
      sum[o] = k == 0 ? down[k] * value : sum[o] + down[k] * value;
    }
    if (phase == S::down - 1) to[r / S::down * to_pitch] = sum[place / S::down];
  }
};

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
__device__ __forceinline__ A finish_full(const StreamLaunch& l, const Strip<S>& strip, int row, int top, const A* weights,
                                         const A* ring) {
  constexpr int ring_rows = StreamMemory<S, false, true>::ring, pair = 2;
  const int quads = l.own / (4 * S::down), count = (S::out / pair * quads) << l.log_planes, pitch = S::down * l.down_length;
  A total = 0;
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
        total += store_quad<T>(l, strip.n, strip.c + p, y, strip.out_x + 4 * quad, sum[o]);
    }
  }
  return total;
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

// Threads of a block at most: two of them have a multiprocessor's registers, and each thread what its weights take.
template <class S, bool up_full>
constexpr int kStreamThreads = up_full ? 192 : S::up_taps + S::down_taps > 24 ? 320 : 384;

template <class T, class S, bool masked, bool up_full, bool down_full>
__global__ void __launch_bounds__(kStreamThreads<S, up_full>, 2) filtered_lrelu_stream_kernel(StreamLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, shared);
  const FilteredLreluArgs& a = l.a;
  const StreamMemory<S, up_full, down_full> memory(l);
  const Strip<S> strip(l);
  const int slot = int(threadIdx.x) / l.columns, own = int(threadIdx.x) - slot * l.columns;
  const int half = own / kWord, word = half / S::classes, place = half % S::classes;
  const int j = (word * kWord + own % kWord) * S::classes + place;
  const int64_t m = strip.first_x + j;

  // Sample q of the up-sampled rows is column q - ahead; what an output reads begins `skip` columns on.
  int ahead = int((strip.first_x - a.axis_x.pad) % S::up);
  ahead += ahead < 0 ? S::up : 0;
  const int first_column = int(strip.first_x - a.axis_x.pad - ahead) / S::up;
  const int q = j + ahead, to = j - l.skip;
  const A* const from = up_full ? shared + memory.inputs + slot * S::in * memory.input_pitch + (q + S::up - 1) / S::up
                                : shared + memory.rows + slot * S::in * memory.up_pitch + q % S::up * l.up_length + q / S::up;
  const int from_pitch = up_full ? memory.input_pitch : memory.up_pitch;
  A* const columns = shared + memory.columns + slot * memory.row_count * memory.down_pitch;
  // Columns before the first that is read go where nothing is read, too.
  A* const column = columns + (to < 0 ? l.down_length - 1 : to % S::down * l.down_length + to / S::down);

  Column<S, A, masked, up_full, down_full> state;
  const A scale = masked ? A(1) : A(up_full ? S::up * S::up : S::up);
#pragma unroll
  for (int k = 0; k < S::up_taps; ++k)
#pragma unroll
    for (int u = 0; u < state.width; ++u)
      state.up[k][u] = scale * (up_full ? tap_of<A>(a, a.up_filter, k * S::up_taps + (S::up - q % S::up) % S::up + S::up * u,
                                                    S::up_taps * S::up_taps)
                                        : tap_of<A>(a, a.up_filter, k, S::up_taps));
  if (down_full) {
    for (int i = int(threadIdx.x); i < S::down_taps * S::down_taps; i += int(blockDim.x)) {
      const int y = i / S::down_taps, c = i % S::down_taps / S::reach, t = i % S::reach;
      shared[memory.weights + i] =
          tap_of<A>(a, a.down_filter, y * S::down_taps + c + S::down * t, S::down_taps * S::down_taps);
    }
  } else {
#pragma unroll
    for (int k = 0; k < S::down_taps; ++k) state.down[k] = tap_of<A>(a, a.down_filter, k, S::down_taps);
  }
  for (int p = int(threadIdx.x); p < 1 << l.log_planes; p += int(blockDim.x))
    shared[memory.bias + p] = a.b && strip.c + p < a.channels ? widen(static_cast<const T*>(a.b)[strip.c + p]) : A(0);
  __syncthreads();

  const int64_t words = filtered_columns(a.axis_x.middle, S::classes) / kWord;  // of a class
  const int64_t group = floor_divide(strip.first_x, kWord * S::classes) + word;
  const bool stored = a.mask && strip.c + slot < a.channels && group >= 0 && group < words;
  const bool inside = m >= 0 && m < a.axis_x.middle;
  uint32_t* const mask = reinterpret_cast<uint32_t*>(a.mask) +
                         (strip.n * a.channels + strip.c + slot) * a.axis_y.middle * S::classes * words + place * words + group;
  const bool owned = stored && word * kWord * S::classes < l.own;
  constexpr int warm = (S::window - 1 + S::in - 1) / S::in;  // chunks that nothing but the first sums need
  A total = 0;
#pragma unroll 1
  for (int chunk = -warm; chunk < strip.chunks; ++chunk) {
    const int mine = strip.first_y + chunk * S::rows + own % kWord;  // the row whose word this lane moves
    uint32_t bits = 0;
    if (masked && chunk >= 0)
      bits = stored && mine >= 0 && mine < a.axis_y.middle ? mask[int64_t(mine) * S::classes * words] : 0xAAAAAAAAu;
    fetch_rows<T>(l, strip, strip.first_in + chunk * S::in, first_column, memory.input_pitch,
                  shared + memory.bias, shared + memory.inputs);
    __syncthreads();
    if constexpr (!up_full) {
      widen_rows<S>(l, state.up, memory.input_pitch, shared + memory.inputs, shared + memory.rows);
      __syncthreads();
    }
    if (chunk < 0) {
      state.template take<0, false>(l.formula, from, from_pitch, column, 0, bits);
      if (up_full) __syncthreads();
      continue;
    }
    if (masked) {
      bits = transpose_bits(bits);
      bits = inside ? l.formula.begun(bits) : 0xAAAAAAAAu;
    }
    A* const row_to = down_full ? column + (chunk & 1) * S::rows * memory.down_pitch : column;
    if (!down_full && strip.delta == 1)
      state.template take<S::common - 1, true>(l.formula, from, from_pitch, row_to, memory.down_pitch, bits);
    else
      state.template take<0, true>(l.formula, from, from_pitch, row_to, memory.down_pitch, bits);
    if (!masked && a.mask) {
      bits = transpose_bits(inside ? l.formula.finished(bits) : 0);
      if (owned && mine >= strip.own_begin && mine < strip.own_end) mask[int64_t(mine) * S::classes * words] = bits;
    }
    __syncthreads();
    const int row = strip.first_row + chunk * S::out;
    if constexpr (down_full)
      total += finish_full<T>(l, strip, row, chunk * S::rows + (strip.delta + S::down - 1) % S::down - (S::down_taps - 1),
                              shared + memory.weights, shared + memory.columns);
    else
      total += finish_rows<T>(l, strip, row, state.down, shared + memory.columns);
  }
  if (a.db) store_plane_sums(l, strip.n, strip.c, total, shared);
}

}  // namespace cuda
}  // namespace fastgan

// filtered_lrelu with the filters of StyleGAN3: a block walks down a strip of an image, a thread a column between the FIRs.
// Both vertical FIRs and what lies between them stay in the registers of that thread, so that nothing but the horizontal
// FIRs goes through shared memory, and rows are computed once.
#pragma once
#include "filtered_lrelu/filtered_lrelu_bands.cuh"
#include "filtered_lrelu/filtered_lrelu_rows.cuh"

namespace fastgan {
namespace cuda {

// A column of the middle: sums of the rows to come, and of the outputs to come.
template <class S, class A, bool masked, bool up_full, bool down_full>
struct Column {
  static constexpr int width = up_full ? S::window : 1;
  A up[S::up_taps][width], down[S::down_taps];
  A middle[S::rows + S::up_taps - S::up] = {}, sum[S::out + S::reach + 1] = {};

  // Of a column of class c at the up-sampled rate. In a forward pass with the gain of up-sampling, a power of 2.
  template <bool of_up>
  __device__ __forceinline__ void load_weights(const FilteredLreluArgs& a, int c) {
    const A scale = masked ? A(1) : A(up_full ? S::up * S::up : S::up);
    const int first = (S::up - c) % S::up, count = up_full ? S::up_taps * S::up_taps : S::up_taps;
    if constexpr (of_up)
#pragma unroll
    for (int k = 0; k < S::up_taps; ++k)
#pragma unroll
      for (int u = 0; u < width; ++u)
        up[k][u] = scale * tap_of<A>(a, a.up_filter, up_full ? k * S::up_taps + first + S::up * u : k, count);
    if constexpr (!down_full)
#pragma unroll
      for (int k = 0; k < S::down_taps; ++k) down[k] = tap_of<A>(a, a.down_filter, k, S::down_taps);
  }

  // Takes in a chunk of rows from `from` on, `pitch` apart. `live`: what they complete is wanted; it goes to `to`: sums of
  // outputs, or the middle itself for a filter that is full.
  template <int delta, bool live, class To>
  __device__ __forceinline__ void take(const Middle<A>& formula, const A* from, int pitch, To* to, int to_pitch,
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
        for (int c = 0; c < S::up; ++c) complete<delta>(formula, middle[S::up * i + c], S::up * i + c, to, to_pitch, bits);
    }
#pragma unroll
    for (int k = 0; k < S::up_taps - S::up; ++k) middle[k] = middle[k + S::rows];
    if constexpr (live) go_on();
  }

  // The same from a chunk of the middle.
  template <int delta, class To>
  __device__ __forceinline__ void take_middle(const Middle<A>& formula, const A* from, int pitch, To* to, int to_pitch,
                                              uint32_t& bits) {
#pragma unroll
    for (int r = 0; r < S::rows; ++r) complete<delta>(formula, from[r * pitch], r, to, to_pitch, bits);
    go_on();
  }

  __device__ __forceinline__ void go_on() {
    if constexpr (!down_full)
#pragma unroll
      for (int k = 0; k <= S::reach; ++k) sum[k] = sum[k + S::out];
  }

  template <int delta, class To>
  __device__ __forceinline__ void complete(const Middle<A>& formula, A v, int r, To* to, int to_pitch, uint32_t& bits) {
    const A value = masked ? formula.masked(v, r, bits) : formula.value(v, r, bits);
    if (down_full) {
      narrow(value, to[r * to_pitch]);
      return;
    }
    const int place = r - delta + S::down, phase = place % S::down;
#pragma unroll
    for (int t = 0; t < S::reach; ++t) {
      const int k = phase + S::down * t, o = place / S::down - 1 - t + S::reach;
      sum[o] = k == 0 ? down[k] * value : sum[o] + down[k] * value;
    }
    if (phase == S::down - 1) narrow(sum[place / S::down], to[r / S::down * to_pitch]);
  }
};

template <class T, class S, bool masked, bool up_full, bool down_full>
__global__ void __launch_bounds__(kStreamThreads<S, up_full>, 2) filtered_lrelu_stream_kernel(StreamLaunch l) {
  static_assert(!masked || !down_full, "db of a second FIR that is full");
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
  using In = Kept<T, up_full>;
  constexpr bool tensor_up = !std::is_same<In, A>::value;
  constexpr int input_rows = tensor_up ? StreamMemory<S, up_full, down_full>::input_ring : S::in;  // of a plane
  In* const inputs = reinterpret_cast<In*>(shared + memory.inputs);
  const A* const from = tensor_up ? shared + memory.rows + slot * S::rows * memory.up_pitch + q
                        : up_full ? shared + memory.inputs + slot * S::in * memory.input_pitch + (q + S::up - 1) / S::up
                                  : shared + memory.rows + slot * S::in * memory.up_pitch + q % S::up * l.up_length + q / S::up;
  const int from_pitch = up_full && !tensor_up ? memory.input_pitch : memory.up_pitch;
  using K = Kept<T, down_full>;
  constexpr bool tensor_down = !std::is_same<K, A>::value;
  K* const columns = reinterpret_cast<K*>(shared + memory.columns) + slot * memory.row_count * memory.down_pitch;
  // Columns before the first that is read go where nothing is read, too.
  K* const column = columns + (to < 0 ? l.down_length + to : to % S::down * l.down_length + to / S::down);

  Column<S, A, masked, up_full, down_full> state;
  state.template load_weights<!tensor_up>(a, q % S::up);
  uint32_t* const bands = reinterpret_cast<uint32_t*>(shared + memory.weights);
  if constexpr (tensor_up)
    prepare_input_bands<T, S>(a, (input_rows * memory.input_pitch) << l.log_planes, bands, reinterpret_cast<uint32_t*>(inputs));
  if constexpr (tensor_down)
    prepare_output_bands<T, S>(a, (memory.row_count * memory.down_pitch) << l.log_planes, bands,
                               reinterpret_cast<uint32_t*>(shared + memory.columns));
  else if constexpr (down_full)
    for (int i = int(threadIdx.x); i < S::down_taps * S::down_taps; i += int(blockDim.x)) {
      const int y = i / S::down_taps, c = i % S::down_taps / S::reach, t = i % S::reach;
      shared[memory.weights + i] =
          tap_of<A>(a, a.down_filter, y * S::down_taps + c + S::down * t, S::down_taps * S::down_taps);
    }
  for (int p = int(threadIdx.x); p < 1 << l.log_planes; p += int(blockDim.x))
    shared[memory.bias + p] = a.b && strip.c + p < a.channels ? widen(static_cast<const T*>(a.b)[strip.c + p]) : A(0);
  __syncthreads();

  const int64_t words = filtered_columns(a.axis_x.middle, S::classes) / kWord;  // of a class
  const int64_t group = floor_divide(strip.first_x, kWord * S::classes) + word;
  const bool stored = a.mask && strip.c + slot < a.channels && group >= 0 && group < words;
  const bool inside = m >= 0 && m < a.axis_x.middle;
  uint32_t* const mask = reinterpret_cast<uint32_t*>(a.mask);
  const int64_t first_word =
      (strip.n * a.channels + strip.c + slot) * a.axis_y.middle * S::classes * words + place * words + group;
  const bool owned = stored && word * kWord * S::classes < l.own;
  constexpr int warm = (S::window - 1 + S::in - 1) / S::in;  // chunks that nothing but the first sums need
  A total = 0;
#pragma unroll 1
  for (int chunk = -warm; chunk < strip.chunks; ++chunk) {
    const int mine = strip.first_y + chunk * S::rows + own % kWord;  // the row whose word this lane moves
    uint32_t bits = 0;
    if (masked && chunk >= 0)
      bits = stored && mine >= 0 && mine < a.axis_y.middle ? mask[first_word + int64_t(mine) * S::classes * words] : 0xAAAAAAAAu;
    const int newest = tensor_up ? (chunk & 1) * S::in : 0;  // row of those that are kept
    fetch_rows<T>(l, strip, strip.first_in + chunk * S::in, first_column, memory.input_pitch, shared + memory.bias,
                  inputs + newest * memory.input_pitch, input_rows);
    __syncthreads();
    if constexpr (tensor_up) {
      if (chunk < 0) continue;
      widen_bands<T, S>(l, memory, newest, bands, inputs, shared + memory.rows);
      __syncthreads();
    }
    if constexpr (!up_full) {
      widen_rows<S>(l, state.up, memory.input_pitch, shared + memory.inputs, shared + memory.rows);
      __syncthreads();
    }
    if (!tensor_up && chunk < 0) {
      state.template take<0, false>(l.formula, from, from_pitch, column, 0, bits);
      if (up_full) __syncthreads();
      continue;
    }
    if (masked) {
      bits = transpose_bits(bits);
      bits = inside ? l.formula.begun(bits) : 0xAAAAAAAAu;
    }
    K* const row_to = down_full ? column + (chunk & 1) * S::rows * memory.down_pitch : column;
    const auto take = [&](auto delta) {
      if constexpr (tensor_up)
        state.template take_middle<delta.value>(l.formula, from, from_pitch, row_to, memory.down_pitch, bits);
      else
        state.template take<delta.value, true>(l.formula, from, from_pitch, row_to, memory.down_pitch, bits);
    };
    if (!down_full && strip.delta == 1)
      take(std::integral_constant<int, S::common - 1>{});
    else
      take(std::integral_constant<int, 0>{});
    if (!masked && a.mask) {
      bits = transpose_bits(inside ? l.formula.finished(bits) : 0);
      if (owned && mine >= strip.own_begin && mine < strip.own_end) mask[first_word + int64_t(mine) * S::classes * words] = bits;
    }
    __syncthreads();
    const int row = strip.first_row + chunk * S::out;
    const int top = chunk * S::rows + (strip.delta + S::down - 1) % S::down - (S::down_taps - 1);
    if constexpr (tensor_down)
      finish_bands<T>(l, strip, row, top, bands, reinterpret_cast<const T*>(shared + memory.columns));
    else if constexpr (down_full)
      finish_full<T>(l, strip, row, top, shared + memory.weights, shared + memory.columns);
    else
      total += finish_rows<T>(l, strip, row, state.down, shared + memory.columns);
  }
  if (a.db) store_plane_sums(l, strip.n, strip.c, total, shared);
}

}  // namespace cuda
}  // namespace fastgan

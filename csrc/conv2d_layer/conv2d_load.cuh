// How a convolution becomes a product of matrices: rows of the first are pixels of y, rows of the second channels of y,
// and what is summed over are taps and, within each, channels of x.
#pragma once
#include "conv2d_layer/conv2d_tile.cuh"
#include "gpu/packet.h"
// after the types it is written in terms of
#include "conv2d_layer/conv2d.h"

namespace fastgan {
namespace cuda {

// What the kernel gets by value.
struct ConvLaunch {
  Conv2dArgs a;
  const void* w = nullptr;     // [out_channels, kh, kw, channels], packets aligned
  int channels = 0;            // of x, up to whole packets; the rest of w is 0
  bool packets_in = false;     // pixels of x and in_scale are whole packets, aligned
  bool packets_out = false;    // those of y, residual, scale, b and mask
  uint8_t* codes = nullptr;    // instead of the mask, a byte an element, where bytes of the mask are shared by pixels
  unsigned tiles_m = 1, tiles_n = 1, tiles = 1, splits = 1;  // `tiles` of all phases; blocks that share a tile's sum
  void* partial = nullptr;  // where they share it: [splits, pixels of y, channels of y up to whole packets] sums
};

// What precedes and follows a kernel that makes y: w is copied where it must be, and bytes of the mask are packed that
// pixels share.
ConvLaunch prepare_conv2d(const Conv2dArgs& a);
void pack_mask(const ConvLaunch& l);

// An axis of a convolution. A transposed one falls apart into phases, whose outputs are `step` apart and meet the same
// taps: then no inserted zeros are multiplied. Tap t, from 0, of output first + step * u is w's tap tap_first + tap_step
// * t, and its input in_first + in_step * u + t.
struct PhaseAxis {
  int outputs, first, step, in_first, in_step, taps, tap_first, tap_step;

  __device__ __forceinline__ PhaseAxis(const ConvAxis& a, int stride, bool transposed, int phase) {
    if (transposed) {
      taps = phase < int(a.taps) ? (int(a.taps) - phase + stride - 1) / stride : 0;
      first = (phase - int(a.pad0)) % stride;
      if (first < 0) first += stride;
      outputs = first < int(a.out) ? (int(a.out) - first + stride - 1) / stride : 0;
      step = stride, in_step = 1, in_first = (first + int(a.pad0) - phase) / stride - (taps - 1);
      tap_step = -stride, tap_first = phase + stride * (taps - 1);
    } else {
      taps = int(a.taps), first = 0, outputs = int(a.out), step = 1;
      in_step = stride, in_first = -int(a.pad0), tap_step = 1, tap_first = 0;
    }
  }
};

struct Pixel {
  int image, y, x;
};

// The pixels of a phase in order, from the first of a tile on.
struct PhasePixels {
  PhaseAxis y, x;
  int64_t left = 0;  // from the first on; negative: none
  Pixel first{};

  __device__ __forceinline__ PhasePixels(const Conv2dArgs& a, unsigned phase, int64_t begin)
      : y(a.axis_y, int(a.stride), a.transposed, a.transposed ? int(phase) / int(a.stride) : 0),
        x(a.axis_x, int(a.stride), a.transposed, a.transposed ? int(phase) % int(a.stride) : 0) {
    left = a.images * y.outputs * x.outputs - begin;
    if (left <= 0) return;
    const int64_t row = begin / x.outputs, image = row / y.outputs;
    first = {int(image), int(row - image * y.outputs), int(begin - row * x.outputs)};
  }
  // The pixel `offset` after the first, counted within the phase.
  __device__ __forceinline__ Pixel at(unsigned offset) const {
    const unsigned column = unsigned(first.x) + offset, down = column / unsigned(x.outputs);
    const unsigned row = unsigned(first.y) + down, images = row / unsigned(y.outputs);
    return {first.image + int(images), int(row - images * unsigned(y.outputs)),
            int(column - down * unsigned(x.outputs))};
  }
};

// Channels of a pixel, of x or of in_scale, as far as there are `count` of them; zeros where it is not inside.
template <class T, int N>
__device__ __forceinline__ void hold_channels(Held<T, N>& held, const T* p, bool inside, bool whole, int count) {
  held = {};
  if (inside) held = hold<N>(p, whole, count);
}

// Channels of x times their factors, rounded once.
template <class T>
__device__ __forceinline__ void scale_channels(Held<T, kLanes<T>>& x, const Held<Accumulate<T>, kLanes<T>>& scale) {
  Packet<T, kLanes<T>> packet = x.numbers();
  const auto factors = scale.numbers();
#pragma unroll
  for (int k = 0; k < kLanes<T>; ++k) narrow(widen(packet.v[k]) * factors.v[k], packet.v[k]);
  x = x.of(packet);
}

// Floats as tensor cores take them: rounded once on their way to shared memory, or where they were copied to, and not by
// every warp that reads them.
template <bool tf32, class T, int N>
__device__ __forceinline__ void round_operands(Held<T, N>& held) {
  if constexpr (tf32)
#pragma unroll
    for (int k = 0; k < N; ++k) held.words.v[k] = round_tf32(held.words.v[k]);
}
__device__ __forceinline__ void round_copied(unsigned char* packet) {
  float* const p = reinterpret_cast<float*>(packet);
  Held<float, 4> held{load_packet<4>(p)};
  round_operands<true>(held);
  store_shared_packet(p, held.words);
}

// Fetches chunks of both matrices. A thread has one packet of every 32nd row. Those of w are copied asynchronously; those of
// x too (`async`) where they are whole and not scaled, else they go through registers: there each number is scaled once,
// not by every warp that reads it, while the product of the chunk before hides the loads. These are held as they lie in
// memory until store(), so that a thread's loads are under way together; then so are those of in_scale.
template <class Tile, bool async>
struct ConvLoader {
  using T = typename Tile::T;
  using A = Accumulate<T>;
  static constexpr int stages = kStages, lanes = kLanes<T>, rows = Tile::rows / 32;
  static constexpr bool tf32 = Tile::Sums::tf32;
  const ConvLaunch& l;
  const PhaseAxis &axis_y, &axis_x;
  unsigned char* const memory;
  int channel, tap_y = 0, tap_x = 0;  // of the next chunk
  int64_t in_x, in_w, w_row;          // its place from a pixel's tap 0, and in a row of w; where that row begins
  int y[rows], x[rows];              // input of tap 0
  int64_t origin[async ? rows : 1];  // its place in x; registers are short where packets are held
  int image[async ? 1 : rows];
  int own_row, own_packet, column;    // column of the product, a row of w
  Held<T, lanes> held[async ? 1 : rows];
  unsigned inside = 0;  // which of those are

  __device__ __forceinline__ ConvLoader(const ConvLaunch& launch, const PhasePixels& pixels, unsigned char* stage_memory,
                                        int first_column, int first_chunk)
      : l(launch), axis_y(pixels.y), axis_x(pixels.x), memory(stage_memory), own_row(int(threadIdx.x) / 4),
        own_packet(int(threadIdx.x) % 4), column(first_column + own_row) {
    channel = own_packet * lanes + first_chunk * kChunk<T>;
    w_row = column * row_of_w();
    settle();
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const unsigned offset = unsigned(own_row + 32 * i);
      const Pixel pixel = pixels.at(offset);
      if constexpr (!async) image[i] = pixel.image;
      y[i] = axis_y.in_first + axis_y.in_step * pixel.y;
      x[i] = axis_x.in_first + axis_x.in_step * pixel.x;
      if constexpr (async) origin[i] = place(pixel.image, y[i], x[i]);
      if (int64_t(offset) >= pixels.left) y[i] = -(1 << 30);  // outside, whatever the tap
    }
  }
  __device__ __forceinline__ int64_t place(int64_t of_image, int at_y, int at_x) const {
    return ((of_image * l.a.axis_y.in + at_y) * l.a.axis_x.in + at_x) * l.a.in_channels;
  }
  // Brings the channel back into a tap.
  __device__ __forceinline__ void settle() {
    while (channel >= l.channels) {
      channel -= l.channels;
      if (++tap_x >= axis_x.taps) tap_x = 0, ++tap_y;
    }
    const int tap = (axis_y.tap_first + axis_y.tap_step * tap_y) * int(l.a.axis_x.taps) + axis_x.tap_first +
                    axis_x.tap_step * tap_x;
    in_x = (tap_y * l.a.axis_x.in + tap_x) * l.a.in_channels + channel;
    in_w = int64_t(tap) * l.channels + channel;
  }
  __device__ __forceinline__ int64_t row_of_w() const { return l.channels * l.a.axis_y.taps * l.a.axis_x.taps; }
  __device__ __forceinline__ static int stage_offset(int stage) { return stage * Tile::stage_bytes; }

  __device__ __forceinline__ void fetch(int stage) {
    const Conv2dArgs& a = l.a;
    const bool summed = tap_y < axis_y.taps && axis_x.taps > 0;
    const T* const from = static_cast<const T*>(a.x);
    unsigned char* const to = memory + stage_offset(stage);
    inside = 0;
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const int at_y = y[i] + tap_y, at_x = x[i] + tap_x;
      const bool is = summed && unsigned(at_y) < unsigned(a.axis_y.in) && unsigned(at_x) < unsigned(a.axis_x.in);
      if constexpr (async) {
        copy_async(to + row_offset(own_row + 32 * i, own_packet), is ? from + origin[i] + in_x : from, is);
      } else {
        hold_channels(held[i], from + place(image[i], at_y, at_x) + channel, is, l.packets_in, int(a.in_channels) - channel);
        inside |= unsigned(is) << i;
      }
    }
    const T* const w = static_cast<const T*>(l.w);
    const int64_t apart = 32 * row_of_w();
#pragma unroll
    for (int j = 0; j < Tile::columns; j += 32) {
      if (Tile::columns < 32 && own_row >= Tile::columns) break;
      const bool is = summed && column + j < int(a.out_channels);
      const T* const p = is ? w + w_row + j / 32 * apart + in_w : w;
      copy_async(to + row_offset(Tile::rows + own_row + j, own_packet), p, is);
    }
    if constexpr (async) advance();
  }

  __device__ __forceinline__ void store(int stage) {
    if constexpr (async) return;
    const int channels = int(l.a.in_channels);
    unsigned char* const to = memory + stage_offset(stage);
    if (l.a.in_scale) {
      Held<A, lanes> scale[rows];
#pragma unroll
      for (int i = 0; i < rows; ++i)
        hold_channels(scale[i], static_cast<const A*>(l.a.in_scale) + int64_t(recomputed(image[i])) * channels + channel,
                      inside >> i & 1, l.packets_in, channels - channel);
#pragma unroll
      for (int i = 0; i < rows; ++i) scale_channels(held[i], scale[i]);
    }
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      round_operands<tf32>(held[i]);
      store_shared_packet(reinterpret_cast<typename Held<T, lanes>::Word*>(to + row_offset(own_row + 32 * i, own_packet)),
                          held[i].words);
    }
    advance();
  }

  // Of what this thread has copied.
  __device__ __forceinline__ void round(int stage) {
    if constexpr (tf32) {
      unsigned char* const from = memory + stage_offset(stage);
#pragma unroll
      for (int row = async ? 0 : Tile::rows; row < Tile::rows + Tile::columns; row += 32)
        if (row < Tile::rows || Tile::columns >= 32 || own_row < Tile::columns)
          round_copied(from + row_offset(own_row + row, own_packet));
    }
  }
  __device__ __forceinline__ void advance() {
    channel += kChunk<T>, in_x += kChunk<T>, in_w += kChunk<T>;
    if (channel >= l.channels) settle();
  }
};

}  // namespace cuda
}  // namespace fastgan

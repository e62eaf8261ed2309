// A block's part of a transposed convolution of stride 2 that a FIR follows: which inputs and weights it multiplies, and
// how its sums are filtered.
#pragma once
#include "conv2d_layer/conv2d_finish.cuh"

namespace fastgan {
namespace cuda {

// What the kernel gets by value.
struct UpLaunch {
  ConvLaunch l;
  const float* filter = nullptr;
  bool flip = false;
  float gain = 1;
  unsigned tiles_y = 1, tiles_x = 1;
};

// Before the FIR, pixels fall apart into four parities: those of the rows and columns 2j and 2j + 1. A block has `down` x
// `across` pixels of each, from input 1 on of its patch of x, and of the result the (2 down - 4) x (2 across - 4) pixels
// that these give. A warp has a fourth of the pixels, of every parity.
template <class T_, bool tensor_, int down_, int across_, int columns_>
struct UpTile {
  using T = T_;
  static constexpr bool tensor = tensor_;
  static constexpr int down = down_, across = across_, columns = columns_, taps = 9;
  static constexpr int pixels = down * across, warp_pixels = pixels / kWarps;
  static constexpr int out_down = 2 * down - 4, out_across = 2 * across - 4;
  static constexpr int patch_across = across + 1, patch_rows = (down + 1) * patch_across;
  static constexpr int first_weight = (patch_rows + 1) / 2 * 2;  // after the patch: taps x columns rows of w
  static constexpr int stages = 2, stage_bytes = (first_weight + taps * columns) * kRowBytes;
  // Sums are filtered some columns at a time. Neighbours of a parity begin at other banks, and so do the next parity's.
  static constexpr int slice = 16, pitch = slice + 8, parity_pitch = pixels * pitch + 16;
  static constexpr int shared_bytes = std::max(stages * stage_bytes, 4 * parity_pitch * 4);
  static_assert(pixels % (16 * kWarps) == 0 && sizeof(Accumulate<T>) == 4, "warps have whole sixteens, in float32");

  // Of a packet of the patch in a stage, permuted as row_offset() does, but by the column alone: few addresses differ by
  // more than a constant.
  __device__ __forceinline__ static int patch_offset(int row, int column, int packet) {
    return (row * patch_across + column) * kRowBytes + ((packet ^ (column >> 1 & 3)) << 4);
  }
  __device__ __forceinline__ static int place(int row, int column) {
    return (row % 2 * 2 + column % 2) * parity_pitch + (row / 2 * across + column / 2) * pitch;
  }
};

// Where a block's part lies.
template <class Tile>
struct UpPart {
  int image, tile_y, tile_x, first_column;
  bool odd_y, odd_x;  // the first pixel that the FIR takes is of an odd row, of an odd column
  int in_y, in_x;     // the first of the patch of x

  __device__ __forceinline__ explicit UpPart(const UpLaunch& up, unsigned block) {
    const unsigned tiles = block / up.l.tiles_n, rows = tiles / up.tiles_x;
    first_column = int(block - tiles * up.l.tiles_n) * Tile::columns;
    tile_x = int(tiles - rows * up.tiles_x);
    image = int(rows / up.tiles_y);
    tile_y = int(rows - unsigned(image) * up.tiles_y);
    const int from_y = tile_y * Tile::out_down - int(up.l.a.axis_y.pad0);
    const int from_x = tile_x * Tile::out_across - int(up.l.a.axis_x.pad0);
    odd_y = from_y & 1, odd_x = from_x & 1;
    in_y = (from_y >> 1) - 1, in_x = (from_x >> 1) - 1;
  }
};

template <class Tile>
struct UpSums : Immediate {
  using T = typename Tile::T;
  static constexpr int rows = Tile::warp_pixels, slices = Tile::columns / Tile::slice;
  using Part = std::conditional_t<Tile::tensor, TensorSums<T, rows, Tile::slice>, PlainSums<T, rows, Tile::slice>>;
  Part sum[4][slices];

  // Input j takes part in pixels 2j and 2j + 1 by taps 0 and 1, the one before it (`before`) in 2j by tap 2.
  template <class F>
  __device__ __forceinline__ static void each_tap(int before_y, int before_x, const F& f) {
#pragma unroll
    for (int odd_y = 0; odd_y < 2 - before_y; ++odd_y)
#pragma unroll
      for (int odd_x = 0; odd_x < 2 - before_x; ++odd_x)
        f(odd_y * 2 + odd_x, (before_y ? 2 : odd_y) * 3 + (before_x ? 2 : odd_x));
  }
  // Where the patch has a packet of an input of a pixel of this warp.
  __device__ __forceinline__ static int offset(int pixel, int before_y, int before_x, int packet) {
    pixel += int(threadIdx.x) / 32 * rows;
    return Tile::patch_offset(pixel / Tile::across + 1 - before_y, pixel % Tile::across + 1 - before_x, packet);
  }

  __device__ __forceinline__ void multiply(const unsigned char* patch) {
    const unsigned char* const w = patch + Tile::first_weight * kRowBytes;
    const int lane = int(threadIdx.x) % 32;
    constexpr int steps = Tile::tensor ? 2 : 4;
#pragma unroll 1
    for (int step = 0; step < steps; ++step)
#pragma unroll
      for (int before = 0; before < 4; ++before) {
        const int before_y = before / 2, before_x = before % 2;
        if constexpr (Tile::tensor) {
          uint32_t a[rows / 16][4];
#pragma unroll
          for (int m = 0; m < rows / 16; ++m)
            load_matrices<false>(a[m], patch + offset(m * 16 + lane % 16, before_y, before_x, 2 * step + lane / 16));
          each_tap(before_y, before_x, [&](int parity, int tap) {
#pragma unroll
            for (int s = 0; s < slices; ++s) {
              uint32_t b[Tile::slice / 16][4];
              Part::load_columns(b, w + (tap * Tile::columns + s * Tile::slice) * kRowBytes, step);
              sum[parity][s].add(a, b);
            }
          });
        } else {
          Packet<T, kLanes<T>> a[rows / 4];
#pragma unroll
          for (int i = 0; i < rows / 4; ++i)
            a[i] = load_packet<kLanes<T>>(
                reinterpret_cast<const T*>(patch + offset(lane / 8 + 4 * i, before_y, before_x, step)));
          each_tap(before_y, before_x, [&](int parity, int tap) {
#pragma unroll
            for (int s = 0; s < slices; ++s)
              sum[parity][s].add(a, w + (tap * Tile::columns + s * Tile::slice) * kRowBytes, step);
          });
        }
      }
  }
};

// Fetches chunks of channels of the patch and of w, as ConvLoader does.
template <class Tile, bool streamed>
struct UpLoader {
  using T = typename Tile::T;
  static constexpr int stages = Tile::stages, lanes = kLanes<T>, rows = (Tile::patch_rows + 31) / 32;
  static constexpr bool tf32 = UpSums<Tile>::Part::tf32;
  const ConvLaunch& l;
  unsigned char* const memory;
  int own_row, own_packet, channel, image;
  unsigned inside = 0;   // which rows of the patch are
  const T* from;         // channel 0 of the first of them
  const T* w = nullptr;  // channel 0 of tap 0, if there is such a channel of y
  Held<T, lanes> held[streamed ? 1 : rows];

  __device__ __forceinline__ UpLoader(const ConvLaunch& launch, const UpPart<Tile>& part, unsigned char* stage_memory)
      : l(launch), memory(stage_memory), own_row(int(threadIdx.x) / 4), own_packet(int(threadIdx.x) % 4),
        channel(own_packet * lanes), image(part.image) {
    const int height = int(l.a.axis_y.in), width = int(l.a.axis_x.in);
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const int row = own_row + 32 * i, y = part.in_y + row / Tile::patch_across, x = part.in_x + row % Tile::patch_across;
      inside |= unsigned(unsigned(y) < unsigned(height) && unsigned(x) < unsigned(width)) << i;
    }
    from = static_cast<const T*>(l.a.x) + ((int64_t(image) * height + part.in_y) * width + part.in_x) * l.a.in_channels;
    const int column = part.first_column + own_row;
    if (column < int(l.a.out_channels)) w = static_cast<const T*>(l.w) + int64_t(column) * Tile::taps * l.channels;
  }
  __device__ __forceinline__ int place(int row) const {
    return Tile::patch_offset(row / Tile::patch_across, row % Tile::patch_across, own_packet);
  }
  __device__ __forceinline__ int place_of_weight(int tap) const {
    return (Tile::first_weight + tap * Tile::columns) * kRowBytes + row_offset(own_row, own_packet);
  }
  __device__ __forceinline__ const T* source(int row) const {
    const int64_t pixel = row / Tile::patch_across * l.a.axis_x.in + row % Tile::patch_across;
    return from + pixel * l.a.in_channels + channel;
  }

  __device__ __forceinline__ void fetch(int stage) {
    const bool summed = channel < l.channels;
    unsigned char* const to = memory + stage * Tile::stage_bytes;
    const int first = recomputed(own_row);  // registers are short
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const int row = first + 32 * i;
      const bool is = summed && (inside >> i & 1);
      if constexpr (streamed) {
        if (row < Tile::patch_rows) copy_async(to + place(row), is ? source(row) : static_cast<const T*>(l.a.x), is);
      } else {
        hold_channels(held[i], source(row), is, l.packets_in, int(l.a.in_channels) - channel);
      }
    }
    const bool is = summed && w;
    if (Tile::columns == 32 || own_row < Tile::columns)
#pragma unroll
      for (int tap = 0; tap < Tile::taps; ++tap)
        copy_async(to + place_of_weight(tap), is ? w + int64_t(tap) * l.channels + channel : static_cast<const T*>(l.w), is);
    if constexpr (streamed) channel += kChunk<T>;
  }

  __device__ __forceinline__ void store(int stage) {
    if constexpr (streamed) return;
    const int channels = int(l.a.in_channels);
    unsigned char* const to = memory + stage * Tile::stage_bytes;
    const int first = recomputed(own_row);
    if (l.a.in_scale && channel < l.channels) {
      const auto scale = hold<lanes>(static_cast<const float*>(l.a.in_scale) + int64_t(image) * channels + channel,
                                     l.packets_in, channels - channel);
#pragma unroll
      for (int i = 0; i < rows; ++i) scale_channels(held[i], scale);
    }
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const int row = first + 32 * i;
      round_operands<tf32>(held[i]);
      if (row < Tile::patch_rows)
        store_shared_packet(reinterpret_cast<typename Held<T, lanes>::Word*>(to + place(row)), held[i].words);
    }
    channel += kChunk<T>;
  }

  __device__ __forceinline__ void round(int stage) {
    if constexpr (tf32) {
      static_assert(Tile::columns == 32, "every thread has copied of w");
      unsigned char* const base = memory + stage * Tile::stage_bytes;
      const int first = recomputed(own_row);
      if constexpr (streamed)
#pragma unroll
        for (int i = 0; i < rows; ++i)
          if (first + 32 * i < Tile::patch_rows) round_copied(base + place(first + 32 * i));
#pragma unroll
      for (int tap = 0; tap < Tile::taps; ++tap) round_copied(base + place_of_weight(tap));
    }
  }
};

// Filters the sums, down, in place, then across, and finishes what comes out.
template <class Tile>
__device__ __forceinline__ void finish_up(const UpLaunch& up, const UpPart<Tile>& part, const UpSums<Tile>& sums,
                                          float* memory) {
  using T = typename Tile::T;
  const Conv2dArgs& a = up.l.a;
  const ConvFinish<T> epilogue(up.l);
  float g[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) g[k] = up.filter[up.flip ? k : 3 - k];
  const int warp = int(threadIdx.x) / 32;
#pragma unroll
  for (int s = 0; s < UpSums<Tile>::slices; ++s) {
    if (s) __syncthreads();  // the slice before is finished
#pragma unroll
    for (int parity = 0; parity < 4; ++parity)
      sums.sum[parity][s].store(memory + parity * Tile::parity_pitch + warp * Tile::warp_pixels * Tile::pitch, Tile::pitch);
    __syncthreads();
    constexpr int packets = Tile::slice / 4;
    for (int i = int(threadIdx.x); i < 2 * Tile::across * packets; i += kThreads) {
      float* const column = memory + i % packets * 4;
      const auto at = [&](int row) { return column + Tile::place(row, i / packets); };
      Packet<float, 4> window[4];
#pragma unroll
      for (int k = 0; k < 3; ++k) window[k] = load_packet<4>(at(k + part.odd_y));
#pragma unroll
      for (int row = 0; row < Tile::out_down; ++row) {
        window[3] = load_packet<4>(at(row + 3 + part.odd_y));
        Packet<float, 4> filtered;
#pragma unroll
        for (int c = 0; c < 4; ++c)
          filtered.v[c] =
              g[0] * window[0].v[c] + g[1] * window[1].v[c] + g[2] * window[2].v[c] + g[3] * window[3].v[c];
        store_shared_packet(at(row), filtered);
#pragma unroll
        for (int k = 0; k < 3; ++k) window[k] = window[k + 1];
      }
    }
    __syncthreads();
    constexpr int n = kPacket<T>, outputs = Tile::slice / n;
#pragma unroll 1
    for (int i = int(threadIdx.x); i < Tile::out_down * Tile::out_across * outputs; i += kThreads) {
      const int own = i / outputs, first = i % outputs * n;
      const int row = own / Tile::out_across, column = own % Tile::out_across;
      const Pixel pixel{part.image, part.tile_y * Tile::out_down + row, part.tile_x * Tile::out_across + column};
      const int channel = part.first_column + s * Tile::slice + first;
      if (pixel.y >= a.axis_y.out || pixel.x >= a.axis_x.out || channel >= a.out_channels) continue;
      float v[n] = {};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const auto u = load_packet<n>(memory + Tile::place(row, column + part.odd_x + k) + first);
#pragma unroll
        for (int c = 0; c < n; ++c) v[c] += g[k] * up.gain * u.v[c];
      }
      epilogue.finish(v, pixel, channel);
    }
  }
}

}  // namespace cuda
}  // namespace fastgan

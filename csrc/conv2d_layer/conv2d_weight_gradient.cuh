// How the gradient of a convolution for its weights becomes a product of matrices: what is summed over are pixels. One
// operand, the fixed one, is read at each pixel; the other, the moved one, at stride times it plus a tap. So rows of the
// result are channels of the fixed operand, columns taps and, within each, channels of the moved one. The fixed one is dy,
// and the moved one x; of a transposed convolution it is the other way round.
#pragma once
#include "conv2d_layer/conv2d_load.cuh"

namespace fastgan {
namespace cuda {

struct Operand {
  const void* tensor = nullptr;
  int channels = 0, height = 0, width = 0;
  bool packets = false;  // pixels are whole aligned packets
  bool scaled = false;   // x, where there is an in_scale

  __host__ __device__ Pixel pixel(int64_t number) const {
    const int64_t row = number / width, image = row / height;
    return {int(image), int(row - image * height), int(number - row * width)};
  }
};

// What the kernels get by value.
struct GradientLaunch {
  ConvWeightGradientArgs a;
  Operand fixed, moved;
  int moved_channels = 0;      // up to whole packets
  bool packets_scale = false;  // rows of in_scale are whole packets, aligned
  unsigned tiles_m = 1, tiles_n = 1, slices = 1;
  int64_t chunks = 0;  // of a slice
  Pixel chunk{}, apart{};  // how far it is from one chunk to the next, and between pixels of a thread
};

// A stage holds, of each pixel of a chunk, `side` numbers of the fixed operand, then those of the moved one. Packets are
// permuted so that the pixels that tensor cores read at once are in different banks.
template <class T>
__device__ __forceinline__ int turned(int pixel, int packet) {
  return packet ^ (sizeof(T) == 2 ? pixel & 7 : (pixel & 3) << 1);
}
template <class T, int side>
__device__ __forceinline__ int pixel_offset(int pixel, int packet) {
  return pixel * side * int(sizeof(T)) + (turned<T>(pixel, packet) << 4);
}

// Sums of a warp's rows x columns, of operands that lie pixel by pixel.
template <class T, int side, int rows, int columns>
struct TensorColumns : TensorSums<T, rows, columns> {
  // `streamed`: registers are not short for packets that are held.
  template <bool streamed>
  __device__ __forceinline__ void multiply(const unsigned char* a, int row, const unsigned char* b, int column) {
    const int lane = int(threadIdx.x) % 32;
    constexpr int taken = sizeof(T) == 2 ? 16 : 8;  // pixels at a time
#pragma unroll(streamed || rows < 64 ? kChunk<T> / taken : 1)
    for (int pixel = 0; pixel < kChunk<T>; pixel += taken) {
      uint32_t part_a[rows / 16][4], part_b[columns / 16][4];
      if constexpr (sizeof(T) == 2) {
        const int in_a = pixel + lane / 16 * 8 + lane % 8, in_b = pixel + lane % 16;
#pragma unroll
        for (int m = 0; m < rows / 16; ++m)
          load_matrices<true>(part_a[m], a + pixel_offset<T, side>(in_a, row / 8 + 2 * m + (lane >> 3 & 1)));
#pragma unroll
        for (int n = 0; n < columns / 16; ++n)
          load_matrices<true>(part_b[n], b + pixel_offset<T, side>(in_b, column / 8 + 2 * n + lane / 16));
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int m = 0; m < rows / 16; ++m)
            part_a[m][i] = word(a, pixel + lane % 4 + i / 2 * 4, row + 16 * m + lane / 4 + i % 2 * 8);
#pragma unroll
          for (int n = 0; n < columns / 16; ++n)
            part_b[n][i] = word(b, pixel + lane % 4 + i % 2 * 4, column + 16 * n + lane / 4 + i / 2 * 8);
        }
      }
      this->add(part_a, part_b);
    }
  }

 private:
  __device__ __forceinline__ static uint32_t word(const unsigned char* from, int pixel, int number) {
    return reinterpret_cast<const uint32_t*>(from + pixel_offset<T, side>(pixel, number / 4))[number % 4];
  }
};

// The same without tensor cores: lanes have packets of rows, every fourth, and of columns, every eighth.
template <class T, int side, int rows, int columns>
struct PlainColumns : Immediate {
  using A = Accumulate<T>;
  static constexpr int n = kLanes<T>, down = rows / (4 * n), across = columns / (8 * n);
  A sum[down][n][across][n] = {};

  template <bool streamed>
  __device__ __forceinline__ void multiply(const unsigned char* a, int row, const unsigned char* b, int column) {
    const int own_row = row / n + int(threadIdx.x) % 32 / 8, own_column = column / n + int(threadIdx.x) % 8;
#pragma unroll 2
    for (int pixel = 0; pixel < kChunk<T>; ++pixel) {
      Packet<T, n> part[down];
#pragma unroll
      for (int i = 0; i < down; ++i)
        part[i] = load_packet<n>(reinterpret_cast<const T*>(a + pixel_offset<T, side>(pixel, own_row + 4 * i)));
#pragma unroll
      for (int j = 0; j < across; ++j) {
        const auto other =
            load_packet<n>(reinterpret_cast<const T*>(b + pixel_offset<T, side>(pixel, own_column + 8 * j)));
#pragma unroll
        for (int i = 0; i < down; ++i)
#pragma unroll
          for (int k = 0; k < n; ++k)
#pragma unroll
            for (int o = 0; o < n; ++o) sum[i][k][j][o] += part[i].v[k] * other.v[o];
      }
    }
  }

  __device__ __forceinline__ void store(A* to, int64_t pitch) const {
    A* const at = to + int(threadIdx.x) % 32 / 8 * n * pitch + int(threadIdx.x) % 8 * n;
#pragma unroll
    for (int i = 0; i < down; ++i)
#pragma unroll
      for (int k = 0; k < n; ++k)
#pragma unroll
        for (int j = 0; j < across; ++j) {
          Packet<A, n> packet;
#pragma unroll
          for (int o = 0; o < n; ++o) packet.v[o] = sum[i][k][j][o];
          store_packet(at + (4 * i * n + k) * pitch + 8 * j * n, packet);
        }
  }
};

// Fetches chunks of both operands, as ConvLoader does: a thread has a packet of every pixels_apart-th pixel of each.
template <class Tile, bool streamed>
struct GradientLoader {
  using T = typename Tile::T;
  using A = Accumulate<T>;
  static constexpr int stages = kStages;
  static constexpr bool tf32 = Tile::Sums::tf32;
  static constexpr int lanes = kLanes<T>, across = Tile::side / lanes, pixels_apart = kThreads / across;
  static constexpr int pixels = kChunk<T> / pixels_apart;
  const GradientLaunch& l;
  unsigned char* const memory;
  int own_pixel, own_packet, fixed_channel, moved_channel, tap_y, tap_x;
  Pixel first;  // of the next chunk
  Held<T, lanes> held[streamed ? 1 : pixels][2];
  unsigned inside = 0;  // which of those are, two bits each

  __device__ __forceinline__ GradientLoader(const GradientLaunch& launch, unsigned char* stage_memory, int first_row,
                                            int64_t first_column, int64_t first_pixel)
      : l(launch), memory(stage_memory), own_pixel(int(threadIdx.x) / across), own_packet(int(threadIdx.x) % across),
        fixed_channel(first_row + own_packet * lanes) {
    const int64_t column = first_column + own_packet * lanes, tap = column / l.moved_channels;
    const Conv2dArgs& conv = l.a.conv;
    const bool in_tap = tap < conv.axis_y.taps * conv.axis_x.taps;  // else beyond the last channel
    moved_channel = in_tap ? int(column - tap * l.moved_channels) : l.moved_channels;
    tap_y = int(tap / conv.axis_x.taps), tap_x = int(tap - tap_y * conv.axis_x.taps);
    first = l.fixed.pixel(first_pixel + own_pixel);
  }

  __device__ __forceinline__ void fetch(int stage) {
    const Conv2dArgs& conv = l.a.conv;
    unsigned char* const to = memory + stage * Tile::stage_bytes;
    inside = 0;
    Pixel p = first;
#pragma unroll
    for (int i = 0; i < pixels; ++i) {
      const bool summed = p.image < int(conv.images);
      fetch(to, i, 0, l.fixed, p.image, p.y, p.x, fixed_channel, summed);
      const int y = p.y * int(conv.stride) + tap_y - int(conv.axis_y.pad0);
      const int x = p.x * int(conv.stride) + tap_x - int(conv.axis_x.pad0);
      const bool there = unsigned(y) < unsigned(l.moved.height) && unsigned(x) < unsigned(l.moved.width);
      fetch(to, i, 1, l.moved, p.image, y, x, moved_channel, summed && there);
      move(p, l.apart);
    }
    if constexpr (streamed) move(first, l.chunk);
  }

  __device__ __forceinline__ void store(int stage) {
    if constexpr (streamed) return;
    unsigned char* const to = memory + stage * Tile::stage_bytes;
    if (l.fixed.scaled)  // x is one of them
      scale(0);
    else if (l.moved.scaled)
      scale(1);
#pragma unroll
    for (int i = 0; i < 2 * pixels; ++i) {
      round_operands<tf32>(held[i / 2][i % 2]);
      store_shared_packet(reinterpret_cast<typename Held<T, lanes>::Word*>(to + place(i / 2, i % 2)),
                          held[i / 2][i % 2].words);
    }
    move(first, l.chunk);
  }

  __device__ __forceinline__ void round(int stage) {
    if constexpr (tf32 && streamed)
#pragma unroll
      for (int i = 0; i < 2 * pixels; ++i) round_copied(memory + stage * Tile::stage_bytes + place(i / 2, i % 2));
  }

 private:
  __device__ __forceinline__ int place(int i, int moved) const {
    return moved * (Tile::stage_bytes / 2) + pixel_offset<T, Tile::side>(own_pixel + i * pixels_apart, own_packet);
  }
  // Both steps over all pixels, so that the loads of the second do not wait for one another.
  __device__ __forceinline__ void scale(int moved) {
    const int channels = (moved ? l.moved : l.fixed).channels, channel = moved ? moved_channel : fixed_channel;
    Held<A, lanes> factors[pixels];
    Pixel p = first;
#pragma unroll
    for (int i = 0; i < pixels; ++i) {
      hold_channels(factors[i], static_cast<const A*>(l.a.conv.in_scale) + int64_t(p.image) * channels + channel,
                    inside >> (2 * i + moved) & 1, l.packets_scale, channels - channel);
      move(p, l.apart);
    }
#pragma unroll
    for (int i = 0; i < pixels; ++i) scale_channels(held[i][moved], factors[i]);
  }
  __device__ __forceinline__ void fetch(unsigned char* to, int i, int moved, const Operand& from, int of_image, int y, int x,
                                        int channel, bool summed) {
    const bool is = summed && channel < from.channels;
    const int64_t pixel = (int64_t(of_image) * from.height + y) * from.width + x;
    const T* const tensor = static_cast<const T*>(from.tensor);
    const T* const p = is ? tensor + pixel * from.channels + channel : tensor;
    if constexpr (streamed) {
      copy_async(to + place(i, moved), p, is);
    } else {
      hold_channels(held[i][moved], p, is, from.packets, from.channels - channel);
      inside |= unsigned(is) << (2 * i + moved);
    }
  }
  __device__ __forceinline__ void move(Pixel& p, const Pixel& by) const {
    p.x += by.x, p.y += by.y, p.image += by.image;
    if (p.x >= l.fixed.width) p.x -= l.fixed.width, ++p.y;
    if (p.y >= l.fixed.height) p.y -= l.fixed.height, ++p.image;
  }
};

}  // namespace cuda
}  // namespace fastgan

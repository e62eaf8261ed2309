// What becomes of a tile's sums: finish.h, and y and its mask in memory; or, of blocks that share a sum, numbers in the
// workspace, which conv2d_sum_kernel adds and finishes.
#pragma once
#include "conv2d_layer/conv2d_load.cuh"
#include "conv2d_layer/finish_packet.cuh"

namespace fastgan {
namespace cuda {

// Wide tiles from which on small ones are not worth their traffic: about two for every multiprocessor of a large GPU.
constexpr int64_t kManyTiles = 256;

// Finishes neighbouring channels of a pixel: a packet, in whole bytes of the mask.
template <class T>
struct ConvFinish {
  using A = Accumulate<T>;
  const ConvLaunch& l;
  FinishPacket<T> formula;

  __device__ __forceinline__ explicit ConvFinish(const ConvLaunch& launch) : l(launch), formula(launch.a.operands) {}

  // Channels `channel` to channel + a packet, as far as there are so many, of a pixel of y.
  __device__ __forceinline__ void finish(const A* sums, const Pixel& pixel, int channel) const {
    const Conv2dArgs& a = l.a;
    const LayerOperands& o = a.operands;
    const int64_t plane = a.axis_y.out * a.axis_x.out, place = pixel.y * a.axis_x.out + pixel.x;
    const int left = int(a.out_channels) - channel, count = left < kPacket<T> ? left : kPacket<T>;
    const bool whole = l.packets_out && count == kPacket<T>;
    const Place at{(pixel.image * plane + place) * a.out_channels + channel, count, whole};
    Values<T> u;
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k) u.v[k] = sums[k];
    const auto residual = formula.load_residual(at);
    const auto scale = load_operand<T, A>(o.scale, {pixel.image * a.out_channels + channel, count, whole}, true, A(1));
    const auto b = load_operand<T, T>(o.b, {channel, count, whole}, true, formula.nothing());
    const auto noise = load_operand<T, T>(o.noise, {pixel.image * o.noise_step + place, 1, false}, false, formula.nothing());
    unsigned mask;
    store_values<T>(formula(mask, u, values_of<T>(scale), values_of<T>(residual), values_of<T>(noise), values_of<T>(b)),
                    a.y, at);
    if (o.mask) store_bits(mask, at);
  }

 private:
  // at.i is a multiple of 4, and so are the channels, where there are no codes.
  __device__ __forceinline__ void store_bits(unsigned bits, const Place& at) const {
    if (!l.codes) return store_mask<T>(bits, l.a.operands.mask, at);
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k)
      if (k < at.count) l.codes[at.i + k] = bits >> (2 * k) & 3;
  }
};

// Sums that a split has in the workspace.
template <class T>
struct PartialSums {
  using A = Accumulate<T>;
  int64_t pitch, size;  // of a pixel, of a split
  A* const partial;

  __host__ __device__ PartialSums(const Conv2dArgs& a, void* memory)
      : pitch((a.out_channels + kPacket<T> - 1) / kPacket<T> * kPacket<T>),
        size(a.images * a.axis_y.out * a.axis_x.out * pitch), partial(static_cast<A*>(memory)) {}

  // A packet of a pixel; what is beyond the last channel has room there.
  __device__ __forceinline__ void store(const A* sums, unsigned split, const Conv2dArgs& a, const Pixel& pixel,
                                        int channel) const {
    const int64_t place = (pixel.image * a.axis_y.out + pixel.y) * a.axis_x.out + pixel.x;
    store_packet(partial + split * size + place * pitch + channel, load_packet<kPacket<T>>(sums));
  }
};

// Finishes a warp's part of a tile, 16 rows every Tile::rows_apart rows from first_row on. Its sums go through shared
// memory, Tile::parts one after the other, so that threads have neighbouring channels.
template <class Tile>
__device__ __forceinline__ void finish_tile(const ConvLaunch& l, const PhasePixels& pixels,
                                            const typename Tile::Sums& sums, unsigned char* memory, int first_row,
                                            int first_column) {
  using T = typename Tile::T;
  using A = Accumulate<T>;
  constexpr int n = kPacket<T>, across = Tile::warp_columns / n, pitch = Tile::pitch;
  constexpr int part_rows = Tile::warp_rows / Tile::parts;
  const ConvFinish<T> epilogue(l);
  const PartialSums<T> shared_sums(l.a, l.partial);
  A* const own = reinterpret_cast<A*>(memory) + int(threadIdx.x) / 32 * part_rows * pitch;
#pragma unroll 1
  for (int part = 0; part < Tile::parts; ++part) {
    if constexpr (Tile::parts == 1) {
      sums.store(own, pitch);
    } else {
      static_assert(Tile::parts == 2, "halves");
      __syncwarp();  // the half before is finished
      part ? sums.template store<part_rows, part_rows>(own, pitch) : sums.template store<0, part_rows>(own, pitch);
    }
    __syncwarp();
#pragma unroll 1
    for (int i = int(threadIdx.x) % 32; i < part_rows * across; i += 32) {
      const int own_row = i / across, column = i % across * n, of_warp = part * part_rows + own_row;
      const int row = of_warp / 16 * Tile::rows_apart + of_warp % 16;
      if (first_row + row >= pixels.left || first_column + column >= l.a.out_channels) continue;
      Pixel pixel = pixels.at(unsigned(first_row + row));
      pixel.y = pixels.y.first + pixels.y.step * pixel.y;
      pixel.x = pixels.x.first + pixels.x.step * pixel.x;
      const A* const of_pixel = own + own_row * pitch + column;
      if (l.partial)
        shared_sums.store(of_pixel, blockIdx.x / l.tiles, l.a, pixel, first_column + column);
      else
        epilogue.finish(of_pixel, pixel, first_column + column);
    }
  }
}

}  // namespace cuda
}  // namespace fastgan

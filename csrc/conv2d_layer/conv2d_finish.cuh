// What becomes of a tile's sums: scale, noise, bias, activation, gain, clamp, residual, mask.
#pragma once
#include "conv2d_layer/conv2d_load.cuh"
#include "gpu/number.h"
// after what they are written in terms of
#include "bias_act/formula.h"

namespace fastgan {
namespace cuda {

// Neighbouring channels that a thread finishes: at least 16 bytes, and whole bytes of the mask.
template <class T>
constexpr int kOutputs = sizeof(T) == 2 ? 8 : 4;

template <class S, int n>
__device__ __forceinline__ void load_outputs(const void* tensor, int64_t i, bool whole, int count,
                                             Accumulate<S> (&values)[n]) {
  const S* const p = static_cast<const S*>(tensor) + i;
  if (whole) {
    const auto packet = load_packet<n>(p);
#pragma unroll
    for (int k = 0; k < n; ++k) values[k] = widen(packet.v[k]);
  } else {
#pragma unroll
    for (int k = 0; k < n; ++k) values[k] = k < count ? widen(p[k]) : Accumulate<S>(0);
  }
}

template <class T>
struct ConvEpilogue {
  using A = Accumulate<T>;
  using V = Number<A>;
  static constexpr int n = kOutputs<T>;
  const ConvLaunch& l;
  Limit<V> limit;
  Slopes<V> slopes;

  __device__ __forceinline__ explicit ConvEpilogue(const ConvLaunch& launch)
      : l(launch), limit(launch.a), slopes(launch.a, launch.a.negative_slope) {}

  // Finishes channels `channel` to channel + n, as far as there are so many, of a pixel of y.
  __device__ __forceinline__ void finish(const A* sums, const Pixel& pixel, int channel) const {
    const Conv2dArgs& a = l.a;
    const int64_t plane = a.axis_y.out * a.axis_x.out, place = pixel.y * a.axis_x.out + pixel.x;
    const int64_t i = (pixel.image * plane + place) * a.out_channels + channel;
    const int left = int(a.out_channels) - channel, count = left < n ? left : n;
    const bool whole = l.packets_out && count == n;
    A v[n], term[n];
#pragma unroll
    for (int k = 0; k < n; ++k) v[k] = sums[k];
    if (a.scale) {
      load_outputs<A>(a.scale, pixel.image * a.out_channels + channel, whole, count, term);
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] *= term[k];
    }
    if (a.noise) {
      const A noise = widen(static_cast<const T*>(a.noise)[(a.noise_per_image ? pixel.image * plane : 0) + place]);
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] += noise;
    }
    if (a.b) {
      load_outputs<T>(a.b, channel, whole, count, term);
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] += term[k];
    }
    unsigned bits = 0;
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const V y = slopes.value(v[k]);
      bits |= (unsigned(slopes.rises(v[k])) | unsigned(limit.stops(y)) << 1) << (2 * k);
      v[k] = limit.clamp(y).v;
    }
    if (a.residual) {
      load_outputs<T>(a.residual, i, whole, count, term);
#pragma unroll
      for (int k = 0; k < n; ++k) v[k] += term[k];
    }
    store_outputs(v, i, whole, count);
    if (a.mask) store_bits(bits, i, whole, count);
  }

 private:
  __device__ __forceinline__ void store_outputs(const A (&v)[n], int64_t i, bool whole, int count) const {
    T* const y = static_cast<T*>(l.a.y) + i;
    Packet<T, n> packet;
#pragma unroll
    for (int k = 0; k < n; ++k) narrow(v[k], packet.v[k]);
    if (whole) return store_packet(y, packet);
#pragma unroll
    for (int k = 0; k < n; ++k)
      if (k < count) y[k] = packet.v[k];
  }
  // i is a multiple of 4, and so are the channels, where there are no codes.
  __device__ __forceinline__ void store_bits(unsigned bits, int64_t i, bool whole, int count) const {
    if (l.codes) {
#pragma unroll
      for (int k = 0; k < n; ++k)
        if (k < count) l.codes[i + k] = bits >> (2 * k) & 3;
    } else if (whole && n == 8) {
      *reinterpret_cast<uint16_t*>(l.a.mask + i / 4) = uint16_t(bits);
    } else {
#pragma unroll
      for (int k = 0; k < n; k += 4)
        if (k < count) l.a.mask[(i + k) / 4] = uint8_t(bits >> (2 * k));
    }
  }
};

// Finishes a warp's part of a tile, 16 rows every Tile::rows_apart rows from first_row on. Its sums go through shared
// memory, so that threads have neighbouring channels.
template <class Tile>
__device__ __forceinline__ void finish_tile(const ConvLaunch& l, const PhasePixels& pixels,
                                            const typename Tile::Sums& sums, unsigned char* memory, int first_row,
                                            int first_column) {
  using T = typename Tile::T;
  using A = Accumulate<T>;
  constexpr int n = kOutputs<T>, across = Tile::warp_columns / n, pitch = Tile::pitch;
  const ConvEpilogue<T> epilogue(l);
  A* const own = reinterpret_cast<A*>(memory) + int(threadIdx.x) / 32 * Tile::warp_rows * pitch;
  sums.store(own, pitch);
  __syncwarp();
#pragma unroll 2
  for (int i = int(threadIdx.x) % 32; i < Tile::warp_rows * across; i += 32) {
    const int own_row = i / across, column = i % across * n, row = own_row / 16 * Tile::rows_apart + own_row % 16;
    if (first_row + row >= pixels.left || first_column + column >= l.a.out_channels) continue;
    Pixel pixel = pixels.at(unsigned(first_row + row));
    pixel.y = pixels.y.first + pixels.y.step * pixel.y;
    pixel.x = pixels.x.first + pixels.x.step * pixel.x;
    epilogue.finish(own + own_row * pitch + column, pixel, first_column + column);
  }
}

}  // namespace cuda
}  // namespace fastgan

// Neighbouring elements as one GPU thread handles them: load, store, and a mask of two bits an element.
#pragma once
#include "gpu/number.h"

namespace fastgan {
namespace cuda {

// Elements that a thread handles at a time: at least 16 bytes, and whole bytes of the mask.
template <class T>
constexpr int kPacket = sizeof(T) == 2 ? 8 : 4;

template <class T>
struct Values {
  Number<Accumulate<T>> v[kPacket<T>];
};

// Elements i to i + count, count <= a packet. `whole`: a full packet that may be moved in wide accesses.
struct Place {
  int64_t i;
  int count;
  bool whole;
};

template <class T>
__device__ __forceinline__ Place place_at(bool aligned, int64_t i, int64_t end) {
  const int64_t left = end - i;
  const int count = left < 0 ? 0 : left < kPacket<T> ? int(left) : kPacket<T>;
  return {i, count, aligned && count == kPacket<T> && i % kPacket<T> == 0};
}

// Of a tensor of T, or of another type.
template <class T, class Stored = T>
__device__ __forceinline__ Values<T> load_values(const void* tensor, const Place& at) {
  const Stored* const p = static_cast<const Stored*>(tensor) + at.i;
  Values<T> values;
  if (at.whole) {
    const auto packet = load_packet<kPacket<T>>(p);
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k) values.v[k] = widen(packet.v[k]);
  } else {
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k) values.v[k] = k < at.count ? widen(p[k]) : Accumulate<T>(0);
  }
  return values;
}

template <class T>
__device__ __forceinline__ void store_values(const Values<T>& values, void* tensor, const Place& at) {
  T* const p = static_cast<T*>(tensor) + at.i;
  if (at.whole) {
    Packet<T, kPacket<T>> packet;
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k) narrow(values.v[k].v, packet.v[k]);
    store_packet(p, packet);
  } else {
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k)
      if (k < at.count) narrow(values.v[k].v, p[k]);
  }
}

// Two bits an element, the first lowest.
template <class T>
__device__ __forceinline__ unsigned load_mask(const uint8_t* mask, const Place& at) {
  if (at.whole) {
    if constexpr (kPacket<T> == 8) return *reinterpret_cast<const uint16_t*>(mask + at.i / 4);
    return mask[at.i / 4];
  }
  unsigned bits = 0;
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k)
    if (k < at.count) bits |= (unsigned(mask[(at.i + k) / 4]) >> (2 * ((at.i + k) % 4)) & 3u) << (2 * k);
  return bits;
}

// at.i is a multiple of 4.
template <class T>
__device__ __forceinline__ void store_mask(unsigned bits, uint8_t* mask, const Place& at) {
  if (at.whole && kPacket<T> == 8) {
    *reinterpret_cast<uint16_t*>(mask + at.i / 4) = uint16_t(bits);
    return;
  }
#pragma unroll
  for (int k = 0; k < kPacket<T>; k += 4)
    if (k < at.count) mask[(at.i + k) / 4] = uint8_t(bits >> (2 * k));
}

template <class A>
__device__ __forceinline__ A warp_sum(A sum) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, lane);
  return sum;
}

}  // namespace cuda
}  // namespace fastgan

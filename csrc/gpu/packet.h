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

// Neighbouring numbers as they lie in memory: halves two to a word. Those that are held as numbers are taken apart, and so
// waited for, where they are loaded: then each load waits for the one before. Words are waited for at numbers().
template <class T, int N>
struct Held {
  using Word = std::conditional_t<sizeof(T) == 2, uint32_t, T>;
  static constexpr int count = N * int(sizeof(T)) / int(sizeof(Word));
  Packet<Word, count> words;

  __device__ __forceinline__ Packet<T, N> numbers() const {
    auto own = words;
    if constexpr (sizeof(T) == 2)
#pragma unroll
      for (int k = 0; k < count; ++k) own.v[k] = recomputed(int(own.v[k]));  // or they are taken apart before branches meet
    Packet<T, N> packet;
    memcpy(&packet, &own, sizeof packet);
    return packet;
  }
  __device__ __forceinline__ static Held of(const Packet<T, N>& packet) {
    Held held;
    memcpy(&held.words, &packet, sizeof packet);
    return held;
  }
  __device__ __forceinline__ static Held all(T number) {
    Packet<T, N> packet;
#pragma unroll
    for (int k = 0; k < N; ++k) packet.v[k] = number;
    return of(packet);
  }
};

// N numbers from p on, or the first `count` of them and zeros. `whole`: there are N, in wide accesses. These come last, or
// what puts single numbers together, where it is predicated and not branched around, would wait for them.
template <int N, class T>
__device__ __forceinline__ Held<T, N> hold(const T* p, bool whole, int count) {
  using Words = Held<T, N>;
  Words held;
  if (!whole) {
    Packet<T, N> packet = {};
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (k < count) packet.v[k] = p[k];
    held = Words::of(packet);
  }
  if (whole) held.words = load_packet<Words::count>(reinterpret_cast<const typename Words::Word*>(p));
  return held;
}

// A packet of T, of numbers that are T or another type in memory.
template <class T, class Stored = T>
__device__ __forceinline__ Held<Stored, kPacket<T>> load_values(const void* tensor, const Place& at) {
  return hold<kPacket<T>>(static_cast<const Stored*>(tensor) + at.i, at.whole, at.count);
}
template <class T, class Stored>
__device__ __forceinline__ Values<T> values_of(const Held<Stored, kPacket<T>>& held) {
  const auto packet = held.numbers();
  Values<T> values;
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) values.v[k] = widen(packet.v[k]);
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

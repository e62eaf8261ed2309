// Test only: twins, for kernels that cpu_shim.h runs on the CPU, of CUDA's instructions of a warp and of gpu.h's PTX.
#pragma once
#include "gpu/cpu_shim.h"

namespace fastgan {
namespace shim {

inline void require_aligned(const void* p) {
  if (uintptr_t(p) % 16 == 0) return;
  std::fprintf(stderr, "shim: an access of 16 bytes that is not aligned\n");
  std::abort();
}

// The twins of gpu.h's PTX, described there.
inline Later& own(std::vector<Later>& all) { return all[size_t(block->running - block->fibers.data())]; }
inline void copy_async(void* to, const void* from) {  // null: zeros
  require_aligned(to), require_aligned(from);
  own(block->copies).queue.push_back([to, from] { from ? std::memcpy(to, from, 16) : std::memset(to, 0, 16); });
}

inline void load_matrices(uint32_t (&m)[4], const void* row, bool transposed) {
  struct Row {
    uint16_t v[8];
  } own;
  require_aligned(row);
  std::memcpy(&own, row, 16);
  const auto rows = exchange(own);
  const unsigned lane = block->running->lane, g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned first = i * 8 + (transposed ? 2 * t : g), second = first + transposed, at = transposed ? g : 2 * t;
    m[i] = rows[first].v[at] | uint32_t(rows[second].v[at + !transposed]) << 16;
  }
}

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Number k of what a lane holds of a row: floats cut to tf32, or one of two halves.
template <class T>
float number_of(uint32_t bits, unsigned k) {
  if (std::is_same<T, float>::value) return float_of(bits & ~0x1FFFu);
  if (std::is_same<T, __nv_bfloat16>::value) return float_of(k % 2 ? bits & 0xFFFF0000u : bits << 16);
  __half_raw half;
  half.x = static_cast<unsigned short>(k % 2 ? bits >> 16 : bits);
  return __half2float(__half(half));
}

template <class T>
void tensor_multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  constexpr unsigned count = sizeof(T) == 4 ? 1 : 2;  // numbers in 4 bytes
  struct A {
    uint32_t v[4];
  } own_a;
  struct B {
    uint32_t v[2];
  } const own_b{{b0, b1}};
  std::memcpy(&own_a, a, 16);
  const unsigned g = block->running->lane / 4, t = block->running->lane % 4;
  float rows[2][8 * count];
  {
    const auto all = exchange(own_a);
    for (unsigned k = 0; k < 8 * count; ++k)
      for (unsigned row = 0; row < 2; ++row)
        rows[row][k] = number_of<T>(all[4 * g + k / count % 4].v[row + 2 * (k / (4 * count))], k);
  }
  const auto all = exchange(own_b);
  for (unsigned column = 0; column < 2; ++column)
    for (unsigned k = 0; k < 8 * count; ++k) {
      const float b = number_of<T>(all[4 * (2 * t + column) + k / count % 4].v[k / (4 * count)], k);
      for (unsigned row = 0; row < 2; ++row) sum[2 * row + column] += rows[row][k] * b;
    }
}

template <class T, int n>
void warpgroup_multiply(float (&sum)[n], uint64_t a, uint64_t b) {
  const unsigned g = block->running->lane / 4, t = block->running->lane % 4, warp = block->running->warp % 4;
  // Place k of a row that a descriptor tells: groups of 8 rows, bits 4 and 5 of an address exchanged by 7 and 8.
  const auto number = [](uint64_t rows, unsigned row, unsigned k) {
    const unsigned plain = unsigned(rows & 0x3FFF) * 16 + row / 8 * (unsigned(rows >> 32 & 0x3FFF) * 16) + row % 8 * 64 + k * 2;
    uint16_t bits;
    std::memcpy(&bits, block->shared + (plain ^ (plain >> 3 & 0x30)), 2);
    return number_of<T>(bits, 0);
  };
  own(block->products).queue.push_back([&sum, a, b, g, t, warp, number] {
    for (unsigned k = 0; k < 16; ++k) {
      const float top = number(a, 16 * warp + g, k), bottom = number(a, 16 * warp + g + 8, k);
      for (unsigned column = 0; column < n / 2; ++column) {
        const float other = number(b, column / 2 * 8 + 2 * t + column % 2, k);
        sum[column / 2 * 4 + column % 2] += top * other;
        sum[column / 2 * 4 + column % 2 + 2] += bottom * other;
      }
    }
  });
}

}  // namespace shim
}  // namespace fastgan

inline void __syncthreads() { ::fastgan::shim::wait_at(::fastgan::shim::block->barrier); }
inline void __syncwarp(unsigned = ~0u) {
  ::fastgan::shim::wait_at(::fastgan::shim::block->warps[::fastgan::shim::block->running->warp].barrier);
}
template <class T>
T __shfl_sync(unsigned, T value, int source, int = 32) {
  return ::fastgan::shim::exchange(value)[unsigned(source)];
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  const unsigned lane = ::fastgan::shim::block->running->lane;
  return ::fastgan::shim::exchange(value)[lane ^ unsigned(mask)];
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned delta, int = 32) {
  const unsigned lane = ::fastgan::shim::block->running->lane;
  const auto lanes = ::fastgan::shim::exchange(value);
  return lane + delta < 32 ? lanes[lane + delta] : value;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}

// Tensors for the tests: values as doubles beside exactly as many bytes as the kernels may touch. What lies around them
// is poisoned for the address sanitizer, and checked without it; outputs start as NaN.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "common/isa.h"
#include "common/mask_size.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace fastgan {

inline const DType kDTypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16};
inline const char* const kDTypeNames[] = {"float32", "float64", "float16", "bfloat16"};

inline size_t size_of(DType d) { return d == DType::f64 ? 8 : d == DType::f32 ? 4 : 2; }

// The number that a value becomes when it is stored; nearest, ties to even.
inline double rounded(DType d, double v) {
  if (d == DType::f64 || v == 0 || !std::isfinite(v)) return v;
  if (d == DType::f32) return double(float(v));
  const int bits = d == DType::f16 ? 10 : 7, least = d == DType::f16 ? -14 : -126;
  const int e = std::max(std::ilogb(v), least);
  const double r = std::ldexp(std::nearbyint(std::ldexp(v, bits - e)), e - bits);
  const double most = d == DType::f16 ? 65504 : std::ldexp(2 - std::ldexp(1, -7), 127);
  return std::fabs(r) > most ? std::copysign(INFINITY, v) : r;
}

inline double decode(DType d, const void* p) {
  if (d == DType::f64) return *static_cast<const double*>(p);
  if (d == DType::f32) return double(*static_cast<const float*>(p));
  uint16_t h;
  std::memcpy(&h, p, 2);
  const bool f16 = d == DType::f16;
  const int mantissa_bits = f16 ? 10 : 7, top = f16 ? 31 : 255, bias = f16 ? 15 : 127;
  const int mantissa = h & ((1 << mantissa_bits) - 1), exponent = (h >> mantissa_bits) & top;
  double v = exponent == top ? (mantissa ? NAN : INFINITY)
             : exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                             : std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  return h & 0x8000 ? -v : v;
}

inline void encode(DType d, double v, void* p) {  // v is a number of the type
  if (d == DType::f64) {
    std::memcpy(p, &v, 8);
    return;
  }
  const float f = float(v);
  if (d == DType::f32) {
    std::memcpy(p, &f, 4);
    return;
  }
  uint32_t u;
  std::memcpy(&u, &f, 4);
  uint16_t h = uint16_t(u >> 16);
  if (d == DType::f16) {
    const int e = v == 0 ? -14 : std::max(std::ilogb(v), -14);
    const int q = int(std::fabs(std::ldexp(v, 10 - e)));
    const int magnitude = std::isinf(v) ? 0x7C00 : q < 1024 ? q : ((e + 15) << 10) + q - 1024;
    h = uint16_t((std::signbit(v) ? 0x8000 : 0) | magnitude);
  }
  std::memcpy(p, &h, 2);
}

class Guarded {
 public:
  static constexpr size_t kGuard = 256;

  explicit Guarded(size_t bytes) : bytes_(bytes), all_(bytes + 2 * kGuard, 0xFF) {  // 0xFF.. is NaN in every type
    ASAN_POISON_MEMORY_REGION(all_.data(), kGuard);
    ASAN_POISON_MEMORY_REGION(all_.data() + kGuard + bytes_, kGuard);
  }
  Guarded(DType d, const std::vector<double>& values) : Guarded(values.size() * size_of(d)) {
    for (size_t i = 0; i < values.size(); ++i) encode(d, values[i], data() + i * size_of(d));
  }
  ~Guarded() { uncover(); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  unsigned char* data() { return all_.data() + kGuard; }
  double value(DType d, size_t i) { return decode(d, data() + i * size_of(d)); }
  bool intact() {
    uncover();
    for (size_t i = 0; i < kGuard; ++i)
      if (all_[i] != 0xFF || all_[kGuard + bytes_ + i] != 0xFF) return false;
    return true;
  }

 private:
  void uncover() { ASAN_UNPOISON_MEMORY_REGION(all_.data(), all_.size()); }
  size_t bytes_;
  std::vector<unsigned char> all_;
};

// Small pseudo-random numbers, always the same.
class Numbers {
 public:
  int64_t below(int64_t n) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return int64_t((state_ >> 33) % uint64_t(n));
  }
  // Multiples of 1/8 in [-limit, limit]: exact in every dtype, and so are their sums and products with few bits.
  double eighth(int limit) { return double(below(16 * limit + 1)) / 8 - limit; }
  std::vector<double> eighths(int64_t count, int limit) {
    std::vector<double> v(static_cast<size_t>(count));
    for (double& value : v) value = eighth(limit);
    return v;
  }

 private:
  uint64_t state_ = 1;
};

[[noreturn]] inline void fail(const std::string& what) {
  std::printf("FAILED: %s\n", what.c_str());
  std::exit(1);
}

inline void check(bool passed, const std::string& what) {
  if (!passed) fail(what);
}

// What runs a test's kernels: an instruction set of the CPU, or the CUDA kernels under the shim.
struct Backend {
  std::string name;
  Isa isa = Isa::generic;
  bool shim = false;
};

inline std::vector<Backend> backends() {
  std::vector<Backend> all;
#if FASTGAN_TEST_CPU
  for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512})
    if (isa_available(isa)) all.push_back({isa_name(isa), isa, false});
#endif
#if FASTGAN_SHIM
  all.push_back({"cuda shim", Isa::generic, true});
#endif
  return all;
}

// The shim runs the threads of a block in an order of its own for every number.
inline void reorder_threads(int number) {
#if FASTGAN_SHIM
  setenv("FASTGAN_SHIM_SEED", std::to_string(number % 5).c_str(), 1);
#else
  (void)number;
#endif
}

}  // namespace fastgan

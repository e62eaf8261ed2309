// squared_norm, s_n = sum of x_n^2, its derivatives, and interpolate, real + epsilon_n (fake - real). Neither torch nor
// CUDA headers: what the kernels of every backend share.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "common/isa.h"

namespace fastgan {

// x, other and out hold `samples` runs of `inner` elements in the same memory order. factor and sums have a number for each
// sample, in the type of the arithmetic: float, or double where the elements are.
struct GradientPenaltyArgs {
  const void* x = nullptr;
  const void* other = nullptr;   // double backward: ddx; interpolate: fake, of which x is the real
  const void* factor = nullptr;  // backward and double backward: dy; interpolate: epsilon
  void* out = nullptr;           // double backward: null if not wanted
  void* sums = nullptr;
  void* workspace = nullptr;  // CUDA: workspace() bytes for parts of sums
  GpuStream stream;           // CUDA: the stream to launch on
  int64_t samples = 0, inner = 0;
  DType dtype = DType::f32;
};

enum class PenaltyPass {
  norm,             // sums = sum of x^2
  backward,         // out = 2 factor x
  double_backward,  // sums = 2 sum of x other; out = 2 factor other
  interpolate,      // out = x + factor (other - x)
};

// Sums depend on sizes alone, not on the number of threads or the GPU: each is made of fixed parts, added in order.
struct GradientPenaltyKernels {
  void (*norm)(const GradientPenaltyArgs&);
  void (*backward)(const GradientPenaltyArgs&);
  void (*double_backward)(const GradientPenaltyArgs&);
  void (*interpolate)(const GradientPenaltyArgs&);
  int64_t (*workspace)(const GradientPenaltyArgs&);  // bytes that a pass with sums wants
};

namespace FASTGAN_ISA {

// What a pass does with one element, or a vector of them: V is the CPU's Vec or the GPU's Number.
template <PenaltyPass pass>
struct PenaltyFormula {
  static constexpr bool reads_other = pass == PenaltyPass::double_backward || pass == PenaltyPass::interpolate;
  static constexpr bool has_sums = pass == PenaltyPass::norm || pass == PenaltyPass::double_backward;
  static constexpr bool has_out = pass != PenaltyPass::norm;
  static constexpr int sum_factor = pass == PenaltyPass::double_backward ? 2 : 1;  // of the whole sum

  template <class V>
  FASTGAN_INLINE static V term(V x, V other) {
    return x * (pass == PenaltyPass::norm ? x : other);
  }
  template <class V>
  FASTGAN_INLINE static V out(V x, V other, V factor) {
    if constexpr (pass == PenaltyPass::interpolate) return x + factor * (other - x);
    return (factor + factor) * (pass == PenaltyPass::backward ? x : other);
  }
};

}  // namespace FASTGAN_ISA

namespace generic {
const GradientPenaltyKernels& gradient_penalty_kernels();
}
#if FASTGAN_HAVE_AVX2
namespace avx2 {
const GradientPenaltyKernels& gradient_penalty_kernels();
}
#endif
#if FASTGAN_HAVE_AVX512
namespace avx512 {
const GradientPenaltyKernels& gradient_penalty_kernels();
}
#endif

namespace cuda {
const GradientPenaltyKernels& gradient_penalty_kernels();
}

static inline const GradientPenaltyKernels& gradient_penalty_kernels(Isa isa) {
#if FASTGAN_HAVE_AVX512
  if (isa == Isa::avx512) return avx512::gradient_penalty_kernels();
#endif
#if FASTGAN_HAVE_AVX2
  if (isa == Isa::avx2) return avx2::gradient_penalty_kernels();
#endif
  (void)isa;
  return generic::gradient_penalty_kernels();
}

}  // namespace fastgan

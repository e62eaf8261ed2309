// 3x3 convolutions of stride 1 by Winograd's minimal filtering, on the CPU in float32. Neither torch nor CUDA headers.
//
// Lavin and Gray 2016: an output tile of m x m pixels is A^T [(G w G^T) . (B^T d B)] A, summed over the input channels
// between the outer transforms; d is its input patch of (m + 2) x (m + 2) pixels. F(2x2) takes 4 multiplications a
// pixel, F(4x4) 2.25, the definition 9. The polynomials meet in 0, +-1 and infinity (m = 2), or in 0, +-5/8, +-3/2 and
// infinity (m = 4), whose squares and products are exact numbers of few bits: the largest error of F(4x4) is then a
// quarter of that with the usual 0, +-1, +-2.
//
// Largest errors of random normal numbers, 32 to 512 channels, as shares of the largest number of the result: forward
// 4e-7 (F(2x2)) and 1.8e-6 (F(4x4)), where torch's float32 convolution has 5e-7; weight gradient 8e-7 and 3.3e-6, where
// torch has 3.2e-6.
#pragma once
#include <cstdint>

#include "common/isa.h"
#include "conv2d_layer/operands.h"

namespace fastgan {

// Images are contiguous: x [n, in, height, width], y [n, out, out_height, out_width].
struct WinogradArgs {
  const float* x = nullptr;
  const float* in_scale = nullptr;  // [n, in], or null
  const float* w = nullptr;         // [out, in, 3, 3]; adjoint: [in, out, 3, 3], each kernel turned by 180 degrees
  bool adjoint = false;
  float* y = nullptr;
  int64_t n = 0, in = 0, out = 0, height = 0, width = 0, out_height = 0, out_width = 0;
  int64_t pad_y = 0, pad_x = 0;  // rows above and columns before the image; negative: cropped
  int tile = 4;                  // m: 2 or 4
  LayerOperands operands;

  // Weight gradient, instead of y: dw [out, in, 3, 3] from x and dy.
  const float* dy = nullptr;
  float* dw = nullptr;
};

// Results do not depend on the number of threads.
struct WinogradKernels {
  void (*forward)(const WinogradArgs&);
  void (*weight_gradient)(const WinogradArgs&);
};

namespace generic {
const WinogradKernels& winograd_kernels();
}
#if FASTGAN_HAVE_AVX2
namespace avx2 {
const WinogradKernels& winograd_kernels();
}
#endif
#if FASTGAN_HAVE_AVX512
namespace avx512 {
const WinogradKernels& winograd_kernels();
}
#endif

static inline const WinogradKernels& winograd_kernels(Isa isa) {
#if FASTGAN_HAVE_AVX512
  if (isa == Isa::avx512) return avx512::winograd_kernels();
#endif
#if FASTGAN_HAVE_AVX2
  if (isa == Isa::avx2) return avx2::winograd_kernels();
#endif
  (void)isa;
  return generic::winograd_kernels();
}

}  // namespace fastgan

// 3x3 convolutions by Winograd's minimal filtering, on the CPU in float32. Neither torch nor CUDA headers.
//
// Lavin and Gray 2016: an output tile of m x m pixels is A^T [(G w G^T) . (B^T d B)] A, summed over the input channels
// between the outer transforms; d is its input patch of (m + 2) x (m + 2) pixels. F(2x2) takes 4 multiplications a
// pixel, F(4x4) 2.25, the definition 9. The polynomials meet in 0, +-1 and infinity (m = 2), or in 0, +-5/8, +-3/2 and
// infinity (m = 4), whose squares and products are exact numbers of few bits: the largest error of F(4x4) is then a
// quarter of that with the usual 0, +-1, +-2.
//
// With a stride of 2 the outer taps meet even samples and the middle one odd samples; so an axis is F(4, 2) on the even
// ones, with +-3/8, +-11/8 and infinity, beside four plain products: 81 multiplications for 4x4 pixels, 5.06 each. The
// adjoint of that, zeros between samples, is F(3, 2) for the even results, with 0, +-1 and infinity, beside three plain
// products: 49 for 3x3 input pixels, 5.44 each. There are as many even results as input pixels and one more, 2^n + 1,
// which 3 wastes less of than 4. Plain products of a tile share their filter.
//
// Largest errors of random normal numbers, 32 to 512 channels, as shares of the largest number of the result: forward
// 4e-7 (F(2x2)) and 1.8e-6 (F(4x4)), where torch's float32 convolution has 5e-7; weight gradient 8e-7 and 3.3e-6, where
// torch has 3.2e-6. With stride 2 or zeros between 7e-7 and 4e-7, where torch has 2.7e-6 and 1.8e-6; weight gradient 1e-6
// and 7e-7, where torch has 2.2e-6 and 1.8e-6.
#pragma once
#include <cstdint>

#include "common/isa.h"
#include "conv2d_layer/operands.h"

namespace fastgan {

// Tiles by their pixels a side: of the result at stride 1 and 2, of the input with zeros between samples.
enum class WinogradForm { same2, same4, down4, up3 };

// Images are contiguous: x [n, in, height, width], y [n, out, out_height, out_width]. y is the correlation of the padded
// input with w, at every pixel or every second one; or (up3) of the input with zeros after each row and column.
struct WinogradArgs {
  const float* x = nullptr;
  const float* in_scale = nullptr;  // [n, in], or null
  const float* w = nullptr;         // [out, in, 3, 3]; exchanged: [in, out, 3, 3]
  bool exchanged = false, turned = false;  // turned: each kernel by 180 degrees
  float* y = nullptr;
  int64_t n = 0, in = 0, out = 0, height = 0, width = 0, out_height = 0, out_width = 0;
  int64_t pad_y = 0, pad_x = 0;  // rows above and columns before the image, without zeros between; negative: cropped
  WinogradForm form = WinogradForm::same4;
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

// upfirdn2d: insert zeros, pad, filter, decimate. Neither torch nor CUDA headers: what the kernels of every backend
// share.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "common/isa.h"

namespace fastgan {

// One axis. Sample o of the output is sum_k kernel[k] u[o * down + k], where u is the input with up - 1 zeros after
// every sample and pad0 zeros in front (negative: samples cropped).
struct ResampleAxis {
  int64_t in = 0, out = 0;
  int64_t up = 1, down = 1, pad0 = 0, taps = 1;
};

// x is [planes, in_y, in_x, pixel] and y [planes, out_y, out_x, pixel], both dense: a contiguous tensor has N*C planes
// of single numbers, a channels_last one has N planes of C numbers a pixel.
struct Upfirdn2dArgs {
  const void* x = nullptr;
  void* y = nullptr;
  int64_t planes = 0, pixel = 1;
  ResampleAxis axis_y, axis_x;
  // Correlation kernels (already flipped for a convolution) with the gain folded in. Separable: kernel_y [taps_y] and
  // kernel_x [taps_x]; else kernel_x holds [taps_y, taps_x] and kernel_y is null.
  const double* kernel_y = nullptr;
  const double* kernel_x = nullptr;
  // On a GPU instead, where the host cannot look at it: the filter in the GPU's memory as it was given, in the type that
  // dtype is computed in. Separable: [taps], along both axes; else [taps_y, taps_x].
  const void* filter = nullptr;
  bool separable = false;
  bool flip = false;  // true: the filter is the correlation kernel; false: reversed it is
  double gain = 1;
  GpuStream stream;
  DType dtype = DType::f32;
};

using Upfirdn2dKernel = void (*)(const Upfirdn2dArgs&);

namespace generic {
void upfirdn2d(const Upfirdn2dArgs& a);
}
#if FASTGAN_HAVE_AVX2
namespace avx2 {
void upfirdn2d(const Upfirdn2dArgs& a);
}
#endif
#if FASTGAN_HAVE_AVX512
namespace avx512 {
void upfirdn2d(const Upfirdn2dArgs& a);
}
#endif

namespace cuda {
void upfirdn2d(const Upfirdn2dArgs& a);
}

static inline Upfirdn2dKernel upfirdn2d_kernel(Isa isa) {
#if FASTGAN_HAVE_AVX512
  if (isa == Isa::avx512) return avx512::upfirdn2d;
#endif
#if FASTGAN_HAVE_AVX2
  if (isa == Isa::avx2) return avx2::upfirdn2d;
#endif
  (void)isa;
  return generic::upfirdn2d;
}

}  // namespace fastgan

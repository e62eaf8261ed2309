// filtered_lrelu: bias, zero insertion, FIR, leaky ReLU, clamp, FIR, decimation. Neither torch nor CUDA headers: what the
// kernels of every backend share.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "common/isa.h"

namespace fastgan {

// One axis. The middle is m[j] = sum_k up_kernel[k] u[j + k - pad], where u is the input with up - 1 zeros after every
// sample, and the result y[o] = sum_k down_kernel[k] m[o * down + k - inner]; zeros lie outside both.
struct FilteredAxis {
  int64_t in = 0, middle = 0, out = 0;
  int64_t pad = 0, inner = 0;
  int64_t up_taps = 1, down_taps = 1;
};

struct FilteredLreluArgs {
  const void* x = nullptr;
  void* y = nullptr;
  const void* b = nullptr;  // [channels], of dtype; null in a masked pass
  // [n, channels, axis_y.middle, mask_row_bytes], written by a forward pass where it is not null, read by a masked one.
  // Column j of the middle is element j / S of class j % S, S the least common multiple of up and down; two bits an
  // element: bit 0 it is above 0, bit 1 the clamp stops its gradient. A class is filled up to whole words of 16.
  uint8_t* mask = nullptr;
  void* db = nullptr;         // [channels], of dtype: the sums of y in a masked pass, or null
  void* workspace = nullptr;  // of a GPU's sums
  int64_t n = 0, channels = 0;
  bool channels_last = false;
  int up = 1, down = 1;
  FilteredAxis axis_y, axis_x;
  // Correlation kernels (already flipped for a convolution), that of x with the gain of the up-sampling folded in.
  // Separable: [taps] for each axis; full: [taps_y, taps_x] in the one of x, that of y is null.
  const double *up_y = nullptr, *up_x = nullptr, *down_y = nullptr, *down_x = nullptr;
  // On a GPU instead, where the host cannot look at them: the filters in the GPU's memory as they were given, in the type
  // that dtype is computed in. Separable: [taps], along both axes; else [taps_y, taps_x].
  const void *up_filter = nullptr, *down_filter = nullptr;
  bool up_full = false, down_full = false;
  bool flip = false;                       // true: these filters are the correlation kernels; false: reversed they are
  double gain = 1, slope = 1, clamp = -1;  // of the leaky ReLU; clamp below 0: none
  bool masked = false;                     // the mask tells the slope: the pass is linear
  GpuStream stream;
  DType dtype = DType::f32;
};

FASTGAN_DEVICE static constexpr int64_t filtered_classes(int64_t up, int64_t down) {
  int64_t a = up, b = down;
  while (b != 0) {
    const int64_t rest = a % b;
    a = b, b = rest;
  }
  return up / a * down;
}

// Elements of one class of a row of the middle.
FASTGAN_DEVICE static constexpr int64_t filtered_columns(int64_t middle, int64_t classes) {
  return (middle + classes * 16 - 1) / (classes * 16) * 16;
}

FASTGAN_DEVICE static constexpr int64_t filtered_mask_row(int64_t middle, int64_t classes) {
  return filtered_columns(middle, classes) * classes / 4;
}

using FilteredLreluKernel = void (*)(const FilteredLreluArgs&);

namespace generic {
void filtered_lrelu(const FilteredLreluArgs& a);
}
#if FASTGAN_HAVE_AVX2
namespace avx2 {
void filtered_lrelu(const FilteredLreluArgs& a);
}
#endif
#if FASTGAN_HAVE_AVX512
namespace avx512 {
void filtered_lrelu(const FilteredLreluArgs& a);
}
#endif

namespace cuda {
void filtered_lrelu(const FilteredLreluArgs& a);
int64_t filtered_lrelu_workspace(const FilteredLreluArgs& a);  // bytes
}  // namespace cuda

static inline FilteredLreluKernel filtered_lrelu_kernel(Isa isa) {
#if FASTGAN_HAVE_AVX512
  if (isa == Isa::avx512) return avx512::filtered_lrelu;
#endif
#if FASTGAN_HAVE_AVX2
  if (isa == Isa::avx2) return avx2::filtered_lrelu;
#endif
  (void)isa;
  return generic::filtered_lrelu;
}

}  // namespace fastgan

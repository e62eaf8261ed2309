// The epilogue of a convolution layer, y = residual + clamp(act(scale u + noise + b) gain), as a pass of its own, and its
// gradients. Neither torch nor CUDA headers.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "common/isa.h"
#include "conv2d_layer/operands.h"

namespace fastgan {

// Images are [samples, channels, pixels], or in memory [samples, pixels, channels]: all of a call in one order. dscale
// is float32 for halves.
struct EpilogueArgs {
  const void* u = nullptr;         // forward; backward: null where dscale is to find it from y, not null only without mask
  const void* y = nullptr;         // backward: what forward gave, without a residual; null if dscale is not wanted
  const void* dy = nullptr;        // backward: gradient of the output
  void* out = nullptr;             // forward: y; backward: du
  LayerOperands operands;          // backward: without a residual; the mask null only for a constant slope, gain
  void* dscale = nullptr;          // [samples, channels] sum of g u, or null if not wanted; g = du / scale
  void* dnoise = nullptr;          // [samples, pixels] sum of g, or null
  void* db = nullptr;              // [channels] sum of g, or null
  void* workspace = nullptr;       // CUDA: workspace() bytes for parts of the sums
  GpuStream stream;                // CUDA: the stream to launch on
  int64_t samples = 0, channels = 1, pixels = 1;
  bool channels_last = false;
  DType dtype = DType::f32;
};

// Results do not depend on the number of threads, or on the GPU: sums are made of parts that the sizes alone decide.
struct EpilogueKernels {
  void (*forward)(const EpilogueArgs&);
  void (*backward)(const EpilogueArgs&);
  int64_t (*workspace)(const EpilogueArgs&);  // bytes that a backward with these sums wants
};

namespace generic {
const EpilogueKernels& epilogue_kernels();
}
#if FASTGAN_HAVE_AVX2
namespace avx2 {
const EpilogueKernels& epilogue_kernels();
}
#endif
#if FASTGAN_HAVE_AVX512
namespace avx512 {
const EpilogueKernels& epilogue_kernels();
}
#endif

namespace cuda {
const EpilogueKernels& epilogue_kernels();
}

static inline const EpilogueKernels& epilogue_kernels(Isa isa) {
#if FASTGAN_HAVE_AVX512
  if (isa == Isa::avx512) return avx512::epilogue_kernels();
#endif
#if FASTGAN_HAVE_AVX2
  if (isa == Isa::avx2) return avx2::epilogue_kernels();
#endif
  (void)isa;
  return generic::epilogue_kernels();
}

}  // namespace fastgan

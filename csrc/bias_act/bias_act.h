// bias_act: y = clamp(act(x + b) * gain). Neither torch nor CUDA headers: what the kernels of every backend share.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "common/isa.h"

namespace fastgan {

// All tensors but b and db hold numel elements in the same memory order; element i has channel (i / inner) % channels.
struct BiasActArgs {
  const void* x = nullptr;    // null in a backward that the mask, or nothing, suffices for
  const void* b = nullptr;    // [channels], or null for no bias
  const void* dy = nullptr;   // backward: gradient of the output
  const void* ddx = nullptr;  // double backward: gradient of dx
  void* out = nullptr;        // forward: y; backward and double backward: dx
  uint8_t* mask = nullptr;    // written by forward, read by backward; null for none. 4 elements a byte, low bits first:
                              // bit 0: the side above 0, bit 1: no gradient passes the clamp. [ceil(numel / 4)]; what
                              // lies beyond the last element may be anything
  void* db = nullptr;         // [channels] sum of dx, or null if not wanted
  void* workspace = nullptr;  // CUDA: workspace() bytes for the sums of db
  GpuStream stream;           // CUDA: the stream to launch on
  int64_t numel = 0, channels = 1, inner = 1;
  DType dtype = DType::f32;
  int act = 0;  // index in the list of activations.h
  double alpha = 0, gain = 1;
  double clamp = -1;  // negative: none
};

// Results do not depend on the number of threads, or on the GPU: db is summed over fixed blocks, and the blocks in order.
struct BiasActKernels {
  void (*forward)(const BiasActArgs&);
  void (*backward)(const BiasActArgs&);         // dx = dy * gain * act'(x + b), 0 where clamped
  void (*double_backward)(const BiasActArgs&);  // dx = ddx * dy * gain * act''(x + b), 0 where clamped
  int64_t (*workspace)(const BiasActArgs&);        // bytes that a pass with db wants
};

namespace generic {
const BiasActKernels& bias_act_kernels();
}
#if FASTGAN_HAVE_AVX2
namespace avx2 {
const BiasActKernels& bias_act_kernels();
}
#endif
#if FASTGAN_HAVE_AVX512
namespace avx512 {
const BiasActKernels& bias_act_kernels();
}
#endif

namespace cuda {
const BiasActKernels& bias_act_kernels();
}

static inline const BiasActKernels& bias_act_kernels(Isa isa) {
#if FASTGAN_HAVE_AVX512
  if (isa == Isa::avx512) return avx512::bias_act_kernels();
#endif
#if FASTGAN_HAVE_AVX2
  if (isa == Isa::avx2) return avx2::bias_act_kernels();
#endif
  (void)isa;
  return generic::bias_act_kernels();
}

}  // namespace fastgan

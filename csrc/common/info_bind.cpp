// What this library was built as; and, of one whose CUDA kernels the CPU runs, how often each has run.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <string>

#include "common/isa.h"
#if FASTGAN_SHIM || FASTGAN_WITH_CUDA
#include "gpu/kernel_list.h"
#endif

#if FASTGAN_SHIM
STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) {
  m.impl("shim_launches", TORCH_BOX(&fastgan::cuda::kernel_resources));
}
#else
namespace {

std::string native_info() {
  const std::string isa = fastgan::isa_name(fastgan::best_isa());
#if FASTGAN_WITH_CUDA
  const std::string cuda = "\"" FASTGAN_CUDA_TARGETS "\", \"cuda_compiler\": \"" FASTGAN_CUDA_COMPILER "\"";
#else
  const std::string cuda = "false";
#endif
  return "{\"version\": \"" FASTGAN_VERSION "\", \"cpu_isa\": \"" + isa + "\", \"cuda\": " + cuda +
         ", \"compiler\": \"" FASTGAN_COMPILER "\"}";
}

std::string cuda_kernel_resources() {
#if FASTGAN_WITH_CUDA
  return fastgan::cuda::kernel_resources();
#else
  return "{\"reason\": \"the native library was built without CUDA\"}";
#endif
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) {
  m.impl("native_info", TORCH_BOX(&native_info));
  m.impl("cuda_kernel_resources", TORCH_BOX(&cuda_kernel_resources));
}
#endif

// Test only: how often each CUDA kernel was run on the CPU.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "cuda/kernel_list.h"

STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) {
  m.impl("shim_launches", TORCH_BOX(&fastgan::cuda::kernel_resources));
}

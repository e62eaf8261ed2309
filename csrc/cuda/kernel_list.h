// Every CUDA kernel of this library, and what is known of them. Neither torch nor CUDA headers.
#pragma once
#include <string>
#include <vector>

namespace fastgan {

struct KernelEntry {
  std::string name;
  const void* function;
};
using KernelList = std::vector<KernelEntry>;

namespace cuda {

// One a source.
void bias_act_kernel_list(KernelList& list);
void conv2d_epilogue_kernel_list(KernelList& list);
void conv2d_kernel_list(KernelList& list);
void conv2d_up_kernel_list(KernelList& list);
void conv2d_weight_gradient_kernel_list(KernelList& list);
void upfirdn2d_kernel_list(KernelList& list);

// JSON: [{"name", "registers", "static_shared_bytes", "local_bytes", "max_threads"}] as the current GPU's driver has loaded them,
// or {"reason"} where there is none. Under the shim: [{"name", "launches"}] so far.
std::string kernel_resources();

}  // namespace cuda
}  // namespace fastgan

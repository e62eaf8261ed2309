// What the kernels take of the GPU that they are loaded on.
#include "cuda/gpu.h"
#include "cuda/kernel_list.h"

namespace fastgan {
namespace cuda {

std::string kernel_resources() {
  KernelList list;
  bias_act_kernel_list(list);
  conv2d_epilogue_kernel_list(list);
  upfirdn2d_kernel_list(list);
  conv2d_kernel_list(list);
  conv2d_up_kernel_list(list);
  conv2d_weight_gradient_kernel_list(list);
  std::string json;
  for (const KernelEntry& kernel : list) {
    json += (json.empty() ? "[" : ", ") + std::string("{\"name\": \"") + kernel.name + "\", ";
#if FASTGAN_SHIM
    json += "\"launches\": " + std::to_string(shim::launches()[kernel.function]) + "}";
#else
    cudaFuncAttributes found;
    const cudaError_t error = cudaFuncGetAttributes(&found, kernel.function);
    if (error != cudaSuccess) {
      cudaGetLastError();  // do not leave it to the next call
      return std::string("{\"reason\": \"") + cudaGetErrorString(error) + "\"}";
    }
    json += "\"registers\": " + std::to_string(found.numRegs) +
            ", \"static_shared_bytes\": " + std::to_string(found.sharedSizeBytes) +
            ", \"local_bytes\": " + std::to_string(found.localSizeBytes) +
            ", \"max_threads\": " + std::to_string(found.maxThreadsPerBlock) + "}";
#endif
  }
  return json + "]";
}

}  // namespace cuda
}  // namespace fastgan

// What the kernels take of the GPU that they are loaded on.
#include "gpu/kernel_list.h"

#include <algorithm>

#include "gpu/gpu.h"

namespace fastgan {
namespace cuda {

std::string kernel_resources() {
  KernelList list;
  for (const auto list_kernels : KernelSource::all()) list_kernels(list);
  std::sort(list.begin(), list.end(), [](const KernelEntry& a, const KernelEntry& b) { return a.name < b.name; });
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

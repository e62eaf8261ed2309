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

// A source's kernels, entered when the library is loaded: `const KernelSource source(list_kernels);`.
class KernelSource {
 public:
  explicit KernelSource(void (*list)(KernelList&)) { all().push_back(list); }
  static std::vector<void (*)(KernelList&)>& all() {
    static std::vector<void (*)(KernelList&)> sources;
    return sources;
  }
};

// JSON: [{"name", "registers", "static_shared_bytes", "local_bytes", "max_threads"}] as the current GPU's driver has loaded them,
// or {"reason"} where there is none. Under the shim: [{"name", "launches"}] so far.
std::string kernel_resources();

}  // namespace cuda
}  // namespace fastgan

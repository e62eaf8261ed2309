// Where an operator's kernels run.
#pragma once
#include "common/gpu_stream.h"
#include "common/torch_tensor.h"
#if FASTGAN_WITH_CUDA
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>
#endif

namespace fastgan {

#if FASTGAN_WITH_CUDA

// Makes a tensor's GPU the current one for as long as it lives, and knows the current stream there.
class __attribute__((visibility("hidden"))) OnDevice {
 public:
  explicit OnDevice(const Tensor& t) : guard_(t.get_device_index()) {
    stream_.device = t.get_device_index();
    // Only torch builds with CUDA have this function: looked up at first use, so that others load this library too.
    using Function = AOTITorchError (*)(int32_t, void**);
    static const Function current_stream = [] {
      const char* const name = "aoti_torch_get_current_cuda_stream";
      void* found = dlsym(RTLD_DEFAULT, name);
      if (!found)
        if (void* const torch_cuda = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY)) found = dlsym(torch_cuda, name);
      STD_TORCH_CHECK(found, "torch has no CUDA streams: is this a CPU build of torch?");
      return reinterpret_cast<Function>(found);
    }();
    check_torch(current_stream(t.get_device_index(), &stream_.handle), "tell the current CUDA stream");
  }
  GpuStream stream() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  GpuStream stream_;
};

#endif

// The CPU: nothing to set, no stream.
struct OnCpu {
  explicit OnCpu(const Tensor&) {}
  GpuStream stream() const { return {}; }
};

}  // namespace fastgan

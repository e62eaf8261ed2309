// Where a CUDA kernel is launched. No CUDA headers.
#pragma once

namespace fastgan {

struct GpuStream {
  void* handle = nullptr;  // cudaStream_t
  int device = 0;
};

}  // namespace fastgan

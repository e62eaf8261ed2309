// Included first by every CUDA source: what a kernel may use. Under nvcc these are CUDA's own; under FASTGAN_SHIM the same
// names run the kernel on the CPU (cpu_shim.h). All PTX belongs here, each line beside a C++ twin.
//
// So that both can compile a source: kernels are started by launch(), shared memory is FASTGAN_SHARED and nothing else,
// and no logic hangs on __CUDA_ARCH__.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#if FASTGAN_SHIM
#include "cuda/cpu_shim.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "cuda/kernel_list.h"

// Dynamic shared memory as a T*, aligned to 16 bytes.
#if FASTGAN_SHIM
#define FASTGAN_SHARED(T, name) T* const name = reinterpret_cast<T*>(::fastgan::shim::shared_memory())
#else
#define FASTGAN_SHARED(T, name)                                        \
  extern __shared__ __align__(16) unsigned char fastgan_shared_memory[]; \
  T* const name = reinterpret_cast<T*>(fastgan_shared_memory)
#endif

namespace fastgan {

namespace cuda {

// Starts kernel(args...). Throws what CUDA says of the launch, after the operator's name.
template <class... Parameters, class... Args>
void launch(const char* op, void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
            const GpuStream& stream, Args... args) {
  if (blocks > 2147483647) throw std::runtime_error(std::string(op) + ": the tensor is too large for one launch");
#if FASTGAN_SHIM
  (void)stream;
  shim::launch(reinterpret_cast<const void*>(kernel), unsigned(blocks), unsigned(threads), shared_bytes,
               [&] { kernel(args...); });
#else
  cudaSetDevice(stream.device);  // torch has set it, in a CUDA runtime of its own
  kernel<<<unsigned(blocks), unsigned(threads), shared_bytes, static_cast<cudaStream_t>(stream.handle)>>>(args...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(op) + ": CUDA, in this or an earlier kernel (CUDA_LAUNCH_BLOCKING=1 tells): " +
                             cudaGetErrorString(error));
#endif
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls f with a value of the storage type.
template <class F>
void dispatch_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32: return f(float());
    case DType::f64: return f(double());
    case DType::f16: return f(__half());
    case DType::bf16: return f(__nv_bfloat16());
  }
}

template <class T>
const char* type_name() {
  return sizeof(T) == 8 ? "float64" : sizeof(T) == 4 ? "float32" : std::is_same<T, __half>::value ? "float16" : "bfloat16";
}

// Storage type to the type of the arithmetic, and back: nearest, ties to even.
__device__ __forceinline__ float widen(float v) { return v; }
__device__ __forceinline__ double widen(double v) { return v; }
__device__ __forceinline__ float widen(__half v) { return __half2float(v); }
__device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ __forceinline__ void narrow(float v, float& out) { out = v; }
__device__ __forceinline__ void narrow(double v, double& out) { out = v; }
__device__ __forceinline__ void narrow(float v, __half& out) { out = __float2half_rn(v); }
__device__ __forceinline__ void narrow(float v, __nv_bfloat16& out) { out = __float2bfloat16_rn(v); }

// N neighbouring elements, moved in one access of 16 bytes (two for 32).
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Packet {
  T v[N];
};
template <int N, class T>
__device__ __forceinline__ Packet<T, N> load_packet(const T* p) {
  return *reinterpret_cast<const Packet<T, N>*>(p);
}
template <class T, int N>
__device__ __forceinline__ void store_shared_packet(T* p, const Packet<T, N>& packet) {
  *reinterpret_cast<Packet<T, N>*>(p) = packet;
}
// To global memory. Said in PTX: beside a branch that stores the same elements one by one, compilers choose that.
template <class T, int N>
__device__ __forceinline__ void store_packet(T* p, const Packet<T, N>& packet) {
#if !FASTGAN_SHIM
  if constexpr (sizeof packet % 16 == 0) {
    uint4 words[sizeof packet / 16];
    memcpy(words, &packet, sizeof packet);
#pragma unroll
    for (int i = 0; i < int(sizeof packet / 16); ++i)
      asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p + i * (16 / sizeof(T)))),
                   "r"(words[i].x), "r"(words[i].y), "r"(words[i].z), "r"(words[i].w)
                   : "memory");
    return;
  }
#endif
  *reinterpret_cast<Packet<T, N>*>(p) = packet;
}
inline bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }  // null is

}  // namespace cuda
}  // namespace fastgan

// Included first by every CUDA source: what a kernel may use. Under nvcc these are CUDA's own; under FASTGAN_SHIM the same
// names run the kernel on the CPU (cpu_shim.h, cpu_shim_twins.h). All PTX belongs here, each line beside a C++ twin.
//
// So that both can compile a source: kernels are started by launch(), shared memory is FASTGAN_SHARED and nothing else,
// and no logic hangs on __CUDA_ARCH__.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#if FASTGAN_SHIM
#include "gpu/cpu_shim_twins.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "gpu/kernel_list.h"

// Dynamic shared memory as a T*, aligned to 1024 bytes; under the shim to 16.
#if FASTGAN_SHIM
#define FASTGAN_SHARED(T, name) T* const name = reinterpret_cast<T*>(::fastgan::shim::shared_memory())
#else
#define FASTGAN_SHARED(T, name)                                        \
  extern __shared__ __align__(1024) unsigned char fastgan_shared_memory[]; \
  T* const name = reinterpret_cast<T*>(fastgan_shared_memory)
#endif

namespace fastgan {

namespace cuda {

constexpr size_t kPlainSharedBytes = 48 << 10;  // what a launch may have without being asked for

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
  if (shared_bytes > kPlainSharedBytes)  // a refusal is told by the launch
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
  kernel<<<unsigned(blocks), unsigned(threads), shared_bytes, static_cast<cudaStream_t>(stream.handle)>>>(args...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(op) + ": CUDA, in this or an earlier kernel (CUDA_LAUNCH_BLOCKING=1 tells): " +
                             cudaGetErrorString(error));
#endif
}

FASTGAN_DEVICE inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

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

// Copies 16 bytes from global to shared memory, both aligned, or zeros where nothing is inside; commit_copies() closes a
// group of what a thread has asked for, wait_copies<n>() waits until but the last n groups are there. Other threads see
// them after a barrier.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside) {
#if FASTGAN_SHIM
  shim::copy_async(to, inside ? from : nullptr);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(unsigned(__cvta_generic_to_shared(to))),
               "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0)
               : "memory");
#endif
}
__device__ __forceinline__ void commit_copies() {
#if FASTGAN_SHIM
  shim::own(shim::block->copies).commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int n>
__device__ __forceinline__ void wait_copies() {
#if FASTGAN_SHIM
  shim::own(shim::block->copies).wait(n);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#endif
}

// Four matrices of 8 rows of 16 bytes from shared memory: lane l gives row l % 8 of matrix l / 8, and gets 4 bytes of
// each: place l % 4 of row l / 4. Transposed, of 16-bit numbers: numbers 2 (l % 4) and the next of column l / 4.
template <bool transposed>
__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], const void* row) {
#if FASTGAN_SHIM
  shim::load_matrices(m, row, transposed);
#else
  const unsigned at = unsigned(__cvta_generic_to_shared(row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(at)
                 : "memory");
#endif
}

// The same number, of which a compiler does not know it: what follows from it is computed again, not kept in registers.
__device__ __forceinline__ int recomputed(int v) {
#if !FASTGAN_SHIM
  asm volatile("" : "+r"(v));
#endif
  return v;
}

// The greater and the lesser, NaN where one of them is.
__device__ __forceinline__ double greater(double a, double b) { return a > b || a != a ? a : b; }
__device__ __forceinline__ double lesser(double a, double b) { return a < b || a != a ? a : b; }
__device__ __forceinline__ float greater(float a, float b) {
#if FASTGAN_SHIM
  return a > b || a != a ? a : b;
#else
  asm("max.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
  return a;
#endif
}
__device__ __forceinline__ float lesser(float a, float b) {
#if FASTGAN_SHIM
  return a < b || a != a ? a : b;
#else
  asm("min.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
  return a;
#endif
}

// A float for tensor cores, which read 10 bits of its mantissa and cut off the rest: then they read it rounded to nearest,
// ties away from 0. Two instructions; cvt.rna.tf32 would also clear what is cut off.
__device__ __forceinline__ float round_tf32(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if (fabsf(v) < INFINITY) bits += 0x1000;
  memcpy(&v, &bits, 4);
  return v;
}

// A warp's sum += a b, 16 x 8: of 16 numbers a row of a and column of b where T is a half, of 8 in tf32 where it is float.
// With g = lane / 4 and t = lane % 4, a lane holds rows g and g + 8, columns 2t and 2t + 1 of the sum; 4 bytes at place t
// of rows g and g + 8 of a, then of their second halves, and likewise b0 and b1 of column g of b.
template <class T>
__device__ __forceinline__ void tensor_multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if FASTGAN_SHIM
  shim::tensor_multiply<T>(sum, a, b0, b1);
#else
#define FASTGAN_MMA(shape, types)                                                                                 \
  asm volatile("mma.sync.aligned." shape ".row.col.f32." types ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "         \
               "{%8, %9}, {%0, %1, %2, %3};"                                                                      \
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                            \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
  if constexpr (std::is_same<T, float>::value)
    FASTGAN_MMA("m16n8k8", "tf32.tf32");
  else if constexpr (std::is_same<T, __half>::value)
    FASTGAN_MMA("m16n8k16", "f16.f16");
  else
    FASTGAN_MMA("m16n8k16", "bf16.bf16");
#undef FASTGAN_MMA
#endif
}

// A group of 4 warps multiplies matrices that lie in shared memory, on GPUs of compute capability 9.0 alone.
#if FASTGAN_SHIM || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kWarpgroups = true;
#else
constexpr bool kWarpgroups = false;  // what follows then does nothing, in kernels that are not launched
#endif
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define FASTGAN_WARPGROUP_PTX(...) asm volatile(__VA_ARGS__)
#else
#define FASTGAN_WARPGROUP_PTX(...) ((void)0)
#endif
// Whether the GPU is one, and this library was compiled for it.
inline bool has_warpgroups(const GpuStream& stream) {
  (void)stream;
#if FASTGAN_SHIM
  return std::getenv("FASTGAN_SHIM_WARPGROUPS") != nullptr;
#elif FASTGAN_WITH_WARPGROUPS
  int major = 0;
  return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, stream.device) == cudaSuccess && major == 9;
#else
  return false;
#endif
}

// Whether a multiprocessor has but 100 KiB of shared memory, as on compute capability 8.6, 8.9 and 12.0, not 160 and more.
inline bool has_little_shared(const GpuStream& stream) {
  (void)stream;
#if FASTGAN_SHIM
  return shim::has_little_shared();
#else
  int bytes = 0;
  return cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor, stream.device) == cudaSuccess &&
         bytes < (128 << 10);
#endif
}

// Tells where a matrix lies: rows of 64 bytes, whose packets of 16 are permuted, packet p of row r in place p ^ (r / 2 %
// 4). The first row begins at a multiple of 512 bytes, `offset` at 32 bytes further in every row.
__device__ __forceinline__ uint64_t rows_in_shared(const void* rows, int offset) {
#if FASTGAN_SHIM
  const unsigned at = unsigned(static_cast<const unsigned char*>(rows) - shim::block->shared) + unsigned(offset);
#else
  const unsigned at = unsigned(__cvta_generic_to_shared(rows)) + unsigned(offset);
#endif
  constexpr uint64_t eight_rows = 512 / 16, permuted_64_bytes = 2;
  return (at >> 4 & 0x3FFF) | uint64_t(1) << 16 | eight_rows << 32 | permuted_64_bytes << 62;
}
// What this thread has written to shared memory, or has copied there, is seen by the products after the next barrier.
__device__ __forceinline__ void publish_to_warpgroups() {
  FASTGAN_WARPGROUP_PTX("fence.proxy.async.shared::cta;" ::: "memory");
}
// Before the first product of a group: the sums are as they stand.
__device__ __forceinline__ void begin_products() { FASTGAN_WARPGROUP_PTX("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() {
#if FASTGAN_SHIM
  shim::own(shim::block->products).commit();
#endif
  FASTGAN_WARPGROUP_PTX("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until but the last n groups are done, and have read what they multiply.
template <int n>
__device__ __forceinline__ void wait_products() {
#if FASTGAN_SHIM
  shim::own(shim::block->products).wait(n);
#endif
  FASTGAN_WARPGROUP_PTX("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}
// sum += a b, 64 x 2n x 16 halves, n 32 or 64, asynchronously. Warp w has rows 16w to 16w + 15; sum[4j] to sum[4j + 3] are
// what tensor_multiply has of columns 8j to 8j + 7.
template <class T, int n>
__device__ __forceinline__ void warpgroup_multiply(float (&sum)[n], uint64_t a, uint64_t b) {
  static_assert(n == 32 || n == 64, "a shape that is written down below");
#if FASTGAN_SHIM
  shim::warpgroup_multiply<T>(sum, a, b);
#else
  (void)sum, (void)a, (void)b;
#define FASTGAN_SUM4(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define FASTGAN_SUM16(i) FASTGAN_SUM4(i), FASTGAN_SUM4(i + 4), FASTGAN_SUM4(i + 8), FASTGAN_SUM4(i + 12)
#define FASTGAN_WGMMA64(types)                                                                                     \
  FASTGAN_WARPGROUP_PTX(                                                                                           \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." types " "                                                      \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, 1, 1, 1, 0, 0;"  \
      : FASTGAN_SUM16(0), FASTGAN_SUM16(16)                                                                        \
      : "l"(a), "l"(b))
#define FASTGAN_WGMMA128(types)                                                                                    \
  FASTGAN_WARPGROUP_PTX(                                                                                           \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." types " "                                                     \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                           \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                           \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, 1, 1, 1, 0, 0;"  \
      : FASTGAN_SUM16(0), FASTGAN_SUM16(16), FASTGAN_SUM16(32), FASTGAN_SUM16(48)                                  \
      : "l"(a), "l"(b))
  if constexpr (n == 32 && std::is_same<T, __half>::value)
    FASTGAN_WGMMA64("f16.f16");
  else if constexpr (n == 32)
    FASTGAN_WGMMA64("bf16.bf16");
  else if constexpr (std::is_same<T, __half>::value)
    FASTGAN_WGMMA128("f16.f16");
  else
    FASTGAN_WGMMA128("bf16.bf16");
#undef FASTGAN_WGMMA128
#undef FASTGAN_WGMMA64
#undef FASTGAN_SUM16
#undef FASTGAN_SUM4
#endif
}
// After the last wait: reads of the sums stay behind it.
template <int n>
__device__ __forceinline__ void settle_products(float (&sum)[n]) {
  (void)sum;
#pragma unroll
  for (int i = 0; i < n; ++i) FASTGAN_WARPGROUP_PTX("" : "+f"(sum[i])::"memory");
}
#undef FASTGAN_WARPGROUP_PTX

inline bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }  // null is

}  // namespace cuda
}  // namespace fastgan

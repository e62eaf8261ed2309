// Instruction sets. Sources of the CPU operators are compiled once per set with FASTGAN_ISA naming their namespace, and
// every inline function they use lives in that namespace too: code shared between sets would break the one-definition
// rule, and with it old processors. The CUDA sources are one more such namespace, cuda.
#pragma once
#ifndef FASTGAN_ISA
#define FASTGAN_ISA generic
#endif

// What a GPU's kernels call as well; nothing where there is no CUDA compiler.
#if defined(__CUDACC__)
#define FASTGAN_DEVICE __host__ __device__
#else
#define FASTGAN_DEVICE
#endif
// For what an inner loop consists of: everything it reads must be able to stay in registers.
#define FASTGAN_INLINE FASTGAN_DEVICE inline __attribute__((always_inline))

namespace fastgan {

enum class Isa { generic, avx2, avx512 };  // in order of preference, best last

bool isa_available(Isa isa);  // compiled in, and the processor has it
Isa best_isa();
const char* isa_name(Isa isa);

}  // namespace fastgan

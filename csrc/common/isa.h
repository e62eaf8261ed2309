// Instruction sets. Sources of the CPU operators are compiled once per set with FASTGAN_ISA naming their namespace, and
// every inline function they use lives in that namespace too: code shared between sets would break the one-definition
// rule, and with it old processors.
#pragma once
#ifndef FASTGAN_ISA
#define FASTGAN_ISA generic
#endif

// For what an inner loop consists of: everything it reads must be able to stay in registers.
#define FASTGAN_INLINE inline __attribute__((always_inline))

namespace fastgan {

enum class Isa { generic, avx2, avx512 };  // in order of preference, best last

bool isa_available(Isa isa);  // compiled in, and the processor has it
Isa best_isa();
const char* isa_name(Isa isa);

}  // namespace fastgan

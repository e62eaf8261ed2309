#include "common/isa.h"

namespace fastgan {

namespace {

bool has_avx2() {
#if FASTGAN_HAVE_AVX2
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool has_avx512() {
#if FASTGAN_HAVE_AVX512
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("bmi2");
#else
  return false;
#endif
}

}  // namespace

bool isa_available(Isa isa) {
  static const bool avx2 = has_avx2(), avx512 = has_avx512();
  return isa == Isa::avx512 ? avx512 : isa == Isa::avx2 ? avx2 : true;
}

Isa best_isa() {
  return isa_available(Isa::avx512) ? Isa::avx512 : isa_available(Isa::avx2) ? Isa::avx2 : Isa::generic;
}

const char* isa_name(Isa isa) { return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "generic"; }

}  // namespace fastgan

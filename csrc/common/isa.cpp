#include "common/isa.h"

namespace fastgan {

bool isa_available(Isa isa) {
  if (isa == Isa::generic) return true;
#if FASTGAN_HAVE_AVX2
  static const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return avx2;
#else
  return false;
#endif
}

Isa best_isa() { return isa_available(Isa::avx2) ? Isa::avx2 : Isa::generic; }

const char* isa_name(Isa isa) { return isa == Isa::avx2 ? "avx2" : "generic"; }

}  // namespace fastgan

// Storage types of the operators, and the type each computes in.
#pragma once
#include <cstdint>

#include "common/isa.h"

namespace fastgan {

enum class DType : int { f32, f64, f16, bf16 };

namespace FASTGAN_ISA {

// Arithmetic is float for everything up to 32 bits, double for double.
template <class T>
struct AccumulateIn {
  using type = float;
};
template <>
struct AccumulateIn<double> {
  using type = double;
};
template <class T>
using Accumulate = typename AccumulateIn<T>::type;

}  // namespace FASTGAN_ISA
}  // namespace fastgan

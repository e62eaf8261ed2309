// A number of the GPU's arithmetic with the interface of the CPU's Vec, so that formulas are written once for both.
#pragma once
#include <cmath>

#include "gpu/gpu.h"

namespace fastgan {
namespace cuda {

template <class A>
struct Number {
  using Scalar = A;
  A v;
  Number() = default;
  FASTGAN_INLINE Number(A value) : v(value) {}
};

template <class A>
FASTGAN_INLINE Number<A> operator+(Number<A> a, Number<A> b) {
  return a.v + b.v;
}
template <class A>
FASTGAN_INLINE Number<A> operator-(Number<A> a, Number<A> b) {
  return a.v - b.v;
}
template <class A>
FASTGAN_INLINE Number<A> operator*(Number<A> a, Number<A> b) {
  return a.v * b.v;
}
template <class A>
FASTGAN_INLINE Number<A> operator/(Number<A> a, Number<A> b) {
  return a.v / b.v;
}
template <class A>
FASTGAN_INLINE Number<A> operator-(Number<A> a) {
  return -a.v;
}
template <class A>
FASTGAN_INLINE bool operator>(Number<A> a, Number<A> b) {
  return a.v > b.v;
}
template <class A>
FASTGAN_INLINE bool operator<(Number<A> a, Number<A> b) {
  return a.v < b.v;
}
template <class A>
FASTGAN_INLINE bool operator<=(Number<A> a, Number<A> b) {
  return a.v <= b.v;
}
template <class A>
FASTGAN_INLINE bool operator==(Number<A> a, Number<A> b) {
  return a.v == b.v;
}
template <class A>
FASTGAN_INLINE Number<A> select(bool condition, Number<A> yes, Number<A> no) {
  return condition ? yes : no;
}
// A NaN in b is kept.
template <class A>
FASTGAN_INLINE Number<A> min(Number<A> a, Number<A> b) {
  return a < b ? a : b;
}
template <class A>
FASTGAN_INLINE Number<A> max(Number<A> a, Number<A> b) {
  return a > b ? a : b;
}
template <class A>
FASTGAN_INLINE Number<A> abs(Number<A> a) {
  return a.v < A(0) ? -a.v : a.v == A(0) ? A(0) : a.v;
}
FASTGAN_INLINE Number<float> exp(Number<float> a) { return ::expf(a.v); }
FASTGAN_INLINE Number<float> expm1(Number<float> a) { return ::expm1f(a.v); }
FASTGAN_INLINE Number<float> log1p(Number<float> a) { return ::log1pf(a.v); }
FASTGAN_INLINE Number<double> exp(Number<double> a) { return ::exp(a.v); }
FASTGAN_INLINE Number<double> expm1(Number<double> a) { return ::expm1(a.v); }
FASTGAN_INLINE Number<double> log1p(Number<double> a) { return ::log1p(a.v); }

}  // namespace cuda
}  // namespace fastgan

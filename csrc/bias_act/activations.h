// The activations of bias_act at the pre-activation v, written once for every backend: V is a vector of the CPU's or a
// number of the GPU's, whose header, with exp, expm1 and log1p, comes first. A new activation is one struct here and one
// name in the list at the end.
#pragma once
#include "common/isa.h"

namespace fastgan {
namespace FASTGAN_ISA {

// Piecewise-linear activations have a slope on each side of 0 and nothing else: two bits an element (side, clamped) are
// all that their backward needs.
struct PiecewiseLinear {
  static constexpr bool piecewise = true;
};

struct Linear : PiecewiseLinear {
  static constexpr const char* name = "linear";
  FASTGAN_DEVICE static double negative_slope(double) { return 1; }
};

struct Relu : PiecewiseLinear {
  static constexpr const char* name = "relu";
  FASTGAN_DEVICE static double negative_slope(double) { return 0; }
};

struct LeakyRelu : PiecewiseLinear {
  static constexpr const char* name = "lrelu";
  FASTGAN_DEVICE static double negative_slope(double alpha) { return alpha; }
};

// Smooth activations give their value f and its derivatives df, d2f.
struct Smooth {
  static constexpr bool piecewise = false;
};

struct Tanh : Smooth {
  static constexpr const char* name = "tanh";
  template <class V>
  FASTGAN_DEVICE static V f(V v) {
    const V e = expm1(V(-2) * abs(v));  // tanh|v| = (1 - exp(-2|v|)) / (1 + exp(-2|v|))
    const V t = -e / (e + V(2));
    return select(v < V(0), -t, t);
  }
  template <class V>
  FASTGAN_DEVICE static V df(V v) {
    const V e = exp(V(-2) * abs(v)), d = V(1) + e;  // 1 - tanh^2, without the cancellation
    return V(4) * e / (d * d);
  }
  template <class V>
  FASTGAN_DEVICE static V d2f(V v) {
    return V(-2) * f(v) * df(v);
  }
};

struct Sigmoid : Smooth {
  static constexpr const char* name = "sigmoid";
  template <class V>
  FASTGAN_DEVICE static V f(V v) {
    const V e = exp(-abs(v));
    return select(v < V(0), e, V(1)) / (V(1) + e);
  }
  template <class V>
  FASTGAN_DEVICE static V df(V v) {
    const V e = exp(-abs(v)), d = V(1) + e;
    return e / (d * d);
  }
  template <class V>
  FASTGAN_DEVICE static V d2f(V v) {  // s (1 - s) (1 - 2 s)
    const V e = exp(-abs(v)), d = V(1) + e, t = e * (V(1) - e) / (d * d * d);
    return select(v < V(0), t, -t);
  }
};

struct Elu : Smooth {
  static constexpr const char* name = "elu";
  template <class V>
  FASTGAN_DEVICE static V f(V v) {
    return select(v > V(0), v, expm1(v));
  }
  template <class V>
  FASTGAN_DEVICE static V df(V v) {
    return select(v > V(0), V(1), exp(v));
  }
  template <class V>
  FASTGAN_DEVICE static V d2f(V v) {
    return select(v > V(0), V(0), exp(v));
  }
};

struct Selu : Smooth {  // Klambauer et al. 2017: scale * elu with alpha
  static constexpr const char* name = "selu";
  static constexpr double scale = 1.0507009873554804934193349852946;
  static constexpr double alpha_scale = scale * 1.6732632423543772848170429916717;
  template <class V>
  FASTGAN_DEVICE static V number(double v) {
    return V(typename V::Scalar(v));
  }
  template <class V>
  FASTGAN_DEVICE static V f(V v) {
    return select(v > V(0), number<V>(scale) * v, number<V>(alpha_scale) * expm1(v));
  }
  template <class V>
  FASTGAN_DEVICE static V df(V v) {
    return select(v > V(0), number<V>(scale), number<V>(alpha_scale) * exp(v));
  }
  template <class V>
  FASTGAN_DEVICE static V d2f(V v) {
    return select(v > V(0), V(0), number<V>(alpha_scale) * exp(v));
  }
};

struct Softplus : Smooth {
  static constexpr const char* name = "softplus";
  template <class V>
  FASTGAN_DEVICE static V f(V v) {
    return select(v > V(0), v, V(0)) + log1p(exp(-abs(v)));
  }
  template <class V>
  FASTGAN_DEVICE static V df(V v) {
    return Sigmoid::f(v);
  }
  template <class V>
  FASTGAN_DEVICE static V d2f(V v) {
    return Sigmoid::df(v);
  }
};

struct Swish : Smooth {
  static constexpr const char* name = "swish";
  template <class V>
  FASTGAN_DEVICE static V f(V v) {
    return v * Sigmoid::f(v);
  }
  template <class V>
  FASTGAN_DEVICE static V df(V v) {
    return Sigmoid::f(v) + v * Sigmoid::df(v);
  }
  template <class V>
  FASTGAN_DEVICE static V d2f(V v) {
    return V(2) * Sigmoid::df(v) + v * Sigmoid::d2f(v);
  }
};

template <class... Acts>
struct ActivationList {
  static constexpr int count = sizeof...(Acts);
  static constexpr const char* names[] = {Acts::name...};
  static constexpr bool piecewise[] = {Acts::piecewise...};
};

// The slope below 0 of the piecewise-linear activation of that number.
template <class... Acts>
double negative_slope(int act, double alpha, ActivationList<Acts...>) {
  double slope = 1;
  int number = 0;
  const auto look = [&](auto of) {
    using Act = decltype(of);
    if constexpr (Act::piecewise)
      if (number == act) slope = Act::negative_slope(alpha);
    ++number;
  };
  (look(Acts()), ...);
  return slope;
}

using Activations = ActivationList<Linear, Relu, LeakyRelu, Tanh, Sigmoid, Elu, Selu, Softplus, Swish>;

}  // namespace FASTGAN_ISA
}  // namespace fastgan

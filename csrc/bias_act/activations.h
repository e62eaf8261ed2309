// The activations of bias_act: value and derivatives at the pre-activation v, written once for vectors and numbers.
// A new activation is one struct here and one name in the list at the end.
#pragma once
#include "common/vec_math.h"

namespace fastgan {
namespace FASTGAN_ISA {

// Piecewise-linear activations have a slope on each side of 0 and nothing else: two bits an element (side, clamped) are
// all that their backward needs.
struct Linear {
  static constexpr const char* name = "linear";
  static constexpr bool piecewise = true;
  static double negative_slope(double) { return 1; }
  template <class V>
  static V f(V v, V) {
    return v;
  }
  template <class V>
  static V df(V, V) {
    return V(1);
  }
};

struct Relu {
  static constexpr const char* name = "relu";
  static constexpr bool piecewise = true;
  static double negative_slope(double) { return 0; }
  template <class V>
  static V f(V v, V) {
    return select(v <= V(0), V(0), v);
  }
  template <class V>
  static V df(V v, V) {
    return select(v > V(0), V(1), V(0));
  }
};

struct LeakyRelu {
  static constexpr const char* name = "lrelu";
  static constexpr bool piecewise = true;
  static double negative_slope(double alpha) { return alpha; }
  template <class V>
  static V f(V v, V alpha) {
    return select(v > V(0), v, v * alpha);
  }
  template <class V>
  static V df(V v, V alpha) {
    return select(v > V(0), V(1), alpha);
  }
};

struct Tanh {
  static constexpr const char* name = "tanh";
  static constexpr bool piecewise = false;
  template <class V>
  static V f(V v, V) {
    const V e = expm1(V(-2) * abs(v));  // tanh|v| = (1 - exp(-2|v|)) / (1 + exp(-2|v|))
    const V t = -e / (e + V(2));
    return select(v < V(0), -t, t);
  }
  template <class V>
  static V df(V v, V) {
    const V e = exp(V(-2) * abs(v)), d = V(1) + e;  // 1 - tanh^2, without the cancellation
    return V(4) * e / (d * d);
  }
  template <class V>
  static V d2f(V v, V alpha) {
    return V(-2) * f(v, alpha) * df(v, alpha);
  }
};

struct Sigmoid {
  static constexpr const char* name = "sigmoid";
  static constexpr bool piecewise = false;
  template <class V>
  static V f(V v, V) {
    const V e = exp(-abs(v));
    return select(v < V(0), e, V(1)) / (V(1) + e);
  }
  template <class V>
  static V df(V v, V) {
    const V e = exp(-abs(v)), d = V(1) + e;
    return e / (d * d);
  }
  template <class V>
  static V d2f(V v, V) {  // s (1 - s) (1 - 2 s)
    const V e = exp(-abs(v)), d = V(1) + e, t = e * (V(1) - e) / (d * d * d);
    return select(v < V(0), t, -t);
  }
};

struct Elu {
  static constexpr const char* name = "elu";
  static constexpr bool piecewise = false;
  template <class V>
  static V f(V v, V) {
    return select(v > V(0), v, expm1(v));
  }
  template <class V>
  static V df(V v, V) {
    return select(v > V(0), V(1), exp(v));
  }
  template <class V>
  static V d2f(V v, V) {
    return select(v > V(0), V(0), exp(v));
  }
};

struct Selu {  // Klambauer et al. 2017: scale * elu with alpha
  static constexpr const char* name = "selu";
  static constexpr bool piecewise = false;
  static constexpr double scale = 1.0507009873554804934193349852946;
  static constexpr double alpha_scale = scale * 1.6732632423543772848170429916717;
  template <class V>
  static V number(double v) {
    return V(typename V::Scalar(v));
  }
  template <class V>
  static V f(V v, V) {
    return select(v > V(0), number<V>(scale) * v, number<V>(alpha_scale) * expm1(v));
  }
  template <class V>
  static V df(V v, V) {
    return select(v > V(0), number<V>(scale), number<V>(alpha_scale) * exp(v));
  }
  template <class V>
  static V d2f(V v, V) {
    return select(v > V(0), V(0), number<V>(alpha_scale) * exp(v));
  }
};

struct Softplus {
  static constexpr const char* name = "softplus";
  static constexpr bool piecewise = false;
  template <class V>
  static V f(V v, V) {
    return select(v > V(0), v, V(0)) + log1p(exp(-abs(v)));
  }
  template <class V>
  static V df(V v, V alpha) {
    return Sigmoid::f(v, alpha);
  }
  template <class V>
  static V d2f(V v, V alpha) {
    return Sigmoid::df(v, alpha);
  }
};

struct Swish {
  static constexpr const char* name = "swish";
  static constexpr bool piecewise = false;
  template <class V>
  static V f(V v, V alpha) {
    return v * Sigmoid::f(v, alpha);
  }
  template <class V>
  static V df(V v, V alpha) {
    return Sigmoid::f(v, alpha) + v * Sigmoid::df(v, alpha);
  }
  template <class V>
  static V d2f(V v, V alpha) {
    return V(2) * Sigmoid::df(v, alpha) + v * Sigmoid::d2f(v, alpha);
  }
};

template <class... Acts>
struct ActivationList {
  static constexpr int count = sizeof...(Acts);
  static constexpr const char* names[] = {Acts::name...};
  static constexpr bool piecewise[] = {Acts::piecewise...};
};

using Activations = ActivationList<Linear, Relu, LeakyRelu, Tanh, Sigmoid, Elu, Selu, Softplus, Swish>;

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// What happens to a finished sum of a convolution, once for every kernel that ends in it: V is the CPU's Vec or the GPU's
// Number, whose header comes first.
#pragma once
#include "bias_act/formula.h"
#include "conv2d_layer/operands.h"

namespace fastgan {
namespace FASTGAN_ISA {

template <class V>
class Finish {
  using A = typename V::Scalar;
  Limit<V> limit_;
  Slopes<V> slopes_;

 public:
  // What is added where there is nothing to add: it keeps the sign of 0.
  static constexpr A nothing = A(-0.0);
  struct Result {
    V y;
    decltype(slopes_.rises(V())) positive, clamped;  // the bits of the mask
  };

  FASTGAN_DEVICE explicit Finish(const LayerOperands& a) : limit_(a), slopes_(a, a.negative_slope) {}

  // y = residual + clamp(act(scale u + shifts) gain); the shifts are noise and b, added one after another, or their sum.
  template <class... Shifts>
  FASTGAN_INLINE Result operator()(V u, V scale, V residual, Shifts... shifts) const {
    V v = scale * u;
    ((v = v + shifts), ...);
    const V value = slopes_.value(v);
    return {limit_.clamp(value) + residual, slopes_.rises(v), limit_.stops(value)};
  }
};

// The product of scale u with g = slope dy, u found from y = slope (scale u + shift), which holds no residual.
template <class V>
FASTGAN_INLINE V product_from_y(V slope, V dy, V y, V g, V shift) {
  const V zero(typename V::Scalar(0));
  return select(slope == zero, zero, dy * y - g * shift);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

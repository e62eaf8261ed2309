// A layer's call as torch hands it over, checked once for all operators that end in finish.h.
#pragma once
#include <optional>

#include "bias_act/activations.h"
#include "common/torch_device.h"
#include "common/torch_flat.h"
#include "conv2d_layer/operands.h"

namespace fastgan {

using Optional = std::optional<Tensor>;

// Members in the order of the schemas.
struct Padding {
  int64_t x0, x1, y0, y1;
};
struct Convolution {
  int64_t stride;
  bool transposed;
  Padding padding;
};
struct Operands {
  Optional scale, noise, b;
};
struct Activation {
  int64_t act;
  double alpha, gain, clamp;
};
template <>
struct Listed<Padding> {
  using Types = std::tuple<int64_t, int64_t, int64_t, int64_t>;
};
template <>
struct Listed<Convolution> {
  using Types = std::tuple<int64_t, bool, int64_t, int64_t, int64_t, int64_t>;
};
template <>
struct Listed<Operands> {
  using Types = std::tuple<Optional, Optional, Optional>;
};
template <>
struct Listed<Activation> {
  using Types = std::tuple<int64_t, double, double, double>;
};

// The images that a layer makes.
struct Images {
  int64_t samples, channels, height, width;
  bool channels_last;
  int64_t pixels() const { return height * width; }
  int64_t numel() const { return samples * channels * pixels(); }
};

inline bool is_dense(const Tensor& t) { return t.is_contiguous() || t.numel() == 0; }

inline void check_device(const Tensor& t, const Tensor& x, const char* op, const char* name) {
  STD_TORCH_CHECK(t.is_cuda() == x.is_cuda() && t.get_device_index() == x.get_device_index(), op, ": ", name,
                  " must be on the device of x");
}

inline const void* images_data(const Tensor& t, const Tensor& x, const Images& y, const char* op, const char* name) {
  STD_TORCH_CHECK(t.dim() == 4 && t.size(0) == y.samples && t.size(1) == y.channels && t.size(2) == y.height &&
                      t.size(3) == y.width && t.scalar_type() == x.scalar_type(),
                  op, ": ", name, " must be [", y.samples, ", ", y.channels, ", ", y.height, ", ", y.width,
                  "], with the dtype of x");
  STD_TORCH_CHECK((y.channels_last ? is_channels_last(t) : t.is_contiguous()) || t.numel() == 0, op, ": ", name,
                  " must be ", y.channels_last ? "channels_last" : "contiguous");
  check_device(t, x, op, name);
  return t.const_data_ptr();
}

// Of [samples, channels], float32 for halves; null if absent.
inline const void* scale_data(const Optional& t, const Tensor& x, int64_t channels, const char* op, const char* name) {
  if (!t) return nullptr;
  const ScalarType wide = x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  STD_TORCH_CHECK(t->dim() == 2 && t->size(0) == x.size(0) && t->size(1) == channels && is_dense(*t) &&
                      t->scalar_type() == wide,
                  op, ": ", name, " must be contiguous, of shape [", x.size(0), ", ", channels,
                  "], in float32, or float64 where x is");
  check_device(*t, x, op, name);
  return t->const_data_ptr();
}

// Of a layer whose images have the dtype and device of x.
inline LayerOperands operands_of(const Operands& given, const Activation& e, const Tensor& x, const Images& y, const char* op) {
  LayerOperands o;
  o.scale = scale_data(given.scale, x, y.channels, op, "scale");
  if (given.noise) {
    const Tensor& noise = *given.noise;
    STD_TORCH_CHECK(noise.dim() == 4 && (noise.size(0) == y.samples || noise.size(0) == 1) && noise.size(1) == 1 &&
                        noise.size(2) == y.height && noise.size(3) == y.width && is_dense(noise) &&
                        noise.scalar_type() == x.scalar_type(),
                    op, ": noise must be contiguous, [", y.samples, " or 1, 1, ", y.height, ", ", y.width,
                    "], with the dtype of x");
    check_device(noise, x, op, "noise");
    o.noise = noise.const_data_ptr();
    o.noise_step = noise.size(0) == 1 ? 0 : y.pixels();
  }
  if (given.b) {
    STD_TORCH_CHECK(given.b->dim() == 1 && given.b->size(0) == y.channels && is_dense(*given.b) &&
                        given.b->scalar_type() == x.scalar_type(),
                    op, ": b must be contiguous, of shape [", y.channels, "], with the dtype of x");
    check_device(*given.b, x, op, "b");
    o.b = given.b->const_data_ptr();
  }
  STD_TORCH_CHECK(e.act >= 0 && e.act <= 2, op, ": act must be 0 (linear), 1 (relu) or 2 (lrelu), got ", e.act);
  o.negative_slope = generic::negative_slope(int(e.act), e.alpha, generic::Activations());
  o.gain = e.gain;
  o.clamp = e.clamp;
  return o;
}

}  // namespace fastgan

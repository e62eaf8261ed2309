// Convolutions by implicit GEMM as operators of torch. The schemas are defined in Python.
#include <optional>
#include <string>
#include <tuple>

#include "common/torch_device.h"
#include "conv2d_layer/conv2d.h"

#if FASTGAN_SHIM || FASTGAN_WITH_CUDA

namespace fastgan {
namespace {

using Optional = std::optional<Tensor>;

struct Geometry {
  int64_t stride;
  bool transposed;
  int64_t padx0, padx1, pady0, pady1;
};

// The kernels count in 32 bits along an axis, and in a tap's channels.
constexpr int64_t kMost = int64_t(1) << 28;

int64_t size_of_axis(ConvAxis& axis, const Geometry& g, int64_t pad0, int64_t pad1) {
  STD_TORCH_CHECK(axis.taps >= 1 && axis.taps < kMost, "conv2d: w must have at least one tap along each axis");
  STD_TORCH_CHECK(pad0 > -kMost && pad0 < kMost && pad1 > -kMost && pad1 < kMost && axis.in < kMost,
                  "conv2d: an image or its padding is too large");
  axis.pad0 = pad0;
  const int64_t in = axis.in;
  const int64_t out = g.transposed ? (in - 1) * g.stride + axis.taps - pad0 - pad1
                                   : (in + pad0 + pad1 - axis.taps + g.stride) / g.stride;
  STD_TORCH_CHECK(out >= 1 && (g.transposed || in + pad0 + pad1 >= axis.taps) && out < kMost,
                  "conv2d: the padded image must be as large as the taps of w");
  return axis.out = out;
}

// Sizes of x [N, I, H, W] and of what w [O, I, kh, kw] makes of it.
Conv2dArgs arguments_of(const Tensor& x, const char* op, int64_t out_channels, int64_t kh, int64_t kw, const Geometry& g,
                        bool tf32) {
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [N, C, H, W]");
  STD_TORCH_CHECK(is_channels_last(x) || x.numel() == 0, op, ": x must be channels_last");
  STD_TORCH_CHECK(g.stride >= 1 && g.stride < (1 << 14), op, ": stride must be at least 1");
  Conv2dArgs a;
  a.dtype = dtype_of(x, op);
  a.images = x.size(0);
  a.in_channels = x.size(1);
  a.out_channels = out_channels;
  a.axis_y.in = x.size(2), a.axis_y.taps = kh;
  a.axis_x.in = x.size(3), a.axis_x.taps = kw;
  a.stride = g.stride;
  a.transposed = g.transposed;
  a.tf32 = tf32;
  STD_TORCH_CHECK(a.in_channels >= 1 && out_channels >= 1 && out_channels < kMost, op, ": there must be channels");
  size_of_axis(a.axis_y, g, g.pady0, g.pady1);
  size_of_axis(a.axis_x, g, g.padx0, g.padx1);
  STD_TORCH_CHECK(kh < (1 << 14) && kw < (1 << 14) && a.in_channels < kMost / (kh * kw) && a.images < kMost, op,
                  ": w or the batch is too large");
  return a;
}

bool is_dense(const Tensor& t) { return t.is_contiguous() || t.numel() == 0; }

void check_device(const Tensor& t, const Tensor& x, const char* op, const char* name) {
  STD_TORCH_CHECK(t.is_cuda() == x.is_cuda() && t.get_device_index() == x.get_device_index(), op, ": ", name,
                  " must be on the device of x");
}

// Scales [N, channels], float32 for halves.
const void* scale_of(const Optional& scale, const Tensor& x, int64_t channels, const char* op, const char* name) {
  if (!scale) return nullptr;
  const ScalarType wide = x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  STD_TORCH_CHECK(scale->dim() == 2 && scale->size(0) == x.size(0) && scale->size(1) == channels && is_dense(*scale) &&
                      scale->scalar_type() == wide,
                  op, ": ", name, " must be contiguous, of shape [", x.size(0), ", ", channels,
                  "], in float32, or float64 where x is");
  check_device(*scale, x, op, name);
  return scale->const_data_ptr();
}

void check_images(const Tensor& t, const Tensor& x, int64_t channels, const Conv2dArgs& a, const char* op, const char* name) {
  STD_TORCH_CHECK(t.dim() == 4 && t.size(0) == a.images && t.size(1) == channels && t.size(2) == a.axis_y.out &&
                      t.size(3) == a.axis_x.out && t.scalar_type() == x.scalar_type(),
                  op, ": ", name, " must be [", a.images, ", ", channels, ", ", a.axis_y.out, ", ", a.axis_x.out,
                  "], with the dtype of x");
  STD_TORCH_CHECK(is_channels_last(t) || t.numel() == 0, op, ": ", name, " must be channels_last");
  check_device(t, x, op, name);
}

struct Epilogue {
  Optional scale, noise, b, residual;
  int64_t act;
  double alpha, gain, clamp;
};

void set_epilogue(Conv2dArgs& a, const Tensor& x, const Epilogue& e) {
  const auto& [scale, noise, b, residual, act, alpha, gain, clamp] = e;
  a.scale = scale_of(scale, x, a.out_channels, "conv2d", "scale");
  if (noise) {
    STD_TORCH_CHECK(noise->dim() == 4 && (noise->size(0) == a.images || noise->size(0) == 1) && noise->size(1) == 1 &&
                        noise->size(2) == a.axis_y.out && noise->size(3) == a.axis_x.out && is_dense(*noise) &&
                        noise->scalar_type() == x.scalar_type(),
                    "conv2d: noise must be contiguous, [", a.images, " or 1, 1, ", a.axis_y.out, ", ", a.axis_x.out,
                    "], with the dtype of x");
    check_device(*noise, x, "conv2d", "noise");
    a.noise = noise->const_data_ptr();
    a.noise_per_image = noise->size(0) > 1;
  }
  if (b) {
    STD_TORCH_CHECK(b->dim() == 1 && b->size(0) == a.out_channels && is_dense(*b) && b->scalar_type() == x.scalar_type(),
                    "conv2d: b must be contiguous, of shape [", a.out_channels, "], with the dtype of x");
    check_device(*b, x, "conv2d", "b");
    a.b = b->const_data_ptr();
  }
  if (residual) {
    check_images(*residual, x, a.out_channels, a, "conv2d", "residual");
    a.residual = residual->const_data_ptr();
  }
  STD_TORCH_CHECK(act >= 0 && act <= 2, "conv2d: act must be 0 (linear), 1 (relu) or 2 (lrelu)");
  a.negative_slope = act == 0 ? 1 : act == 1 ? 0 : alpha;
  a.gain = gain;
  a.clamp = clamp;
}

// y and its mask, made by launch(arguments).
template <class Device, class Launch>
std::tuple<Tensor, Tensor> convolve(const Tensor& x, const Tensor& w, const Optional& in_scale, const Geometry& g,
                                    const Epilogue& e, bool keep_mask, bool tf32, const Launch& launch) {
  STD_TORCH_CHECK(w.dim() == 4 && x.dim() == 4 && w.size(1) == x.size(1) && w.scalar_type() == x.scalar_type(),
                  "conv2d: w must be [O, I, kh, kw], with the channels and the dtype of x");
  STD_TORCH_CHECK(w.is_contiguous() || is_channels_last(w), "conv2d: w must be contiguous or channels_last");
  check_device(w, x, "conv2d", "w");
  Conv2dArgs a = arguments_of(x, "conv2d", w.size(0), w.size(2), w.size(3), g, tf32);
  a.w_channels_last = !w.is_contiguous();
  a.in_scale = scale_of(in_scale, x, a.in_channels, "conv2d", "in_scale");
  set_epilogue(a, x, e);
  Tensor y = empty_images(x, a.images, a.out_channels, a.axis_y.out, a.axis_x.out, true);
  Tensor mask = empty_bytes(x, keep_mask ? (y.numel() + 3) / 4 : 0);
  if (y.numel() == 0) return {y, mask};
  a.x = x.const_data_ptr();
  a.w = w.const_data_ptr();
  a.y = y.mutable_data_ptr();
  if (keep_mask) a.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
  std::optional<Tensor> workspace;
  if (const int64_t bytes = cuda::conv2d_workspace(a))
    a.workspace = workspace.emplace(empty_bytes(x, bytes)).mutable_data_ptr();
  const Device device(x);
  a.stream = device.stream();
  launch(a);
  return {y, mask};
}

template <class Device>
std::tuple<Tensor, Tensor> conv2d(Tensor x, Tensor w, Optional in_scale, int64_t stride, bool transposed, int64_t padx0,
                                  int64_t padx1, int64_t pady0, int64_t pady1, Optional scale, Optional noise, Optional b,
                                  Optional residual, int64_t act, double alpha, double gain, double clamp, bool keep_mask,
                                  bool tf32) {
  const Geometry g{stride, transposed, padx0, padx1, pady0, pady1};
  return convolve<Device>(x, w, in_scale, g, {scale, noise, b, residual, act, alpha, gain, clamp}, keep_mask, tf32,
                          [](const Conv2dArgs& a) { cuda::conv2d(a); });
}

// The sizes of what follows the FIR are those of a transposed convolution with other padding.
template <class Device>
std::tuple<Tensor, Tensor> conv2d_up(Tensor x, Tensor w, Tensor f, Optional in_scale, int64_t padx0, int64_t padx1,
                                     int64_t pady0, int64_t pady1, bool flip_filter, double fir_gain, Optional scale,
                                     Optional noise, Optional b, Optional residual, int64_t act, double alpha, double gain,
                                     double clamp, bool keep_mask, bool tf32) {
  STD_TORCH_CHECK(x.scalar_type() != ScalarType::Double, "conv2d_up: x must not be float64");
  STD_TORCH_CHECK(f.dim() == 1 && f.size(0) == 4 && is_dense(f) && f.scalar_type() == ScalarType::Float,
                  "conv2d_up: f must be contiguous, of shape [4], in float32");
  check_device(f, x, "conv2d_up", "f");
  STD_TORCH_CHECK(w.dim() == 4 && w.size(2) == 3 && w.size(3) == 3, "conv2d_up: w must be [O, I, 3, 3]");
  Conv2dUpArgs a;
  a.filter = static_cast<const float*>(f.const_data_ptr());
  a.flip = flip_filter;
  a.fir_gain = float(fir_gain);
  const auto launch = [&](const Conv2dArgs& conv) {
    a.conv = conv;
    a.conv.axis_x.pad0 = padx0, a.conv.axis_y.pad0 = pady0;
    cuda::conv2d_up(a);
  };
  const Geometry g{2, true, -padx0, 3 - padx1, -pady0, 3 - pady1};
  return convolve<Device>(x, w, in_scale, g, {scale, noise, b, residual, act, alpha, gain, clamp}, keep_mask, tf32, launch);
}

template <class Device>
Tensor conv2d_weight_gradient(Tensor x, Tensor dy, Optional in_scale, int64_t kh, int64_t kw, int64_t stride,
                              bool transposed, int64_t padx0, int64_t padx1, int64_t pady0, int64_t pady1, bool tf32) {
  const char* const op = "conv2d_weight_gradient";
  STD_TORCH_CHECK(dy.dim() == 4, op, ": dy must be [N, O, H, W]");
  const Geometry g{stride, transposed, padx0, padx1, pady0, pady1};
  ConvWeightGradientArgs a;
  a.conv = arguments_of(x, op, dy.size(1), kh, kw, g, tf32);
  a.conv.in_scale = scale_of(in_scale, x, a.conv.in_channels, op, "in_scale");
  check_images(dy, x, a.conv.out_channels, a.conv, op, "dy");
  Tensor dw = empty_images(x, a.conv.out_channels, a.conv.in_channels, kh, kw, false);
  if (a.conv.images == 0) return torch::stable::zero_(dw);
  a.conv.x = x.const_data_ptr();
  a.dy = dy.const_data_ptr();
  a.dw = dw.mutable_data_ptr();
  const Tensor workspace = empty_bytes(x, cuda::conv2d_weight_gradient_workspace(a));
  a.conv.workspace = workspace.mutable_data_ptr();
  const Device device(x);
  a.conv.stream = device.stream();
  cuda::conv2d_weight_gradient(a);
  return dw;
}

template <class Device, class Library>
void implement(Library& m, const std::string& provider) {
  m.impl(("conv2d_" + provider).c_str(), TORCH_BOX(&conv2d<Device>));
  m.impl(("conv2d_up_" + provider).c_str(), TORCH_BOX(&conv2d_up<Device>));
  m.impl(("conv2d_weight_gradient_" + provider).c_str(), TORCH_BOX(&conv2d_weight_gradient<Device>));
}

}  // namespace
}  // namespace fastgan

#if FASTGAN_SHIM
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) { fastgan::implement<fastgan::OnCpu>(m, "shim"); }
#else
STABLE_TORCH_LIBRARY_IMPL(fastgan, CUDA, m) { fastgan::implement<fastgan::OnDevice>(m, "native"); }
#endif
#endif

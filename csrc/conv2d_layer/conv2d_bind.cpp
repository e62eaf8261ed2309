// Convolutions on the GPU as operators of torch. The schemas are defined in Python.
#include <atomic>
#include <string>
#include <tuple>

#include "conv2d_layer/conv2d.h"
#include "conv2d_layer/torch_operands.h"

#if FASTGAN_SHIM || FASTGAN_WITH_CUDA

namespace fastgan {
namespace {

// What all convolutions of this process are asked for, whatever their thread: gradients have threads of their own.
std::atomic<ConvPlan> asked_plan;

void conv2d_plan(int64_t form, int64_t splits, int64_t stages) {
  STD_TORCH_CHECK(form >= 0 && form <= int64_t(ConvForm::narrow), "conv2d_plan: there is no form ", form);
  STD_TORCH_CHECK(splits >= 0 && splits <= 1024, "conv2d_plan: splits must be 0 to 1024, got ", splits);
  STD_TORCH_CHECK(stages == 0 || stages == 3 || stages == 4, "conv2d_plan: stages must be 0, 3 or 4, got ", stages);
  asked_plan = ConvPlan{ConvForm(form), uint8_t(stages), uint16_t(splits)};
}

// The kernels count in 32 bits along an axis, and in a tap's channels.
constexpr int64_t kMost = int64_t(1) << 28;

int64_t size_of_axis(ConvAxis& axis, const Convolution& c, int64_t pad0, int64_t pad1) {
  STD_TORCH_CHECK(axis.taps >= 1 && axis.taps < kMost, "conv2d: w must have at least one tap along each axis");
  STD_TORCH_CHECK(pad0 > -kMost && pad0 < kMost && pad1 > -kMost && pad1 < kMost && axis.in < kMost,
                  "conv2d: an image or its padding is too large");
  axis.pad0 = pad0;
  const int64_t in = axis.in;
  const int64_t out = c.transposed ? (in - 1) * c.stride + axis.taps - pad0 - pad1
                                   : (in + pad0 + pad1 - axis.taps + c.stride) / c.stride;
  STD_TORCH_CHECK(out >= 1 && (c.transposed || in + pad0 + pad1 >= axis.taps) && out < kMost,
                  "conv2d: the padded image must be as large as the taps of w");
  return axis.out = out;
}

// Sizes of x [N, I, H, W] and of what w [O, I, kh, kw] makes of it.
Conv2dArgs arguments_of(const Tensor& x, const char* op, int64_t out_channels, int64_t kh, int64_t kw, const Convolution& c,
                        bool tf32) {
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [N, C, H, W]");
  STD_TORCH_CHECK(is_channels_last(x) || x.numel() == 0, op, ": x must be channels_last");
  STD_TORCH_CHECK(c.stride >= 1 && c.stride < (1 << 14), op, ": stride must be at least 1");
  Conv2dArgs a;
  a.dtype = dtype_of(x, op);
  a.images = x.size(0);
  a.in_channels = x.size(1);
  a.out_channels = out_channels;
  a.axis_y.in = x.size(2), a.axis_y.taps = kh;
  a.axis_x.in = x.size(3), a.axis_x.taps = kw;
  a.stride = c.stride;
  a.transposed = c.transposed;
  a.tf32 = tf32;
  a.plan = asked_plan;
  STD_TORCH_CHECK(a.in_channels >= 1 && out_channels >= 1 && out_channels < kMost, op, ": there must be channels");
  size_of_axis(a.axis_y, c, c.padding.y0, c.padding.y1);
  size_of_axis(a.axis_x, c, c.padding.x0, c.padding.x1);
  STD_TORCH_CHECK(kh < (1 << 14) && kw < (1 << 14) && a.in_channels < kMost / (kh * kw) && a.images < kMost, op,
                  ": w or the batch is too large");
  return a;
}

Images images_of(const Conv2dArgs& a) { return {a.images, a.out_channels, a.axis_y.out, a.axis_x.out, true}; }

// How y is finished.
struct Finished {
  Operands operands;
  Optional residual;
  Activation act;
  bool keep_mask, tf32;
};

// y and its mask, made by launch(arguments), in a workspace of workspace_bytes(arguments).
template <class Device, class Bytes, class Launch>
std::tuple<Tensor, Tensor> convolve(const Tensor& x, const Tensor& w, const Optional& in_scale, const Convolution& c,
                                    const Finished& f, const Bytes& workspace_bytes, const Launch& launch) {
  STD_TORCH_CHECK(w.dim() == 4 && x.dim() == 4 && w.size(1) == x.size(1) && w.scalar_type() == x.scalar_type(),
                  "conv2d: w must be [O, I, kh, kw], with the channels and the dtype of x");
  STD_TORCH_CHECK(w.is_contiguous() || is_channels_last(w), "conv2d: w must be contiguous or channels_last");
  check_device(w, x, "conv2d", "w");
  Conv2dArgs a = arguments_of(x, "conv2d", w.size(0), w.size(2), w.size(3), c, f.tf32);
  a.w_channels_last = !w.is_contiguous();
  a.in_scale = scale_data(in_scale, x, a.in_channels, "conv2d", "in_scale");
  a.operands = operands_of(f.operands, f.act, x, images_of(a), "conv2d");
  if (f.residual) a.operands.residual = images_data(*f.residual, x, images_of(a), "conv2d", "residual");
  Tensor y = empty_images(x, a.images, a.out_channels, a.axis_y.out, a.axis_x.out, true);
  Tensor mask = empty_mask(x, y.numel(), f.keep_mask);
  if (y.numel() == 0) return {y, mask};
  a.x = x.const_data_ptr();
  a.w = w.const_data_ptr();
  a.y = y.mutable_data_ptr();
  if (f.keep_mask) a.operands.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
  const Device device(x);
  a.stream = device.stream();
  std::optional<Tensor> workspace;
  if (const int64_t bytes = workspace_bytes(a))
    a.workspace = workspace.emplace(empty_bytes(x, bytes)).mutable_data_ptr();
  launch(a);
  return {y, mask};
}

template <class Device>
std::tuple<Tensor, Tensor> conv2d(Tensor x, Tensor w, Optional in_scale, Convolution c, Operands operands, Optional residual,
                                  Activation act, bool keep_mask, bool tf32) {
  return convolve<Device>(x, w, in_scale, c, {operands, residual, act, keep_mask, tf32}, cuda::conv2d_workspace,
                          cuda::conv2d);
}

// The sizes of what follows the FIR are those of a transposed convolution with other padding.
template <class Device>
std::tuple<Tensor, Tensor> conv2d_up(Tensor x, Tensor w, Tensor f, Optional in_scale, Padding fir, bool flip_filter,
                                     double fir_gain, Operands operands, Optional residual, Activation act,
                                     bool keep_mask, bool tf32) {
  STD_TORCH_CHECK(x.scalar_type() != ScalarType::Double, "conv2d_up: x must not be float64");
  STD_TORCH_CHECK(f.dim() == 1 && f.size(0) == 4 && is_dense(f) && f.scalar_type() == ScalarType::Float,
                  "conv2d_up: f must be contiguous, of shape [4], in float32");
  check_device(f, x, "conv2d_up", "f");
  STD_TORCH_CHECK(w.dim() == 4 && w.size(2) == 3 && w.size(3) == 3, "conv2d_up: w must be [O, I, 3, 3]");
  Conv2dUpArgs a;
  a.filter = static_cast<const float*>(f.const_data_ptr());
  a.flip = flip_filter;
  a.fir_gain = float(fir_gain);
  const auto with = [&](const Conv2dArgs& conv) -> const Conv2dUpArgs& {
    a.conv = conv;
    a.conv.axis_x.pad0 = fir.x0, a.conv.axis_y.pad0 = fir.y0;
    return a;
  };
  const Padding cropped{-fir.x0, 3 - fir.x1, -fir.y0, 3 - fir.y1};
  return convolve<Device>(
      x, w, in_scale, {2, true, cropped}, {operands, residual, act, keep_mask, tf32},
      [&](const Conv2dArgs& conv) { return cuda::conv2d_up_workspace(with(conv)); },
      [&](const Conv2dArgs& conv) { cuda::conv2d_up(with(conv)); });
}

template <class Device>
Tensor conv2d_weight_gradient(Tensor x, Tensor dy, Optional in_scale, int64_t kh, int64_t kw, Convolution c, bool tf32) {
  const char* const op = "conv2d_weight_gradient";
  STD_TORCH_CHECK(dy.dim() == 4, op, ": dy must be [N, O, H, W]");
  ConvWeightGradientArgs a;
  a.conv = arguments_of(x, op, dy.size(1), kh, kw, c, tf32);
  a.conv.in_scale = scale_data(in_scale, x, a.conv.in_channels, op, "in_scale");
  a.dy = images_data(dy, x, images_of(a.conv), op, "dy");
  Tensor dw = empty_images(x, a.conv.out_channels, a.conv.in_channels, kh, kw, false);
  if (a.conv.images == 0) return torch::stable::zero_(dw);
  a.conv.x = x.const_data_ptr();
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
  m.impl(("conv2d_" + provider).c_str(), FASTGAN_BOX(conv2d<Device>));
  m.impl(("conv2d_up_" + provider).c_str(), FASTGAN_BOX(conv2d_up<Device>));
  m.impl(("conv2d_weight_gradient_" + provider).c_str(), FASTGAN_BOX(conv2d_weight_gradient<Device>));
}

}  // namespace
}  // namespace fastgan

#if FASTGAN_SHIM
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) { fastgan::implement<fastgan::OnCpu>(m, "shim"); }
STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) {
  m.impl("conv2d_plan_shim", TORCH_BOX(&fastgan::conv2d_plan));
}
#else
STABLE_TORCH_LIBRARY_IMPL(fastgan, CUDA, m) { fastgan::implement<fastgan::OnDevice>(m, "native"); }
STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) {
  m.impl("conv2d_plan_native", TORCH_BOX(&fastgan::conv2d_plan));
}
#endif
#endif

// The epilogue of a convolution layer and its gradients as operators of torch. The schemas are defined in Python.
#include "conv2d_layer/conv2d_epilogue.h"

#include <optional>
#include <string>
#include <tuple>

#include "common/torch_device.h"

namespace fastgan {
namespace {

EpilogueArgs images_of(const Tensor& t, const char* op) {
  STD_TORCH_CHECK(t.dim() == 4, op, ": images must have the shape [N, C, H, W]");
  EpilogueArgs a;
  a.samples = t.size(0);
  a.channels = t.size(1);
  a.pixels = t.size(2) * t.size(3);
  a.dtype = dtype_of(t, op);
  const bool contiguous = t.is_contiguous();
  STD_TORCH_CHECK(contiguous || is_channels_last(t), op, ": images must be contiguous or channels_last");
  a.channels_last = !contiguous || a.pixels == 1;
  return a;
}

const void* image(const Tensor& t, const Tensor& like, const char* op, const char* name) {
  bool same = t.dim() == 4 && t.scalar_type() == like.scalar_type();
  for (int64_t d = 0; same && d < 4; ++d)
    same = t.size(d) == like.size(d) && (t.size(d) == 1 || t.numel() == 0 || t.stride(d) == like.stride(d));
  STD_TORCH_CHECK(same, op, ": ", name, " must have the shape, strides and dtype of the other images");
  return t.const_data_ptr();
}

ScalarType arithmetic_type(const Tensor& t) {
  return t.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

const void* per_sample(const Tensor& t, const Tensor& like, const char* op, const char* name) {
  STD_TORCH_CHECK(t.dim() == 2 && t.size(0) == like.size(0) && t.size(1) == like.size(1) && t.is_contiguous() &&
                      t.scalar_type() == arithmetic_type(like),
                  op, ": ", name, " must be contiguous, of shape [", like.size(0), ", ", like.size(1),
                  "], float64 for float64 and else float32");
  return t.const_data_ptr();
}

void set_operands(EpilogueArgs& a, const std::optional<Tensor>& scale, const std::optional<Tensor>& noise,
                  const std::optional<Tensor>& b, const Tensor& like, const char* op) {
  if (scale) a.scale = per_sample(*scale, like, op, "scale");
  if (noise) {
    STD_TORCH_CHECK(noise->dim() == 4 && (noise->size(0) == 1 || noise->size(0) == a.samples) && noise->size(1) == 1 &&
                        noise->size(2) == like.size(2) && noise->size(3) == like.size(3) && noise->is_contiguous() &&
                        noise->scalar_type() == like.scalar_type(),
                    op, ": noise must be contiguous, of shape [", a.samples, " or 1, 1, ", like.size(2), ", ",
                    like.size(3), "], with the dtype of the images");
    a.noise = noise->const_data_ptr();
    a.noise_step = noise->size(0) == 1 ? 0 : a.pixels;
  }
  if (b) {
    STD_TORCH_CHECK(b->dim() == 1 && b->size(0) == a.channels && b->is_contiguous() &&
                        b->scalar_type() == like.scalar_type(),
                    op, ": b must be contiguous, of shape [", a.channels, "], with the dtype of the images");
    a.b = b->const_data_ptr();
  }
}

// act as in the list of bias_act's activations, whose first three are piecewise linear.
void set_activation(EpilogueArgs& a, int64_t act, double alpha, double gain, double clamp, const char* op) {
  STD_TORCH_CHECK(act >= 0 && act < 3, op, ": act must be 0 (linear), 1 (relu) or 2 (lrelu), got ", act);
  a.negative_slope = act == 0 ? 1 : act == 1 ? 0 : alpha;
  a.gain = gain;
  a.clamp = clamp;
}

int64_t mask_bytes(const Tensor& t) { return (t.numel() + 3) / 4; }

// A backend: its kernels, and where they run.
#if !FASTGAN_SHIM
struct Cpu : OnCpu {
  using OnCpu::OnCpu;
  static const EpilogueKernels& kernels() { return epilogue_kernels(best_isa()); }
};
#endif
#if FASTGAN_SHIM || FASTGAN_WITH_CUDA
template <class Device>
struct Gpu : Device {
  using Device::Device;
  static const EpilogueKernels& kernels() { return cuda::epilogue_kernels(); }
};
#endif

template <class Backend>
std::tuple<Tensor, Tensor> forward(Tensor u, std::optional<Tensor> scale, std::optional<Tensor> noise,
                                   std::optional<Tensor> b, std::optional<Tensor> residual, int64_t act, double alpha,
                                   double gain, double clamp, bool keep_mask) {
  const char* const op = "conv2d_epilogue";
  EpilogueArgs a = images_of(u, op);
  set_operands(a, scale, noise, b, u, op);
  set_activation(a, act, alpha, gain, clamp, op);
  if (residual) a.residual = image(*residual, u, op, "residual");
  Tensor y = empty_like_dense(u), mask = empty_bytes(u, keep_mask ? mask_bytes(u) : 0);
  if (u.numel() == 0) return {y, mask};
  a.u = u.const_data_ptr();
  a.out = y.mutable_data_ptr();
  if (keep_mask) a.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
  const Backend backend(u);
  a.stream = backend.stream();
  Backend::kernels().forward(a);
  return {y, mask};
}

struct Sums {
  Tensor du, dscale, dnoise, db;
};

// Runs a backward whose inputs are set: allocates what it writes.
template <class Backend>
Sums differentiate(EpilogueArgs& a, const Tensor& dy, bool need_scale, bool need_noise, bool need_b) {
  const bool wide = dy.scalar_type() == ScalarType::Double;
  const int32_t sum_type = wide ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
  const int64_t sizes[2] = {a.samples, a.channels}, strides[2] = {a.channels > 1 ? a.channels : 1, 1};
  const auto none = [&](int32_t type) { return empty_vector(dy, 0, type); };
  Sums s{empty_like_dense(dy), need_scale ? empty_strided(dy, 2, sizes, strides, sum_type) : none(sum_type),
         need_noise ? empty_images(dy, a.samples, 1, dy.size(2), dy.size(3), false) : none(dtype_code(dy)),
         empty_vector(dy, need_b ? a.channels : 0, dtype_code(dy))};
  if (dy.numel() == 0) {
    for (Tensor* sum : {&s.dscale, &s.dnoise, &s.db}) torch::stable::zero_(*sum);
    return s;
  }
  a.dy = dy.const_data_ptr();
  a.out = s.du.mutable_data_ptr();
  if (need_scale) a.dscale = s.dscale.mutable_data_ptr();
  if (need_noise) a.dnoise = s.dnoise.mutable_data_ptr();
  if (need_b) a.db = s.db.mutable_data_ptr();
  const EpilogueKernels& kernels = Backend::kernels();
  std::optional<Tensor> workspace;
  if (const int64_t bytes = kernels.workspace(a))
    a.workspace = workspace.emplace(empty_bytes(dy, bytes)).mutable_data_ptr();
  const Backend backend(dy);
  a.stream = backend.stream();
  kernels.backward(a);
  return s;
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor dy, std::optional<Tensor> mask, std::optional<Tensor> y,
                                                    std::optional<Tensor> scale, std::optional<Tensor> noise,
                                                    std::optional<Tensor> b, int64_t act, double alpha, double gain,
                                                    double clamp, bool need_scale, bool need_noise, bool need_b) {
  const char* const op = "conv2d_epilogue_backward";
  EpilogueArgs a = images_of(dy, op);
  set_operands(a, scale, noise, b, dy, op);
  set_activation(a, act, alpha, gain, clamp, op);
  if (mask && mask->numel() > 0) {
    STD_TORCH_CHECK(mask->numel() == mask_bytes(dy) && mask->is_contiguous() &&
                        mask->scalar_type() == ScalarType::Byte,
                    op, ": mask must hold ", mask_bytes(dy), " bytes");
    a.mask = static_cast<uint8_t*>(mask->data_ptr());
  } else {
    STD_TORCH_CHECK(dy.numel() == 0 || (act == 0 && clamp < 0), op, ": only linear without a clamp needs no mask");
  }
  if (need_scale) {
    STD_TORCH_CHECK(y, op, ": the gradient of scale needs y");
    a.y = image(*y, dy, op, "y");
  }
  Sums s = differentiate<Backend>(a, dy, need_scale, need_noise, need_b);
  return {s.du, s.dscale, s.dnoise, s.db};
}

// The epilogue's backward for u = x, scale = styles and nothing else.
template <class Backend>
std::tuple<Tensor, Tensor> style_gradient(Tensor dz, Tensor x, Tensor styles) {
  const char* const op = "conv2d_style_gradient";
  EpilogueArgs a = images_of(dz, op);
  a.scale = per_sample(styles, dz, op, "styles");
  a.u = image(x, dz, op, "x");
  Sums s = differentiate<Backend>(a, dz, true, false, false);
  return {s.du, s.dscale};
}

template <class Backend, class Library>
void implement(Library& m, const std::string& provider) {
  m.impl(("conv2d_epilogue_" + provider).c_str(), TORCH_BOX(&forward<Backend>));
  m.impl(("conv2d_epilogue_backward_" + provider).c_str(), TORCH_BOX(&backward<Backend>));
  m.impl(("conv2d_style_gradient_" + provider).c_str(), TORCH_BOX(&style_gradient<Backend>));
}

}  // namespace
}  // namespace fastgan

#if FASTGAN_SHIM
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) { fastgan::implement<fastgan::Gpu<fastgan::OnCpu>>(m, "shim"); }
#else
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) { fastgan::implement<fastgan::Cpu>(m, "native"); }
#endif
#if FASTGAN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(fastgan, CUDA, m) { fastgan::implement<fastgan::Gpu<fastgan::OnDevice>>(m, "native"); }
#endif

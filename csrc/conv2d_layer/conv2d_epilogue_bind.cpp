// The epilogue of a convolution layer and its gradients as operators of torch. The schemas are defined in Python.
#include "conv2d_layer/conv2d_epilogue.h"

#include <string>
#include <tuple>

#include "conv2d_layer/torch_operands.h"

namespace fastgan {
namespace {

Images images_of(const Tensor& t, const char* op) {
  STD_TORCH_CHECK(t.dim() == 4, op, ": images must have the shape [N, C, H, W]");
  const bool contiguous = t.is_contiguous();
  STD_TORCH_CHECK(contiguous || is_channels_last(t), op, ": images must be contiguous or channels_last");
  return {t.size(0), t.size(1), t.size(2), t.size(3), !contiguous || t.size(2) * t.size(3) == 1};
}

EpilogueArgs arguments_of(const Tensor& t, const Images& images, const char* op) {
  EpilogueArgs a;
  a.samples = images.samples;
  a.channels = images.channels;
  a.pixels = images.pixels();
  a.channels_last = images.channels_last;
  a.dtype = dtype_of(t, op);
  return a;
}

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
std::tuple<Tensor, Tensor> forward(Tensor u, Operands operands, Optional residual, Activation act, bool keep_mask) {
  const char* const op = "conv2d_epilogue";
  const Images images = images_of(u, op);
  EpilogueArgs a = arguments_of(u, images, op);
  a.operands = operands_of(operands, act, u, images, op);
  if (residual) a.operands.residual = images_data(*residual, u, images, op, "residual");
  Tensor y = empty_like_dense(u), mask = empty_mask(u, u.numel(), keep_mask);
  if (u.numel() == 0) return {y, mask};
  a.u = u.const_data_ptr();
  a.out = y.mutable_data_ptr();
  if (keep_mask) a.operands.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
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
std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor dy, Optional mask, Optional y, Operands operands, Activation act,
                                                    bool need_scale, bool need_noise, bool need_b) {
  const char* const op = "conv2d_epilogue_backward";
  const Images images = images_of(dy, op);
  EpilogueArgs a = arguments_of(dy, images, op);
  a.operands = operands_of(operands, act, dy, images, op);
  if (mask && mask->numel() > 0) {
    STD_TORCH_CHECK(mask->numel() == mask_bytes(dy.numel()) && mask->is_contiguous() &&
                        mask->scalar_type() == ScalarType::Byte,
                    op, ": mask must hold ", mask_bytes(dy.numel()), " bytes");
    a.operands.mask = static_cast<uint8_t*>(mask->data_ptr());
  } else {
    STD_TORCH_CHECK(dy.numel() == 0 || (act.act == 0 && act.clamp < 0), op, ": only linear without a clamp needs no mask");
  }
  if (need_scale) {
    STD_TORCH_CHECK(y, op, ": the gradient of scale needs y");
    a.y = images_data(*y, dy, images, op, "y");
  }
  Sums s = differentiate<Backend>(a, dy, need_scale, need_noise, need_b);
  return {s.du, s.dscale, s.dnoise, s.db};
}

// The epilogue's backward for u = x, scale = styles and nothing else.
template <class Backend>
std::tuple<Tensor, Tensor> style_gradient(Tensor dz, Tensor x, Tensor styles) {
  const char* const op = "conv2d_style_gradient";
  const Images images = images_of(dz, op);
  EpilogueArgs a = arguments_of(dz, images, op);
  a.operands.scale = scale_data(styles, dz, images.channels, op, "styles");
  a.u = images_data(x, dz, images, op, "x");
  Sums s = differentiate<Backend>(a, dz, true, false, false);
  return {s.du, s.dscale};
}

template <class Backend, class Library>
void implement(Library& m, const std::string& provider) {
  m.impl(("conv2d_epilogue_" + provider).c_str(), FASTGAN_BOX(forward<Backend>));
  m.impl(("conv2d_epilogue_backward_" + provider).c_str(), FASTGAN_BOX(backward<Backend>));
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

// bias_act as operators of torch. The schemas are defined in Python.
#include <optional>
#include <string>
#include <tuple>

#include "bias_act/activations.h"
#include "bias_act/bias_act.h"
#include "common/torch_device.h"

namespace fastgan {
namespace {

using Names = generic::Activations;

std::string activation_names() {
  std::string all;
  for (const char* name : Names::names) all += (all.empty() ? "" : ",") + std::string(name);
  return all;
}

BiasActArgs layout_of(const Tensor& t, int64_t dim) {
  BiasActArgs a;
  a.numel = t.numel();
  a.dtype = dtype_of(t, "bias_act");
  if (t.dim() == 0) return a;
  STD_TORCH_CHECK(dim >= 0 && dim < t.dim(), "bias_act: dim out of range");
  a.channels = t.size(dim);
  if (t.is_contiguous()) {
    for (int64_t d = dim + 1; d < t.dim(); ++d) a.inner *= t.size(d);
  } else {
    STD_TORCH_CHECK(dim == 1 && is_channels_last(t), "bias_act: tensors must be contiguous or channels_last");
  }
  return a;
}

// act is a position in activation_names(): torch's stable ABI leaks string arguments (48 bytes a call, torch 2.13).
void set_scalars(BiasActArgs& a, int64_t act, double alpha, double gain, double clamp) {
  STD_TORCH_CHECK(act >= 0 && act < Names::count, "bias_act: unknown activation number ", act);
  a.act = int(act);
  a.alpha = alpha;
  a.gain = gain;
  a.clamp = clamp;
}

void set_bias(BiasActArgs& a, const std::optional<Tensor>& b, const Tensor& like) {
  if (!b) return;
  STD_TORCH_CHECK(b->dim() == 1 && b->size(0) == a.channels && b->is_contiguous() &&
                      b->scalar_type() == like.scalar_type(),
                  "bias_act: b must be contiguous, of shape [", a.channels, "], with the dtype of x");
  a.b = b->const_data_ptr();
}

// A backend: its kernels, and where they run.
#if !FASTGAN_SHIM
struct Cpu : OnCpu {
  using OnCpu::OnCpu;
  static const BiasActKernels& kernels() { return bias_act_kernels(best_isa()); }
};
#endif
#if FASTGAN_SHIM || FASTGAN_WITH_CUDA
template <class Device>
struct Gpu : Device {
  using Device::Device;
  static const BiasActKernels& kernels() { return cuda::bias_act_kernels(); }
};
#endif

template <class Backend>
std::tuple<Tensor, Tensor> forward(Tensor x, std::optional<Tensor> b, int64_t dim, int64_t act, double alpha,
                                   double gain, double clamp, bool keep_mask) {
  BiasActArgs a = layout_of(x, dim);
  set_scalars(a, act, alpha, gain, clamp);
  set_bias(a, b, x);
  Tensor y = empty_like_dense(x), mask = empty_mask(x, a.numel, keep_mask);
  if (a.numel == 0) return {y, mask};
  a.x = x.const_data_ptr();
  a.out = y.mutable_data_ptr();
  if (keep_mask) a.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
  const Backend backend(x);
  a.stream = backend.stream();
  Backend::kernels().forward(a);
  return {y, mask};
}

// Runs a backward pass whose inputs are set: allocates dx and db.
template <class Backend>
std::tuple<Tensor, Tensor> differentiate(void (*BiasActKernels::*pass)(const BiasActArgs&), BiasActArgs& a,
                                         const Tensor& dy, bool need_db) {
  Tensor dx = empty_like_dense(dy), db = empty_vector(dy, need_db ? a.channels : 0, dtype_code(dy));
  if (a.numel == 0) {
    if (need_db) torch::stable::zero_(db);
    return {dx, db};
  }
  const BiasActKernels& kernels = Backend::kernels();
  std::optional<Tensor> workspace;
  a.out = dx.mutable_data_ptr();
  if (need_db) {
    a.db = db.mutable_data_ptr();
    if (const int64_t bytes = kernels.workspace(a))
      a.workspace = workspace.emplace(empty_bytes(dy, bytes)).mutable_data_ptr();
  }
  const Backend backend(dy);
  a.stream = backend.stream();
  (kernels.*pass)(a);
  return {dx, db};
}

template <class Backend>
std::tuple<Tensor, Tensor> backward(Tensor dy, std::optional<Tensor> x, std::optional<Tensor> b,
                                    std::optional<Tensor> mask, int64_t dim, int64_t act, double alpha, double gain,
                                    double clamp, bool need_db) {
  BiasActArgs a = layout_of(dy, dim);
  set_scalars(a, act, alpha, gain, clamp);
  set_bias(a, b, dy);
  a.dy = dy.const_data_ptr();
  if (mask && mask->numel() > 0) {
    STD_TORCH_CHECK(mask->numel() == mask_bytes(a.numel) && mask->is_contiguous(), "bias_act: mask must hold ",
                    mask_bytes(a.numel), " bytes");
    STD_TORCH_CHECK(Names::piecewise[a.act], "bias_act: ", Names::names[a.act], " has no mask");
    a.mask = static_cast<uint8_t*>(mask->data_ptr());
  } else if (x) {
    check_same_layout("bias_act", *x, dy, "x");
    a.x = x->const_data_ptr();
  } else {
    STD_TORCH_CHECK(a.numel == 0 || (std::string(Names::names[a.act]) == "linear" && clamp < 0), "bias_act: ",
                    Names::names[a.act], " needs x or the mask in backward");
  }
  return differentiate<Backend>(&BiasActKernels::backward, a, dy, need_db);
}

template <class Backend>
std::tuple<Tensor, Tensor> double_backward(Tensor ddx, Tensor dy, Tensor x, std::optional<Tensor> b, int64_t dim,
                                           int64_t act, double alpha, double gain, double clamp, bool need_db) {
  BiasActArgs a = layout_of(dy, dim);
  set_scalars(a, act, alpha, gain, clamp);
  STD_TORCH_CHECK(!Names::piecewise[a.act], "bias_act: the second derivative of ", Names::names[a.act], " is 0");
  set_bias(a, b, dy);
  check_same_layout("bias_act", x, dy, "x");
  check_same_layout("bias_act", ddx, dy, "ddx");
  a.x = x.const_data_ptr();
  a.dy = dy.const_data_ptr();
  a.ddx = ddx.const_data_ptr();
  return differentiate<Backend>(&BiasActKernels::double_backward, a, dy, need_db);
}

template <class Backend, class Library>
void implement(Library& m, const std::string& provider) {
  m.impl(("bias_act_" + provider).c_str(), TORCH_BOX(&forward<Backend>));
  m.impl(("bias_act_backward_" + provider).c_str(), TORCH_BOX(&backward<Backend>));
  m.impl(("bias_act_double_backward_" + provider).c_str(), TORCH_BOX(&double_backward<Backend>));
}

}  // namespace
}  // namespace fastgan

#if FASTGAN_SHIM
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) { fastgan::implement<fastgan::Gpu<fastgan::OnCpu>>(m, "shim"); }
STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) {
  m.impl("bias_act_activations_shim", TORCH_BOX(&fastgan::activation_names));
}
#else
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) { fastgan::implement<fastgan::Cpu>(m, "native"); }
STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) {
  m.impl("bias_act_activations_native", TORCH_BOX(&fastgan::activation_names));
}
#endif
#if FASTGAN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(fastgan, CUDA, m) { fastgan::implement<fastgan::Gpu<fastgan::OnDevice>>(m, "native"); }
#endif

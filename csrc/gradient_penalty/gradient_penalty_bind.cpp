// squared_norm and interpolate as operators of torch. The schemas are defined in Python.
#include <optional>
#include <string>
#include <tuple>

#include "common/torch_device.h"
#include "gradient_penalty/gradient_penalty.h"

namespace fastgan {
namespace {

using Kernels = GradientPenaltyKernels;

int32_t arithmetic_code(const GradientPenaltyArgs& a) {
  return a.dtype == DType::f64 ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
}

GradientPenaltyArgs samples_of(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() > 0 && (x.is_contiguous() || is_channels_last(x)),
                  "gradient_penalty: tensors must be contiguous or channels_last, of one axis at least");
  GradientPenaltyArgs a;
  a.dtype = dtype_of(x, "gradient_penalty");
  a.samples = x.size(0);
  a.inner = a.samples ? x.numel() / a.samples : 0;
  a.x = x.const_data_ptr();
  return a;
}

void set_other(GradientPenaltyArgs& a, const Tensor& other, const Tensor& x, const char* name) {
  check_same_layout("gradient_penalty", other, x, name);
  a.other = other.const_data_ptr();
}

void set_factor(GradientPenaltyArgs& a, const Tensor& factor, const char* name) {
  STD_TORCH_CHECK(factor.dim() == 1 && factor.size(0) == a.samples && factor.is_contiguous() &&
                      dtype_code(factor) == arithmetic_code(a),
                  "gradient_penalty: ", name, " must be contiguous, of shape [", a.samples,
                  "], float64 where x is, else float32");
  a.factor = factor.const_data_ptr();
}

// A backend: its kernels, and where they run.
#if !FASTGAN_SHIM
struct Cpu : OnCpu {
  using OnCpu::OnCpu;
  static const Kernels& kernels() { return gradient_penalty_kernels(best_isa()); }
};
#endif
#if FASTGAN_SHIM || FASTGAN_WITH_CUDA
template <class Device>
struct Gpu : Device {
  using Device::Device;
  static const Kernels& kernels() { return cuda::gradient_penalty_kernels(); }
};
#endif

// A pass whose inputs are set, to a new tensor like x and to new sums, of which it has those that `a` asks for.
template <class Backend>
void run(void (*Kernels::*pass)(const GradientPenaltyArgs&), GradientPenaltyArgs& a, const Tensor& x, Tensor* out,
         Tensor* sums) {
  if (out) a.out = out->mutable_data_ptr();
  if (sums) a.sums = sums->mutable_data_ptr();
  if (a.samples * a.inner == 0) {
    if (sums) torch::stable::zero_(*sums);
    return;
  }
  std::optional<Tensor> workspace;
  if (const int64_t bytes = sums ? Backend::kernels().workspace(a) : 0)
    a.workspace = workspace.emplace(empty_bytes(x, bytes)).mutable_data_ptr();
  const Backend backend(x);
  a.stream = backend.stream();
  (Backend::kernels().*pass)(a);
}

template <class Backend>
Tensor norm(Tensor x) {
  GradientPenaltyArgs a = samples_of(x);
  Tensor sums = empty_vector(x, a.samples, arithmetic_code(a));
  run<Backend>(&Kernels::norm, a, x, nullptr, &sums);
  return sums;
}

template <class Backend>
Tensor backward(Tensor dy, Tensor x) {
  GradientPenaltyArgs a = samples_of(x);
  set_factor(a, dy, "dy");
  Tensor dx = empty_like_dense(x);
  run<Backend>(&Kernels::backward, a, x, &dx, nullptr);
  return dx;
}

template <class Backend>
std::tuple<Tensor, Tensor> double_backward(Tensor ddx, Tensor x, std::optional<Tensor> dy) {
  GradientPenaltyArgs a = samples_of(x);
  set_other(a, ddx, x, "ddx");
  if (dy) set_factor(a, *dy, "dy");
  Tensor sums = empty_vector(x, a.samples, arithmetic_code(a));
  Tensor dx = dy ? empty_like_dense(x) : empty_vector(x, 0, dtype_code(x));
  run<Backend>(&Kernels::double_backward, a, x, dy ? &dx : nullptr, &sums);
  return {sums, dx};
}

template <class Backend>
Tensor interpolate(Tensor real, Tensor fake, Tensor epsilon) {
  GradientPenaltyArgs a = samples_of(real);
  set_other(a, fake, real, "fake");
  set_factor(a, epsilon, "epsilon");
  Tensor between = empty_like_dense(real);
  run<Backend>(&Kernels::interpolate, a, real, &between, nullptr);
  return between;
}

template <class Backend, class Library>
void implement(Library& m, const std::string& provider) {
  m.impl(("squared_norm_" + provider).c_str(), TORCH_BOX(&norm<Backend>));
  m.impl(("squared_norm_backward_" + provider).c_str(), TORCH_BOX(&backward<Backend>));
  m.impl(("squared_norm_double_backward_" + provider).c_str(), TORCH_BOX(&double_backward<Backend>));
  m.impl(("interpolate_" + provider).c_str(), TORCH_BOX(&interpolate<Backend>));
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

// affine_warp and its adjoint as operators of torch. The schemas are defined in Python.
#include <optional>
#include <string>

#include "affine_warp/affine_warp.h"
#include "common/torch_device.h"

namespace fastgan {
namespace {

using Kernels = AffineWarpKernels;

int32_t arithmetic_code(const AffineWarpArgs& a) {
  return a.dtype == DType::f64 ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
}

// A backend: its kernels, and where they run.
#if !FASTGAN_SHIM
struct Cpu : OnCpu {
  using OnCpu::OnCpu;
  static const Kernels& kernels() { return affine_warp_kernels(best_isa()); }
};
#endif
#if FASTGAN_SHIM || FASTGAN_WITH_CUDA
template <class Device>
struct Gpu : Device {
  using Device::Device;
  static const Kernels& kernels() { return cuda::affine_warp_kernels(); }
};
#endif

template <class Backend>
Tensor run(void (*Kernels::*pass)(const AffineWarpArgs&), const Tensor& x, const Tensor& theta,
           const std::optional<Tensor>& color, bool linear) {
  const bool last = !x.is_contiguous();
  STD_TORCH_CHECK(x.dim() == 4 && (!last || is_channels_last(x)),
                  "affine_warp: images must be [N, C, H, W], contiguous or channels_last");
  AffineWarpArgs a;
  a.dtype = dtype_of(x, "affine_warp");
  a.n = x.size(0);
  a.c = x.size(1);
  a.h = x.size(2);
  a.w = x.size(3);
  a.stride_n = a.c * a.h * a.w;
  a.stride_c = last ? 1 : a.h * a.w;
  a.stride_h = last ? a.w * a.c : a.w;
  a.stride_w = last ? a.c : 1;
  a.linear = linear;
  STD_TORCH_CHECK(theta.dim() == 3 && theta.size(0) == a.n && theta.size(1) == 2 && theta.size(2) == 3 &&
                      theta.is_contiguous() && dtype_code(theta) == arithmetic_code(a),
                  "affine_warp: theta must be contiguous, of shape [N, 2, 3], float64 where x is, else float32");
  a.theta = theta.const_data_ptr();
  if (color) {
    STD_TORCH_CHECK(color->dim() == 3 && color->size(0) == a.n && color->size(1) == a.c && color->size(2) == a.c + 1 &&
                        a.c <= kWarpColors && color->is_contiguous() && dtype_code(*color) == arithmetic_code(a),
                    "affine_warp: color must be contiguous, of shape [N, C, C + 1] with at most ", kWarpColors,
                    " channels, in theta's dtype");
    a.color = color->const_data_ptr();
  }
  Tensor y = empty_like_dense(x);
  if (x.numel() == 0) return y;
  a.x = x.const_data_ptr();
  a.out = y.mutable_data_ptr();
  const Backend backend(x);
  a.stream = backend.stream();
  (Backend::kernels().*pass)(a);
  return y;
}

template <class Backend>
Tensor forward(Tensor x, Tensor theta, std::optional<Tensor> color, bool linear) {
  return run<Backend>(&Kernels::forward, x, theta, color, linear);
}

template <class Backend>
Tensor backward(Tensor dy, Tensor theta, std::optional<Tensor> color) {
  return run<Backend>(&Kernels::backward, dy, theta, color, true);
}

template <class Backend, class Library>
void implement(Library& m, const std::string& provider) {
  m.impl(("affine_warp_" + provider).c_str(), TORCH_BOX(&forward<Backend>));
  m.impl(("affine_warp_backward_" + provider).c_str(), TORCH_BOX(&backward<Backend>));
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

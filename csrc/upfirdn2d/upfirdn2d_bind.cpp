// upfirdn2d as an operator of torch. The schema is defined in Python.
#include <vector>

#include "common/torch_device.h"
#include "common/torch_filter.h"
#include "upfirdn2d/upfirdn2d.h"

namespace fastgan {
namespace {

ResampleAxis axis_of(int64_t in, int64_t up, int64_t down, int64_t pad0, int64_t pad1, int64_t taps) {
  STD_TORCH_CHECK(up >= 1 && down >= 1, "upfirdn2d: up and down must be at least 1");
  const int64_t padded = in * up + pad0 + pad1 - taps;
  STD_TORCH_CHECK(padded >= 0, "upfirdn2d: the output would be empty");
  return {in, padded / down + 1, up, down, pad0, taps};
}

// What every backend is told: the axes, the layout, the settings.
Upfirdn2dArgs arguments_of(const Tensor& x, const Tensor& f, int64_t upx, int64_t upy, int64_t downx, int64_t downy,
                           int64_t padx0, int64_t padx1, int64_t pady0, int64_t pady1, bool flip_filter, double gain) {
  STD_TORCH_CHECK(x.dim() == 4, "upfirdn2d: x must have shape [N, C, H, W]");
  const bool contiguous = x.is_contiguous();
  STD_TORCH_CHECK(contiguous || is_channels_last(x), "upfirdn2d: x must be contiguous or channels_last");
  STD_TORCH_CHECK((f.dim() == 1 || f.dim() == 2) && f.numel() > 0 && f.is_contiguous(),
                  "upfirdn2d: f must be contiguous, [taps] or [fh, fw]");
  Upfirdn2dArgs a;
  a.dtype = dtype_of(x, "upfirdn2d");
  a.axis_x = axis_of(x.size(3), upx, downx, padx0, padx1, f.size(f.dim() - 1));
  a.axis_y = axis_of(x.size(2), upy, downy, pady0, pady1, f.size(0));
  a.planes = contiguous ? x.size(0) * x.size(1) : x.size(0);
  a.pixel = contiguous ? 1 : x.size(1);
  a.separable = f.dim() == 1;
  a.flip = flip_filter;
  a.gain = gain;
  return a;
}

#if !FASTGAN_SHIM

struct Cpu : OnCpu {
  using OnCpu::OnCpu;
  static void run(Upfirdn2dArgs& a, const Tensor& f) {
    const FilterTaps taps(f, a.flip, a.gain);
    a.kernel_x = taps.row.data();
    a.kernel_y = taps.column.empty() ? nullptr : taps.column.data();
    // Rows shorter than a vector are left to scalar loops: wide vectors are for wide rows.
    const bool narrow = (a.axis_x.in < a.axis_x.out ? a.axis_x.in : a.axis_x.out) * a.pixel < 32;
    upfirdn2d_kernel(narrow && best_isa() == Isa::avx512 ? Isa::avx2 : best_isa())(a);
  }
};

#endif
#if FASTGAN_SHIM || FASTGAN_WITH_CUDA

// The filter is read where it is: the host does not wait for a GPU.
template <class Device>
struct Gpu : Device {
  using Device::Device;
  static void run(Upfirdn2dArgs& a, const Tensor& f) {
    STD_TORCH_CHECK(f.scalar_type() == (a.dtype == DType::f64 ? ScalarType::Double : ScalarType::Float),
                    "upfirdn2d: f must be float32, or float64 where x is");
    a.filter = f.const_data_ptr();
    cuda::upfirdn2d(a);
  }
};

#endif

template <class Backend>
Tensor upfirdn2d(Tensor x, Tensor f, int64_t upx, int64_t upy, int64_t downx, int64_t downy, int64_t padx0,
                 int64_t padx1, int64_t pady0, int64_t pady1, bool flip_filter, double gain) {
  Upfirdn2dArgs a = arguments_of(x, f, upx, upy, downx, downy, padx0, padx1, pady0, pady1, flip_filter, gain);
  STD_TORCH_CHECK(f.is_cuda() == x.is_cuda() && (x.is_cpu() || f.get_device_index() == x.get_device_index()),
                  "upfirdn2d: f must be on the device of x");
  Tensor y = empty_images(x, x.size(0), x.size(1), a.axis_y.out, a.axis_x.out, !x.is_contiguous());
  if (y.numel() == 0) return y;
  a.x = x.const_data_ptr();
  a.y = y.mutable_data_ptr();
  const Backend backend(x);
  a.stream = backend.stream();
  Backend::run(a, f);
  return y;
}

}  // namespace
}  // namespace fastgan

#if FASTGAN_SHIM
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) {
  m.impl("upfirdn2d_shim", TORCH_BOX(&fastgan::upfirdn2d<fastgan::Gpu<fastgan::OnCpu>>));
}
#else
STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) {
  m.impl("upfirdn2d_native", TORCH_BOX(&fastgan::upfirdn2d<fastgan::Cpu>));
}
#endif
#if FASTGAN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(fastgan, CUDA, m) {
  m.impl("upfirdn2d_native", TORCH_BOX(&fastgan::upfirdn2d<fastgan::Gpu<fastgan::OnDevice>>));
}
#endif

// filtered_lrelu as operators of torch. The schemas are defined in Python.
#include <optional>
#include <string>
#include <tuple>

#include "common/torch_device.h"
#include "common/torch_filter.h"
#include "filtered_lrelu/filtered_lrelu.h"

namespace fastgan {
namespace {

struct Sides {
  int64_t x0, x1, y0, y1;
};

FilteredAxis axis_of(int64_t in, int64_t up, int64_t down, int64_t pad0, int64_t pad1, int64_t inner0, int64_t inner1,
                     int64_t up_taps, int64_t down_taps) {
  const int64_t middle = in * up + pad0 + pad1 - up_taps + 1, padded = middle + inner0 + inner1 - down_taps;
  STD_TORCH_CHECK(middle >= 1 && padded >= 0, "filtered_lrelu: the output would be empty");
  return {in, middle, padded / down + 1, pad0, inner0, up_taps, down_taps};
}

// What every backend is told: the axes, the layout, the settings.
FilteredLreluArgs arguments_of(const Tensor& x, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down,
                               const Sides& padding, const Sides& inner, double gain, double slope, bool flip) {
  STD_TORCH_CHECK(x.dim() == 4, "filtered_lrelu: x must have shape [N, C, H, W]");
  STD_TORCH_CHECK(x.is_contiguous() || is_channels_last(x), "filtered_lrelu: x must be contiguous or channels_last");
  STD_TORCH_CHECK(up >= 1 && up <= 64 && down >= 1 && down <= 64, "filtered_lrelu: up and down must be 1 to 64");
  for (const Tensor* f : {&fu, &fd}) {
    STD_TORCH_CHECK((f->dim() == 1 || f->dim() == 2) && f->numel() > 0 && f->is_contiguous(),
                    "filtered_lrelu: filters must be contiguous, [taps] or [fh, fw]");
    STD_TORCH_CHECK(f->is_cuda() == x.is_cuda() && (x.is_cpu() || f->get_device_index() == x.get_device_index()),
                    "filtered_lrelu: filters must be on the device of x");
  }
  FilteredLreluArgs a;
  a.dtype = dtype_of(x, "filtered_lrelu");
  a.n = x.size(0), a.channels = x.size(1);
  a.channels_last = !x.is_contiguous();
  a.up = int(up), a.down = int(down);
  a.axis_x = axis_of(x.size(3), up, down, padding.x0, padding.x1, inner.x0, inner.x1, fu.size(fu.dim() - 1),
                     fd.size(fd.dim() - 1));
  a.axis_y = axis_of(x.size(2), up, down, padding.y0, padding.y1, inner.y0, inner.y1, fu.size(0), fd.size(0));
  a.up_full = fu.dim() == 2, a.down_full = fd.dim() == 2;
  a.gain = gain, a.slope = slope, a.flip = flip;
  return a;
}

int64_t mask_elements(const FilteredLreluArgs& a) {  // bytes
  return a.n * a.channels * a.axis_y.middle * filtered_mask_row(a.axis_x.middle, filtered_classes(a.up, a.down));
}

#if !FASTGAN_SHIM

struct Cpu : OnCpu {
  using OnCpu::OnCpu;
  static int64_t workspace(const FilteredLreluArgs&) { return 0; }
  static void run(FilteredLreluArgs& a, const Tensor& fu, const Tensor& fd) {
    const FilterTaps up(fu, a.flip, a.masked ? 1.0 : double(a.up) * a.up), down(fd, a.flip, 1.0);
    a.up_x = up.row.data(), a.down_x = down.row.data();
    a.up_full = up.column.empty(), a.down_full = down.column.empty();
    a.up_y = a.up_full ? nullptr : up.column.data();
    a.down_y = a.down_full ? nullptr : down.column.data();
    filtered_lrelu_kernel(best_isa())(a);
  }
};

#endif
#if FASTGAN_SHIM || FASTGAN_WITH_CUDA

// The filters are read where they are: the host does not wait for a GPU.
template <class Device>
struct Gpu : Device {
  using Device::Device;
  static int64_t workspace(const FilteredLreluArgs& a) { return cuda::filtered_lrelu_workspace(a); }
  static void run(FilteredLreluArgs& a, const Tensor& fu, const Tensor& fd) {
    for (const Tensor* f : {&fu, &fd})
      STD_TORCH_CHECK(f->scalar_type() == (a.dtype == DType::f64 ? ScalarType::Double : ScalarType::Float),
                      "filtered_lrelu: filters must be float32, or float64 where x is");
    a.up_filter = fu.const_data_ptr(), a.down_filter = fd.const_data_ptr();
    cuda::filtered_lrelu(a);
  }
};

#endif

template <class Backend>
void launch(FilteredLreluArgs& a, const Tensor& x, Tensor& y, const Tensor& fu, const Tensor& fd) {
  a.x = x.const_data_ptr();
  a.y = y.mutable_data_ptr();
  const Backend backend(x);
  a.stream = backend.stream();
  std::optional<Tensor> workspace;
  if (const int64_t bytes = Backend::workspace(a))
    a.workspace = workspace.emplace(empty_bytes(x, bytes)).mutable_data_ptr();
  Backend::run(a, fu, fd);
}

template <class Backend>
std::tuple<Tensor, Tensor> forward(Tensor x, Tensor fu, Tensor fd, std::optional<Tensor> b, int64_t up, int64_t down,
                                   int64_t padx0, int64_t padx1, int64_t pady0, int64_t pady1, double gain,
                                   double slope, double clamp, bool flip_filter, bool keep_mask) {
  FilteredLreluArgs a =
      arguments_of(x, fu, fd, up, down, {padx0, padx1, pady0, pady1}, {0, 0, 0, 0}, gain, slope, flip_filter);
  a.clamp = clamp;
  if (b) {
    STD_TORCH_CHECK(b->dim() == 1 && b->size(0) == a.channels && b->is_contiguous() &&
                        b->scalar_type() == x.scalar_type(),
                    "filtered_lrelu: b must be contiguous, of shape [", a.channels, "], with the dtype of x");
    a.b = b->const_data_ptr();
  }
  Tensor y = empty_images(x, a.n, a.channels, a.axis_y.out, a.axis_x.out, a.channels_last);
  const int64_t row = filtered_mask_row(a.axis_x.middle, filtered_classes(a.up, a.down));
  const int64_t sizes[4] = {a.n, a.channels, a.axis_y.middle, row};
  const int64_t strides[4] = {a.channels * a.axis_y.middle * row, a.axis_y.middle * row, row, 1};
  Tensor mask = keep_mask ? empty_strided(x, 4, sizes, strides, aoti_torch_dtype_uint8()) : empty_bytes(x, 0);
  if (y.numel() == 0) return {y, mask};
  if (keep_mask) a.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
  launch<Backend>(a, x, y, fu, fd);
  return {y, mask};
}

template <class Backend>
std::tuple<Tensor, Tensor> masked(Tensor x, Tensor mask, Tensor fu, Tensor fd, int64_t up, int64_t down, int64_t padx0,
                                  int64_t padx1, int64_t pady0, int64_t pady1, int64_t innerx0, int64_t innerx1,
                                  int64_t innery0, int64_t innery1, int64_t height, int64_t width, double gain,
                                  double slope, bool flip_filter, bool need_db) {
  FilteredLreluArgs a = arguments_of(x, fu, fd, up, down, {padx0, padx1, pady0, pady1},
                                     {innerx0, innerx1, innery0, innery1}, gain, slope, flip_filter);
  STD_TORCH_CHECK(a.axis_y.middle == height && a.axis_x.middle == width, "filtered_lrelu: the mask is of ", height, "x",
                  width, ", the padding makes ", a.axis_y.middle, "x", a.axis_x.middle);
  STD_TORCH_CHECK(mask.is_contiguous() && mask.numel() == mask_elements(a), "filtered_lrelu: mask must hold ",
                  mask_elements(a), " bytes");
  a.masked = true;
  a.mask = static_cast<uint8_t*>(mask.data_ptr());
  Tensor y = empty_images(x, a.n, a.channels, a.axis_y.out, a.axis_x.out, a.channels_last);
  Tensor db = empty_vector(x, need_db ? a.channels : 0, dtype_code(x));
  if (y.numel() == 0) {
    if (need_db) torch::stable::zero_(db);
    return {y, db};
  }
  if (need_db) a.db = db.mutable_data_ptr();
  launch<Backend>(a, x, y, fu, fd);
  return {y, db};
}

template <class Backend, class Library>
void implement(Library& m, const std::string& provider) {
  m.impl(("filtered_lrelu_" + provider).c_str(), TORCH_BOX(&forward<Backend>));
  m.impl(("filtered_lrelu_masked_" + provider).c_str(), TORCH_BOX(&masked<Backend>));
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

// filtered_lrelu as operators of torch. The schemas are defined in Python.
#include <optional>
#include <string>
#include <tuple>

#include "common/torch_device.h"
#include "filtered_lrelu/filtered_lrelu.h"

namespace fastgan {
namespace {

FilteredAxis axis_of(int64_t in, int64_t middle, int64_t up, int64_t down, int64_t pad0, int64_t pad1, int64_t inner0,
                     int64_t inner1, int64_t up_taps, int64_t down_taps) {
  const int64_t of_input = in * up + pad0 + pad1 - up_taps + 1, left = middle + inner0 + inner1 - down_taps;
  STD_TORCH_CHECK(of_input == middle && middle > 0, "filtered_lrelu: the padding makes ", of_input,
                  " samples between the filters, not ", middle);
  STD_TORCH_CHECK(left >= 0, "filtered_lrelu: the output would be empty");
  return {in, middle, left / down + 1, pad0, inner0, up_taps, down_taps};
}

void check_filter(const Tensor& f, const Tensor& x, const char* name) {
  STD_TORCH_CHECK((f.dim() == 1 || f.dim() == 2) && f.numel() > 0 && f.is_contiguous(), "filtered_lrelu: ", name,
                  " must be contiguous, [taps] or [fh, fw]");
  STD_TORCH_CHECK(f.is_cuda() == x.is_cuda() && (x.is_cpu() || f.get_device_index() == x.get_device_index()),
                  "filtered_lrelu: ", name, " must be on the device of x");
  STD_TORCH_CHECK(f.scalar_type() == (x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float),
                  "filtered_lrelu: ", name, " must be float32, or float64 where x is");
}

// What both passes are told: sizes, layout, factors.
FilteredLreluArgs arguments_of(const Tensor& x, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down, bool flip) {
  STD_TORCH_CHECK(x.dim() == 4, "filtered_lrelu: x must have shape [N, C, H, W]");
  STD_TORCH_CHECK(x.is_contiguous() || is_channels_last(x), "filtered_lrelu: x must be contiguous or channels_last");
  STD_TORCH_CHECK(up >= 1 && up <= 64 && down >= 1 && down <= 64, "filtered_lrelu: up and down must be 1 to 64");
  check_filter(fu, x, "fu");
  check_filter(fd, x, "fd");
  FilteredLreluArgs a;
  a.dtype = dtype_of(x, "filtered_lrelu");
  a.n = x.size(0);
  a.channels = x.size(1);
  a.channels_last = !x.is_contiguous();
  a.up = int(up);
  a.down = int(down);
  a.up_full = fu.dim() == 2;
  a.down_full = fd.dim() == 2;
  a.flip = flip;
  a.x = x.const_data_ptr();
  return a;
}

#if FASTGAN_SHIM || FASTGAN_WITH_CUDA

// The filters are read where they are: the host does not wait for a GPU.
template <class Device>
struct Gpu : Device {
  using Device::Device;
  static void run(FilteredLreluArgs& a, const Tensor& x, const Tensor& fu, const Tensor& fd) {
    a.up_filter = fu.const_data_ptr();
    a.down_filter = fd.const_data_ptr();
    std::optional<Tensor> workspace;
    if (const int64_t bytes = cuda::filtered_lrelu_workspace(a))
      a.workspace = workspace.emplace(empty_bytes(x, bytes)).mutable_data_ptr();
    cuda::filtered_lrelu(a);
  }
};

#endif

template <class Backend>
Tensor run(FilteredLreluArgs& a, const Tensor& x, const Tensor& fu, const Tensor& fd) {
  Tensor y = empty_images(x, a.n, a.channels, a.axis_y.out, a.axis_x.out, a.channels_last);
  if (y.numel() == 0) return y;
  a.y = y.mutable_data_ptr();
  const Backend backend(x);
  a.stream = backend.stream();
  Backend::run(a, x, fu, fd);
  return y;
}

template <class Backend>
std::tuple<Tensor, Tensor> forward(Tensor x, Tensor fu, Tensor fd, std::optional<Tensor> b, int64_t up, int64_t down,
                                   int64_t padx0, int64_t padx1, int64_t pady0, int64_t pady1, double gain, double slope,
                                   double clamp, bool flip_filter, bool keep_mask) {
  FilteredLreluArgs a = arguments_of(x, fu, fd, up, down, flip_filter);
  const int64_t ty = fu.size(0), tx = fu.size(fu.dim() - 1);
  const int64_t middle_y = x.size(2) * up + pady0 + pady1 - ty + 1, middle_x = x.size(3) * up + padx0 + padx1 - tx + 1;
  a.axis_y = axis_of(x.size(2), middle_y, up, down, pady0, pady1, 0, 0, ty, fd.size(0));
  a.axis_x = axis_of(x.size(3), middle_x, up, down, padx0, padx1, 0, 0, tx, fd.size(fd.dim() - 1));
  a.gain = gain;
  a.slope = slope;
  a.clamp = clamp;
  if (b) {
    STD_TORCH_CHECK(b->dim() == 1 && b->size(0) == a.channels && b->is_contiguous() && b->scalar_type() == x.scalar_type(),
                    "filtered_lrelu: b must be contiguous, of shape [", a.channels, "], with the dtype of x");
    a.b = b->const_data_ptr();
  }
  const int64_t row = filtered_mask_row(middle_x, filtered_classes(up, down));
  const int64_t shape[4] = {a.n, a.channels, middle_y, row}, strides[4] = {a.channels * middle_y * row, middle_y * row, row, 1};
  Tensor mask = keep_mask ? empty_strided(x, 4, shape, strides, aoti_torch_dtype_uint8()) : empty_bytes(x, 0);
  if (keep_mask) a.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
  Tensor y = run<Backend>(a, x, fu, fd);
  return {y, mask};
}

template <class Backend>
std::tuple<Tensor, Tensor> masked(Tensor x, Tensor mask, Tensor fu, Tensor fd, int64_t up, int64_t down, int64_t padx0,
                                  int64_t padx1, int64_t pady0, int64_t pady1, int64_t inner_padx0, int64_t inner_padx1,
                                  int64_t inner_pady0, int64_t inner_pady1, int64_t height, int64_t width, double gain,
                                  double slope, bool flip_filter, bool need_db) {
  FilteredLreluArgs a = arguments_of(x, fu, fd, up, down, flip_filter);
  const int64_t ty = fu.size(0), tx = fu.size(fu.dim() - 1);
  a.axis_y = axis_of(x.size(2), height, up, down, pady0, pady1, inner_pady0, inner_pady1, ty, fd.size(0));
  a.axis_x = axis_of(x.size(3), width, up, down, padx0, padx1, inner_padx0, inner_padx1, tx, fd.size(fd.dim() - 1));
  a.masked = true;
  a.gain = gain;
  a.slope = slope;
  const int64_t bytes = a.n * a.channels * height * filtered_mask_row(width, filtered_classes(up, down));
  STD_TORCH_CHECK(mask.numel() == bytes && mask.is_contiguous() && mask.scalar_type() == ScalarType::Byte,
                  "filtered_lrelu: mask must hold ", bytes, " bytes");
  a.mask = static_cast<uint8_t*>(mask.data_ptr());
  Tensor db = empty_vector(x, need_db ? a.channels : 0, dtype_code(x));
  if (need_db) a.db = db.mutable_data_ptr();
  Tensor y = run<Backend>(a, x, fu, fd);
  if (need_db && y.numel() == 0) torch::stable::zero_(db);
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
#endif
#if FASTGAN_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(fastgan, CUDA, m) { fastgan::implement<fastgan::Gpu<fastgan::OnDevice>>(m, "native"); }
#endif

// upfirdn2d as an operator of torch. The schema is defined in Python.
#include <cmath>
#include <limits>
#include <vector>

#include "common/torch_tensor.h"
#include "upfirdn2d/upfirdn2d.h"

namespace fastgan {
namespace {

ResampleAxis axis_of(int64_t in, int64_t up, int64_t down, int64_t pad0, int64_t pad1, int64_t taps) {
  STD_TORCH_CHECK(up >= 1 && down >= 1, "upfirdn2d: up and down must be at least 1");
  const int64_t padded = in * up + pad0 + pad1 - taps;
  STD_TORCH_CHECK(padded >= 0, "upfirdn2d: the output would be empty");
  return {in, padded / down + 1, up, down, pad0, taps};
}

// The filter's taps as numbers, reversed unless flipped (the kernels correlate). [rows, columns]
std::vector<double> kernel_of(const Tensor& f, bool flip_filter) {
  STD_TORCH_CHECK((f.dim() == 1 || f.dim() == 2) && f.numel() > 0 && f.is_contiguous(),
                  "upfirdn2d: f must be contiguous, [taps] or [fh, fw]");
  const int64_t count = f.numel();
  std::vector<double> kernel(static_cast<size_t>(count));
  const bool wide = f.scalar_type() == ScalarType::Double;
  STD_TORCH_CHECK(wide || f.scalar_type() == ScalarType::Float, "upfirdn2d: f must be float32 or float64");
  const void* taps = f.const_data_ptr();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t from = flip_filter ? i : count - 1 - i;
    kernel[size_t(i)] = wide ? static_cast<const double*>(taps)[from] : double(static_cast<const float*>(taps)[from]);
  }
  return kernel;
}

// Finds column and row with f = column * row up to rounding: a full filter that is an outer product, as most are, then
// costs no more than a separable one.
bool factorise(const std::vector<double>& f, size_t rows, size_t columns, double epsilon, std::vector<double>& column,
               std::vector<double>& row) {
  size_t peak = 0;
  for (size_t i = 1; i < f.size(); ++i)
    if (std::abs(f[i]) > std::abs(f[peak])) peak = i;
  if (f[peak] == 0) return false;
  column.resize(rows);
  row.resize(columns);
  for (size_t i = 0; i < rows; ++i) column[i] = f[i * columns + peak % columns];
  for (size_t j = 0; j < columns; ++j) row[j] = f[peak / columns * columns + j] / f[peak];
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < columns; ++j)
      if (!(std::abs(column[i] * row[j] - f[i * columns + j]) <= 2 * epsilon * std::abs(f[peak]))) return false;
  return true;
}

Tensor upfirdn2d_cpu(Tensor x, Tensor f, int64_t upx, int64_t upy, int64_t downx, int64_t downy, int64_t padx0,
                     int64_t padx1, int64_t pady0, int64_t pady1, bool flip_filter, double gain) {
  STD_TORCH_CHECK(x.dim() == 4, "upfirdn2d: x must have shape [N, C, H, W]");
  const bool contiguous = x.is_contiguous();
  STD_TORCH_CHECK(contiguous || is_channels_last(x), "upfirdn2d: x must be contiguous or channels_last");
  std::vector<double> column, row = kernel_of(f, flip_filter);
  const int64_t columns = f.size(f.dim() - 1), rows = f.size(0);
  Upfirdn2dArgs a;
  a.dtype = dtype_of(x, "upfirdn2d");
  a.axis_x = axis_of(x.size(3), upx, downx, padx0, padx1, columns);
  a.axis_y = axis_of(x.size(2), upy, downy, pady0, pady1, rows);
  a.planes = contiguous ? x.size(0) * x.size(1) : x.size(0);
  a.pixel = contiguous ? 1 : x.size(1);
  if (f.dim() == 1) {
    column = row;
  } else {
    const double epsilon = f.scalar_type() == ScalarType::Double ? std::numeric_limits<double>::epsilon()
                                                                  : double(std::numeric_limits<float>::epsilon());
    std::vector<double> factor;
    if (factorise(row, size_t(rows), size_t(columns), epsilon, column, factor))
      row = factor;
    else
      column.clear();
  }
  for (double& tap : row) tap *= gain;
  a.kernel_x = row.data();
  a.kernel_y = column.empty() ? nullptr : column.data();

  Tensor y = empty_images(x, x.size(0), x.size(1), a.axis_y.out, a.axis_x.out, !contiguous);
  if (y.numel() == 0) return y;
  a.x = x.const_data_ptr();
  a.y = y.mutable_data_ptr();
  // Rows shorter than a vector are left to scalar loops: wide vectors are for wide rows.
  const bool narrow = (a.axis_x.in < a.axis_x.out ? a.axis_x.in : a.axis_x.out) * a.pixel < 32;
  upfirdn2d_kernel(narrow && best_isa() == Isa::avx512 ? Isa::avx2 : best_isa())(a);
  return y;
}

}  // namespace
}  // namespace fastgan

STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) { m.impl("upfirdn2d_native", TORCH_BOX(&fastgan::upfirdn2d_cpu)); }

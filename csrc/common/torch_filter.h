// A FIR filter as the CPU kernels take it.
#pragma once
#include <cmath>
#include <limits>
#include <vector>

#include "common/torch_tensor.h"

namespace fastgan {

// The taps of a filter [taps] or [fh, fw] as a correlation kernel: reversed unless `flip`. A full filter that is an outer
// product up to rounding, as most are, then costs no more than a separable one.
struct FilterTaps {
  std::vector<double> column;  // [fh]; empty where the filter is not separable
  std::vector<double> row;     // [fw], or [fh, fw]; times the gain

  FilterTaps(const Tensor& f, bool flip, double gain) : row(kernel_of(f, flip)) {
    if (f.dim() == 1)
      column = row;
    else
      factorise(size_t(f.size(0)), size_t(f.size(1)), f.scalar_type() == ScalarType::Double);
    for (double& tap : row) tap *= gain;
  }

 private:
  static std::vector<double> kernel_of(const Tensor& f, bool flip) {
    const int64_t count = f.numel();
    std::vector<double> kernel(static_cast<size_t>(count));
    const bool wide = f.scalar_type() == ScalarType::Double;
    STD_TORCH_CHECK(wide || f.scalar_type() == ScalarType::Float, "a filter must be float32 or float64");
    const void* taps = f.const_data_ptr();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t from = flip ? i : count - 1 - i;
      kernel[size_t(i)] = wide ? static_cast<const double*>(taps)[from] : double(static_cast<const float*>(taps)[from]);
    }
    return kernel;
  }

  void factorise(size_t rows, size_t columns, bool wide) {
    const double epsilon =
        wide ? std::numeric_limits<double>::epsilon() : double(std::numeric_limits<float>::epsilon());
    const std::vector<double> f = row;
    size_t peak = 0;
    for (size_t i = 1; i < f.size(); ++i)
      if (std::abs(f[i]) > std::abs(f[peak])) peak = i;
    if (f[peak] == 0) return;
    std::vector<double> tall(rows), flat(columns);
    for (size_t i = 0; i < rows; ++i) tall[i] = f[i * columns + peak % columns];
    for (size_t j = 0; j < columns; ++j) flat[j] = f[peak / columns * columns + j] / f[peak];
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < columns; ++j)
        if (!(std::abs(tall[i] * flat[j] - f[i * columns + j]) <= 2 * epsilon * std::abs(f[peak]))) return;
    column = tall;
    row = flat;
  }
};

}  // namespace fastgan

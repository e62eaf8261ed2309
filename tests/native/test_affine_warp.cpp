// The kernels of affine_warp, of every instruction set and of the GPU under the shim, against a matrix in double: what every
// pixel of y is made of, tap by tap.
#include "affine_warp/affine_warp.h"

#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

const AffineWarpKernels& kernels_of(const Backend& backend) {
#if FASTGAN_SHIM
  if (backend.shim) return cuda::affine_warp_kernels();
#endif
#if FASTGAN_TEST_CPU
  return affine_warp_kernels(backend.isa);
#endif
  fail("no kernels of " + backend.name);
}

int64_t mirrored(int64_t e, int64_t size) {
  while (e < 0 || e >= size) {
    if (size == 1) return 0;
    e = e < 0 ? -e : 2 * (size - 1) - e;
  }
  return e;
}

// One axis: pixels' weights in the sample at `place`, between two samples at twice the rate.
std::vector<double> row_of(double place, int64_t size) {
  std::vector<double> row(size_t(size), 0.0);
  const int64_t low = int64_t(std::floor(place));
  for (int64_t side = 0; side < 2; ++side) {
    const double part = side ? place - double(low) : 1 - (place - double(low));
    for (int64_t tap = 0; tap < kWarpTaps; ++tap)
      if ((low + side + kWarpCentre - tap) % 2 == 0)
        row[size_t(mirrored((low + side + kWarpCentre - tap) / 2, size))] += part * 2 * generic::sym6(int(tap));
  }
  return row;
}

// [h w, h w]: y's pixels of x's.
std::vector<double> matrix_of(const double* theta, int64_t h, int64_t w) {
  const size_t pixels = size_t(h * w);
  std::vector<double> matrix(pixels * pixels, 0.0);
  const double centre[2] = {double(w - 1), double(h - 1)};
  for (int64_t i = 0; i < h; ++i)
    for (int64_t j = 0; j < w; ++j) {
      double* const out = &matrix[size_t(i * w + j) * pixels];
      const double pixel[2] = {double(j) - centre[0] / 2, double(i) - centre[1] / 2};
      double at[2];
      bool copied = true;
      for (int axis = 0; axis < 2; ++axis) {
        const double* const t = theta + 3 * axis;
        at[axis] = t[0] * pixel[0] + t[1] * pixel[1] + t[2] + centre[axis] / 2;
        copied = copied && at[axis] == std::floor(at[axis]) && std::fabs(t[0]) + std::fabs(t[1]) == 1 && t[0] * t[1] == 0;
      }
      copied = copied && std::fabs(theta[0]) + std::fabs(theta[3]) == 1;
      if (copied) {
        out[mirrored(int64_t(at[1]), h) * w + mirrored(int64_t(at[0]), w)] = 1;
        continue;
      }
      for (int a = 0; a < kWarpTaps; ++a)
        for (int b = 0; b < kWarpTaps; ++b) {
          const double tap = generic::sym6(a) * generic::sym6(b);
          const double sample[2] = {double(2 * j - kWarpCentre + b) - centre[0], double(2 * i - kWarpCentre + a) - centre[1]};
          std::vector<double> rows[2];
          for (int axis = 0; axis < 2; ++axis) {
            const double* const t = theta + 3 * axis;
            rows[axis] = row_of(t[0] * sample[0] + t[1] * sample[1] + 2 * t[2] + centre[axis], axis ? h : w);
          }
          for (int64_t y = 0; y < h; ++y)
            for (int64_t x = 0; x < w && rows[1][size_t(y)] != 0; ++x)
              out[y * w + x] += tap * rows[1][size_t(y)] * rows[0][size_t(x)];
        }
    }
  return matrix;
}

struct Case {
  int64_t c, h, w;
  bool channels_last, colored;
};

class Runner {
 public:
  Runner(const Case& c, const std::vector<std::vector<double>>& thetas, Numbers& numbers)
      : c_(c), n_(int64_t(thetas.size())), x_(numbers.eighths(n_ * c.c * c.h * c.w, 4)),
        color_(numbers.eighths(c.colored ? n_ * c.c * (c.c + 1) : 0, 1)) {
    for (const auto& theta : thetas) {
      theta_.insert(theta_.end(), theta.begin(), theta.end());
      matrices_.push_back(matrix_of(theta.data(), c.h, c.w));
    }
  }

  void run(const Backend& backend, DType dtype) {
    const DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
    Guarded x(dtype, x_), theta(wide, theta_), color(wide, color_);
    for (const int threads : {1, 3}) {
#if defined(_OPENMP)
      omp_set_num_threads(threads);
#else
      (void)threads;
#endif
      for (const bool adjoint : {false, true}) {
        Guarded out(x_.size() * size_of(dtype));
        AffineWarpArgs a;
        a.dtype = dtype;
        a.n = n_;
        a.c = c_.c;
        a.h = c_.h;
        a.w = c_.w;
        a.stride_n = c_.c * c_.h * c_.w;
        a.stride_c = c_.channels_last ? 1 : c_.h * c_.w;
        a.stride_h = c_.channels_last ? c_.w * c_.c : c_.w;
        a.stride_w = c_.channels_last ? c_.c : 1;
        a.x = x.data();
        a.out = out.data();
        a.theta = theta.data();
        if (c_.colored) a.color = color.data();
        const AffineWarpKernels& kernels = kernels_of(backend);
        (adjoint ? kernels.backward : kernels.forward)(a);
        compare(backend.name + " " + kDTypeNames[int(dtype)], out, dtype, adjoint, a);
        check(out.intact(), "bytes around a result");
      }
    }
    for (Guarded* tensor : {&x, &theta, &color}) check(tensor->intact(), "bytes around an input");
  }

 private:
  void compare(const std::string& who, Guarded& out, DType dtype, bool adjoint, const AffineWarpArgs& a) const {
    const size_t pixels = size_t(c_.h * c_.w), channels = size_t(c_.c);
    const double relative = dtype == DType::f64 ? 1e-12 : dtype == DType::f32 ? 2e-5 : dtype == DType::f16 ? 2e-3 : 1e-2;
    const auto at = [&](size_t n, size_t c, size_t p) {
      return n * size_t(a.stride_n) + c * size_t(a.stride_c) + p / size_t(c_.w) * size_t(a.stride_h) +
             p % size_t(c_.w) * size_t(a.stride_w);
    };
    for (size_t n = 0; n < size_t(n_); ++n) {
      const double* const color = c_.colored ? &color_[n * channels * (channels + 1)] : nullptr;
      for (size_t c = 0; c < channels; ++c)
        for (size_t p = 0; p < pixels; ++p) {
          double want = 0, size = 1;
          for (size_t k = 0; k < channels; ++k) {
            const double m = !color ? double(k == c) : adjoint ? color[k * (channels + 1) + c] : color[c * (channels + 1) + k];
            for (size_t q = 0; m != 0 && q < pixels; ++q) {
              const double w = matrices_[n][adjoint ? q * pixels + p : p * pixels + q];
              want += m * w * x_[at(n, k, q)];
              size += std::fabs(m * w) * 4;
            }
          }
          if (color && !adjoint) want += color[c * (channels + 1) + channels];
          const double got = out.value(dtype, at(n, c, p));
          if (!(std::fabs(got - want) <= relative * size))
            fail(who + (adjoint ? " adjoint" : "") + " [" + std::to_string(c_.c) + ", " + std::to_string(c_.h) + ", " +
                 std::to_string(c_.w) + "] map " + std::to_string(n) + " channel " + std::to_string(c) + " pixel " +
                 std::to_string(p) + " is " + std::to_string(got) + ", not " + std::to_string(want));
        }
    }
  }

  const Case c_;
  const int64_t n_;
  const std::vector<double> x_, color_;
  std::vector<double> theta_;
  std::vector<std::vector<double>> matrices_;
};

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  // Multiples of 1/16 and the like: the same in float. The identity, a flip, a shift, quarter turns, parts of pixels, turns
  // with a scale, what shrinks to more than a tile's box holds, a line, a point.
  const std::vector<std::vector<double>> thetas = {
      {1, 0, 0, 0, 1, 0},           {-1, 0, 0, 0, 1, 0},        {1, 0, 5, 0, -1, -9},       {0, 1, 0, -1, 0, 0},
      {1, 0, 0.25, 0, 1, -0.625},   {0.75, -0.5, 1, 0.5, 0.75, 0}, {-1.25, 0.5, 3, 0.25, 1.5, -2.5},
      {40, -11, 2.5, 13, 37, 0.25}, {1, 0, 0, 0.5, 0, 0},       {0, 0, 0.75, 0, 0, 0.5}};
  const Case cases[] = {{3, 5, 7, false, true}, {3, 5, 7, true, true}, {1, 1, 1, false, false},  {1, 1, 9, false, true},
                        {2, 8, 1, true, false}, {9, 4, 5, false, false}, {9, 3, 4, true, false}, {1, 2, 67, false, false},
                        {4, 6, 6, false, true}, {1, 66, 3, true, true}};
  Numbers numbers;
  int count = 0;
  for (const Case& c : cases) {
    Runner runner(c, thetas, numbers);
    for (const Backend& backend : backends())
      for (const DType dtype : kDTypes) {
        reorder_threads(count++);
        runner.run(backend, dtype);
      }
  }
  std::printf("affine_warp: %d cases\n", count);
}

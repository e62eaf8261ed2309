// upfirdn2d's kernels, of every instruction set and of the GPU under the shim, against the definition: zeros inserted, padded, filtered, decimated.
#include "upfirdn2d/upfirdn2d.h"

#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

struct Case {
  Backend backend;
  DType dtype;
  int64_t planes, pixel;
  ResampleAxis y, x;
  bool separable;
  std::string name() const {
    const auto axis = [](const ResampleAxis& a) {
      return " (" + std::to_string(a.in) + " up " + std::to_string(a.up) + " down " + std::to_string(a.down) + " pad " +
             std::to_string(a.pad0) + " taps " + std::to_string(a.taps) + " to " + std::to_string(a.out) + ")";
    };
    return backend.name + " " + kDTypeNames[int(dtype)] + " " + std::to_string(planes) + " planes of " +
           std::to_string(pixel) + axis(y) + axis(x) + (separable ? " separable" : " full");
  }
};

// The sample at up-sampled, padded position p, or none: the index into the input.
int64_t source(const ResampleAxis& a, int64_t p) {
  p -= a.pad0;
  return p >= 0 && p % a.up == 0 && p / a.up < a.in ? p / a.up : -1;
}

void run(const Case& c, Numbers& numbers, int threads) {
  // Integers of few bits: every product and sum is exact in float32.
  const auto integers = [&](int64_t count, int limit) {
    std::vector<double> v = numbers.eighths(count, limit);
    for (double& value : v) value = std::round(value);
    return v;
  };
  const std::vector<double> xs = integers(c.planes * c.y.in * c.x.in * c.pixel, 8);
  const std::vector<double> kx = integers(c.separable ? c.x.taps : c.y.taps * c.x.taps, 4);
  const std::vector<double> ky = c.y.taps == c.x.taps && c.separable ? kx : integers(c.y.taps, 4);
  Guarded x(c.dtype, xs), y(size_t(c.planes * c.y.out * c.x.out * c.pixel) * size_of(c.dtype));
  Upfirdn2dArgs a;
  a.x = x.data();
  a.y = y.data();
  a.planes = c.planes;
  a.pixel = c.pixel;
  a.axis_y = c.y;
  a.axis_x = c.x;
  a.kernel_y = c.separable ? ky.data() : nullptr;
  a.kernel_x = kx.data();
  a.dtype = c.dtype;
  // A GPU's filter: as it was given, so that the kernel is what it is or its reverse, and of one axis only if both share it.
  a.separable = c.separable && c.y.taps == c.x.taps;
  a.flip = numbers.below(2);
  std::vector<double> taps = kx;
  if (c.separable && !a.separable) {
    taps.clear();
    for (const double v : ky)
      for (const double u : kx) taps.push_back(v * u);
  }
  if (!a.flip) std::reverse(taps.begin(), taps.end());
  Guarded filter(c.dtype == DType::f64 ? DType::f64 : DType::f32, taps);
  a.filter = filter.data();
#if defined(_OPENMP)
  omp_set_num_threads(threads);
#else
  (void)threads;
#endif
  const auto run_kernel = [&] {
#if FASTGAN_SHIM
    if (c.backend.shim) return cuda::upfirdn2d(a);
#endif
#if FASTGAN_TEST_CPU
    return upfirdn2d_kernel(c.backend.isa)(a);
#endif
    fail("no kernels of " + c.backend.name);
  };
  run_kernel();

  size_t at = 0;
  for (int64_t p = 0; p < c.planes; ++p)
    for (int64_t oy = 0; oy < c.y.out; ++oy)
      for (int64_t ox = 0; ox < c.x.out; ++ox)
        for (int64_t channel = 0; channel < c.pixel; ++channel, ++at) {
          double want = 0;
          for (int64_t m = 0; m < c.y.taps; ++m)
            for (int64_t k = 0; k < c.x.taps; ++k) {
              const int64_t iy = source(c.y, oy * c.y.down + m), ix = source(c.x, ox * c.x.down + k);
              if (iy < 0 || ix < 0) continue;
              const double tap = c.separable ? ky[size_t(m)] * kx[size_t(k)] : kx[size_t(m * c.x.taps + k)];
              want += tap * xs[size_t(((p * c.y.in + iy) * c.x.in + ix) * c.pixel + channel)];
            }
          const double got = y.value(c.dtype, at);
          if (got != rounded(c.dtype, want))
            fail(c.name() + ": element " + std::to_string(at) + " is " + std::to_string(got) + ", not " +
                 std::to_string(want));
        }
  check(x.intact() && y.intact(), c.name() + ": bytes around x or y");
}

ResampleAxis axis(Numbers& numbers, int64_t in, int64_t most_taps) {
  ResampleAxis a;
  do {
    a.in = in;
    a.up = 1 + numbers.below(4);
    a.down = 1 + numbers.below(4);
    a.taps = 1 + numbers.below(most_taps);
    a.pad0 = numbers.below(12) - 4;
    const int64_t pad1 = numbers.below(12) - 4, left = in * a.up + a.pad0 + pad1 - a.taps;
    a.out = left < 0 ? 0 : left / a.down + 1;
  } while (a.out == 0);
  return a;
}

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  const int64_t pixels[] = {1, 1, 2, 3, 8, 17}, widths[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 66};
  Numbers numbers;
  int count = 0;
  for (const Backend& backend : backends()) {
    const ResampleAxis few{4, 7, 2, 1, 2, 3};
    run({backend, DType::f32, 2, 33, few, few, true}, numbers, 1);  // more channels than a GPU's tile takes at a time
    ++count;
    for (int i = 0; i < 1200; ++i, ++count) {
      reorder_threads(i);
      const DType dtype = kDTypes[numbers.below(4)];
      const bool separable = numbers.below(2);
      const ResampleAxis y = axis(numbers, 1 + numbers.below(9), separable ? 13 : 5);
      const ResampleAxis x = axis(numbers, widths[numbers.below(10)], separable ? 13 : 5);
      run({backend, dtype, numbers.below(3), pixels[numbers.below(6)], y, x, separable}, numbers, 1 + i % 3);
    }
    // Rows that do not fit the tile, in both formats, with several threads.
    for (const int64_t pixel : {1, 24})
      for (const int64_t up : {1, 2})
        for (const int64_t down : {1, 2})
          for (const bool separable : {true, false}) {
            const int64_t width = 12000 / pixel;
            const ResampleAxis y{9, 9 * up / down, up, down, 1, 4}, x{width, width * up / down, up, down, 2, 4};
            run({backend, DType::f32, 1, pixel, y, x, separable}, numbers, 3);
            ++count;
          }
    // The filters of StyleGAN2, which GPUs have kernels of their own for: one and several tiles, small planes, packets.
    for (int i = 0; i < 240; ++i, ++count) {
      const int64_t up = i % 3 == 0 ? 2 : 1, down = i % 3 == 1 ? 2 : 1, pixel = i % 2 ? 1 : 8 * (1 + numbers.below(4));
      const auto resampled = [&](int64_t in) {
        ResampleAxis a{in, 0, up, down, up * (numbers.below(4) - 1), 4};
        a.out = std::max<int64_t>(0, in * up + a.pad0 + numbers.below(4) - 4 + down) / down;
        return a.out > 0 ? a : ResampleAxis{in, (in * up + 2 - 4) / down + 1, up, down, 2, 4};
      };
      reorder_threads(i);
      const int64_t height = 3 + numbers.below(i % 5 ? 40 : 150), width = 3 + numbers.below(i % 7 ? 40 : 300);
      run({backend, kDTypes[numbers.below(4)], 1 + numbers.below(5), pixel, resampled(height), resampled(width),
           numbers.below(2) == 0}, numbers, 2);
    }
  }
  const ResampleAxis far{7, 8, 1, 1, 60, 120};  // inputs that no GPU's tile holds
  for (const Backend& backend : backends())
    for (const bool separable : {true, false}) run({backend, DType::f32, 2, 3, far, far, separable}, numbers, 1);
  std::printf("upfirdn2d: %d cases\n", count);
}

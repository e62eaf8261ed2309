// filtered_lrelu's kernels, of every instruction set and of the GPU under the shim, against the definition: FIR of what has
// zeros inserted and around it, the slope and the clamp, FIR, decimation; and with a mask that tells the slopes.
#include "filtered_lrelu/filtered_lrelu.h"

#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

struct Case {
  Backend backend;
  DType dtype;
  int64_t n, channels;
  bool channels_last;
  int up, down;
  FilteredAxis y, x;
  bool up_full, down_full, masked, keep_mask;
  double slope, clamp;
  std::string name() const {
    const auto axis = [](const FilteredAxis& a) {
      std::string text;
      for (const int64_t v : {a.in, a.middle, a.out, a.pad, a.inner, a.up_taps, a.down_taps}) text += " " + std::to_string(v);
      return " (" + text.substr(1) + ")";
    };
    return backend.name + " " + kDTypeNames[int(dtype)] + " [" + std::to_string(n) + "," + std::to_string(channels) + "]" +
           (channels_last ? " channels_last" : "") + " up " + std::to_string(up) + (up_full ? " full" : "") + " down " +
           std::to_string(down) + (down_full ? " full" : "") + axis(y) + axis(x) + (masked ? " masked" : "") + " slope " +
           std::to_string(slope) + " clamp " + std::to_string(clamp);
  }
};

// Correlation kernels: [taps] for each axis, or [taps_y, taps_x]; each as double, and a GPU's filter.
struct Filter {
  std::vector<double> full, row;
  Guarded given;
  Filter(const Case& c, Numbers& numbers, int64_t taps_y, int64_t taps_x, bool is_full, bool flip)
      : given((is_full ? size_t(taps_y * taps_x) : size_t(taps_x)) * (c.dtype == DType::f64 ? 8 : 4)) {
    row.resize(is_full ? size_t(taps_y * taps_x) : size_t(taps_x));
    for (double& tap : row) tap = double(numbers.below(5) - 2);
    if (is_full && numbers.below(2))  // its own mirror image from top to bottom
      for (size_t i = 0; i < row.size() / 2 / size_t(taps_x) * size_t(taps_x); ++i)
        row[row.size() - size_t(taps_x) * (1 + i / size_t(taps_x)) + i % size_t(taps_x)] = row[i];
    full = row;
    if (!is_full) {
      full.clear();
      for (const double v : row)
        for (const double u : row) full.push_back(v * u);
    }
    for (size_t i = 0; i < row.size(); ++i)
      encode(c.dtype == DType::f64 ? DType::f64 : DType::f32, row[flip ? i : row.size() - 1 - i],
             given.data() + i * (c.dtype == DType::f64 ? 8 : 4));
  }
};

// Sample j of [height, width] images with zeros around them.
struct Plane {
  int64_t height, width;
  std::vector<double> v;
  double at(int64_t y, int64_t x) const {
    return y >= 0 && y < height && x >= 0 && x < width ? v[size_t(y * width + x)] : 0;
  }
};

// Whole numbers of few bits: every product and sum is exact in float32.
void run(const Case& c, Numbers& numbers, int threads) {
  const FilteredAxis &ay = c.y, &ax = c.x;
  const int64_t classes = filtered_classes(c.up, c.down), row_bytes = filtered_mask_row(ax.middle, classes);
  const auto integers = [&](int64_t count) {
    std::vector<double> v = numbers.eighths(count, 4);
    for (double& value : v) value = std::round(value);
    return v;
  };
  const auto place = [&](int64_t height, int64_t width, int64_t n, int64_t k, int64_t y, int64_t x) {
    return size_t(c.channels_last ? ((n * height + y) * width + x) * c.channels + k
                                  : ((n * c.channels + k) * height + y) * width + x);
  };
  const bool flip = numbers.below(2);
  const std::vector<double> xs = integers(c.n * c.channels * ay.in * ax.in), bs = integers(c.channels);
  Filter up(c, numbers, ay.up_taps, ax.up_taps, c.up_full, flip), down(c, numbers, ay.down_taps, ax.down_taps, c.down_full, flip);
  const size_t bytes = size_t(c.n * c.channels * ay.middle * row_bytes);
  Guarded x(c.dtype, xs), b(c.dtype, bs), y(size_t(c.n * c.channels * ay.out * ax.out) * size_of(c.dtype));
  Guarded mask(c.masked || c.keep_mask ? bytes : 0), db(size_t(c.channels) * size_of(c.dtype));
  if (c.masked)
    for (size_t i = 0; i < bytes; ++i) mask.data()[i] = static_cast<unsigned char>(numbers.below(256));

  FilteredLreluArgs a;
  a.x = x.data();
  a.y = y.data();
  if (!c.masked) a.b = b.data();
  if (c.masked || c.keep_mask) a.mask = mask.data();
  if (c.masked && c.keep_mask) a.db = db.data();
  a.n = c.n, a.channels = c.channels, a.channels_last = c.channels_last;
  a.up = c.up, a.down = c.down;
  a.axis_y = ay, a.axis_x = ax;
  const double up_gain = c.masked ? 1 : double(c.up) * c.up;
  std::vector<double> up_x = up.row;
  for (double& tap : up_x) tap *= up_gain;
  a.up_x = up_x.data(), a.up_y = c.up_full ? nullptr : up.row.data();
  a.down_x = down.row.data(), a.down_y = c.down_full ? nullptr : down.row.data();
  a.up_filter = up.given.data(), a.down_filter = down.given.data();
  a.up_full = c.up_full, a.down_full = c.down_full, a.flip = flip;
  a.gain = 2, a.slope = c.slope, a.clamp = c.clamp;
  a.masked = c.masked;
  a.dtype = c.dtype;
#if defined(_OPENMP)
  omp_set_num_threads(threads);
#else
  (void)threads;
#endif
  std::vector<unsigned char> workspace;
  const auto run_kernel = [&] {
#if FASTGAN_SHIM
    if (c.backend.shim) {
      workspace.assign(size_t(cuda::filtered_lrelu_workspace(a)), 0xFF);
      a.workspace = workspace.data();
      return cuda::filtered_lrelu(a);
    }
#endif
#if FASTGAN_TEST_CPU
    return filtered_lrelu_kernel(c.backend.isa)(a);
#endif
    fail("no kernels of " + c.backend.name);
  };
  run_kernel();

  const auto expect = [&](const char* what, size_t i, double got, double want) {
    if (got != want)
      fail(c.name() + ": " + what + " " + std::to_string(i) + " is " + std::to_string(got) + ", not " + std::to_string(want));
  };
  // The first tap that does not meet an inserted zero.
  const auto phase = [&](const FilteredAxis& axis, int64_t m) { return ((axis.pad - m) % c.up + c.up) % c.up; };
  // Tensor cores read the middle of a radial filter in the type of the images.
  const bool tensor = c.backend.shim && c.down_full && c.down == 2 && ax.down_taps == 12 && ax.up_taps == 6 * c.up &&
                      (c.dtype == DType::f16 || c.dtype == DType::bf16);
  std::vector<double> sums(size_t(c.channels), 0.0);
  for (int64_t n = 0; n < c.n; ++n)
    for (int64_t k = 0; k < c.channels; ++k) {
      Plane middle{ay.middle, ax.middle, {}};
      for (int64_t my = 0; my < ay.middle; ++my)
        for (int64_t mx = 0; mx < ax.middle; ++mx) {
          double v = 0;
          for (int64_t ky = phase(ay, my); ky < ay.up_taps; ky += c.up)
            for (int64_t kx = phase(ax, mx); kx < ax.up_taps; kx += c.up) {
              const int64_t py = my + ky - ay.pad, px = mx + kx - ax.pad;
              if (py < 0 || px < 0 || py / c.up >= ay.in || px / c.up >= ax.in) continue;
              v += up_gain * up.full[size_t(ky * ax.up_taps + kx)] *
                   (xs[place(ay.in, ax.in, n, k, py / c.up, px / c.up)] + (c.masked ? 0 : bs[size_t(k)]));
            }
          const size_t element = size_t(mx % classes * (row_bytes * 4 / classes) + mx / classes);
          const size_t row = size_t(((n * c.channels + k) * ay.middle + my) * row_bytes);
          const unsigned bits = a.mask ? mask.data()[row + element / 4] >> (2 * (element % 4)) & 3u : 0;
          const double raw = v * 2 * (v > 0 ? 1 : c.slope);
          if (c.masked) {
            v *= bits & 2 ? 0 : 2 * (bits & 1 ? 1 : c.slope);
          } else {
            v = c.clamp < 0 ? raw : std::max(-c.clamp, std::min(c.clamp, raw));
            const unsigned want = unsigned(raw > 0) | unsigned(v != raw) << 1;
            if (a.mask) expect("mask", row * 4 + element, bits, want);
          }
          middle.v.push_back(tensor ? rounded(c.dtype, v) : v);
        }
      for (int64_t oy = 0; oy < ay.out; ++oy)
        for (int64_t ox = 0; ox < ax.out; ++ox) {
          double want = 0;
          for (int64_t ky = 0; ky < ay.down_taps; ++ky)
            for (int64_t kx = 0; kx < ax.down_taps; ++kx)
              want += down.full[size_t(ky * ax.down_taps + kx)] *
                      middle.at(oy * c.down + ky - ay.inner, ox * c.down + kx - ax.inner);
          sums[size_t(k)] += want;
          const size_t at = place(ay.out, ax.out, n, k, oy, ox);
          expect("element", at, y.value(c.dtype, at), rounded(c.dtype, want));
        }
    }
  for (size_t k = 0; a.db && k < sums.size(); ++k) expect("db", k, db.value(c.dtype, k), rounded(c.dtype, sums[k]));
  check(x.intact() && b.intact() && y.intact() && mask.intact() && db.intact() && up.given.intact() && down.given.intact(),
        c.name() + ": bytes around a tensor");
}

FilteredAxis axis(Numbers& numbers, int64_t in, int up, int down, int64_t up_taps, int64_t down_taps, bool masked) {
  FilteredAxis a;
  do {
    a.in = in;
    a.up_taps = up_taps, a.down_taps = down_taps;
    const int64_t most = up_taps + down_taps + 3;
    a.pad = numbers.below(most) - 3;
    a.middle = in * up + a.pad + numbers.below(most) - 3 - up_taps + 1;
    a.inner = masked ? numbers.below(down_taps + 6) - 3 : 0;
    const int64_t left = a.middle + a.inner + (masked ? numbers.below(down_taps + 6) - 3 : 0) - down_taps;
    a.out = a.middle < 1 || left < 0 ? 0 : left / down + 1;
  } while (a.out == 0);
  return a;
}

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  Numbers numbers;
  int count = 0;
  const double slopes[] = {0.5, 0, 1}, clamps[] = {-1, 40};
  const auto run_case = [&](const Backend& backend, DType dtype, int up, int down, int64_t up_taps, int64_t down_taps,
                            int64_t height, int64_t width, int64_t channels, bool masked, bool up_full, bool down_full) {
    // Taps of a full filter may differ.
    const int64_t up_tall = up_full && numbers.below(2) ? 1 + up_taps / 2 : up_taps;
    const bool standard = up_taps == 6 * up && down_taps == 6 * down;
    Case c{backend, dtype, 1 + numbers.below(2), channels, numbers.below(2) == 1, up, down,
           axis(numbers, height, up, down, standard ? up_taps : up_tall, down_taps, masked),
           axis(numbers, width, up, down, up_taps, down_taps, masked), up_full, down_full, masked,
           numbers.below(4) > 0, slopes[numbers.below(3)], clamps[numbers.below(2)]};
    reorder_threads(count);
    run(c, numbers, 1 + count % 3);
    ++count;
  };
  for (const Backend& backend : backends()) {
    // Any factors and taps.
    for (int i = 0; i < 160; ++i) {
      const int up = int(1 + numbers.below(4)), down = int(1 + numbers.below(4));
      const bool masked = numbers.below(2), up_full = numbers.below(3) == 0, down_full = numbers.below(3) == 0;
      const int64_t up_taps = 1 + numbers.below(up_full ? 5 : 13), down_taps = 1 + numbers.below(down_full ? 5 : 13);
      run_case(backend, kDTypes[numbers.below(4)], up, down, up_taps, down_taps, 1 + numbers.below(9),
               1 + numbers.below(i % 4 ? 17 : 70), 1 + numbers.below(i % 5 ? 3 : 9), masked, up_full, down_full);
    }
    // The filters of StyleGAN3, which GPUs have kernels of their own for: one and several tiles and chunks.
    const int factors[4][2] = {{2, 2}, {4, 2}, {2, 4}, {1, 1}};
    for (int i = 0; i < 64; ++i) {
      const int up = factors[i % 4][0], down = factors[i % 4][1];
      const bool masked = numbers.below(2), full = numbers.below(2) && up + down > 2;
      const int64_t taps = up + down > 2 ? 6 : 1;
      run_case(backend, kDTypes[i % 3 == 0 ? 0 : 2 + i % 2], up, down, taps * up, taps * down, 1 + numbers.below(i % 5 ? 12 : 70),
               1 + numbers.below(i % 7 ? 24 : 200), 1 + numbers.below(i % 7 ? 6 : 2), masked, masked && full, !masked && full);
    }
    // Filters and factors that no GPU's tile holds.
    run_case(backend, DType::f32, 1, 1, 1, 170, 166, 171, 1, false, false, true);
    run_case(backend, DType::f16, 1, 1, 170, 3, 5, 4, 1, true, true, false);
    run_case(backend, DType::f32, 31, 32, 9, 5, 3, 2, 2, false, false, false);
  }
  std::printf("filtered_lrelu: %d cases\n", count);
}

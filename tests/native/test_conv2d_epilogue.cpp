// The epilogue's kernels, of every instruction set and of the GPU under the shim, against the formula in double.
#include "conv2d_layer/conv2d_epilogue.h"

#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

const EpilogueKernels& kernels_of(const Backend& backend) {
#if FASTGAN_SHIM
  if (backend.shim) return cuda::epilogue_kernels();
#endif
#if FASTGAN_TEST_CPU
  return epilogue_kernels(backend.isa);
#endif
  fail("no kernels of " + backend.name);
}

struct Case {
  Backend backend;
  DType dtype;
  int64_t samples, channels, pixels;
  bool channels_last;
  double negative_slope, clamp;
  bool scale, noise, shared_noise, b, residual;
  std::string name() const {
    std::string text = backend.name + " " + kDTypeNames[int(dtype)] + " [" + std::to_string(samples) + "," +
                       std::to_string(channels) + "," + std::to_string(pixels) + "] slope " +
                       std::to_string(negative_slope) + " clamp " + std::to_string(clamp);
    const std::pair<bool, const char*> words[] = {{channels_last, " channels_last"}, {scale, " scale"},
                                                  {noise, " noise"}, {shared_noise, " shared"}, {b, " b"},
                                                  {residual, " residual"}};
    for (const auto& [there, word] : words) text += there ? word : "";
    return text;
  }
};

// A tensor with its numbers.
struct Input {
  std::vector<double> values;
  Guarded bytes;
  Input(DType d, std::vector<double> v) : values(std::move(v)), bytes(d, values) {}
  double operator[](int64_t i) const { return values[size_t(i)]; }
};

class Runner {
 public:
  Runner(const Case& c, Numbers& numbers)
      : c_(c), wide_(c.dtype == DType::f64 ? DType::f64 : DType::f32), n_(c.samples * c.channels * c.pixels),
        noises_((c.shared_noise ? 1 : c.samples) * c.pixels), u_(c.dtype, numbers.eighths(n_, 4)),
        dy_(c.dtype, numbers.eighths(n_, 2)), residual_(c.dtype, numbers.eighths(n_, 2)),
        scale_(wide_, scales(numbers)), noise_(c.dtype, numbers.eighths(noises_, 2)),
        b_(c.dtype, numbers.eighths(c.channels, 2)), mask_(size_t(mask_bytes(n_))) {
    args_.samples = c.samples;
    args_.channels = c.channels;
    args_.pixels = c.pixels;
    args_.channels_last = c.channels_last;
    args_.dtype = c.dtype;
    LayerOperands& o = args_.operands;
    o.negative_slope = c.negative_slope;
    o.gain = kGain;
    o.clamp = c.clamp;
    o.scale = c.scale ? scale_.bytes.data() : nullptr;
    o.noise = c.noise ? noise_.bytes.data() : nullptr;
    o.noise_step = c.shared_noise ? 0 : c.pixels;
    o.b = c.b ? b_.bytes.data() : nullptr;
  }

  void run() {
    each([&](int64_t i, int64_t n, int64_t o, int64_t p) {
      const double v = factor(n, o) * u_[i] + shift(n, o, p);
      const double slope = kGain * (v > 0 ? 1 : c_.negative_slope), y = slope * v;
      const bool clamped = c_.clamp >= 0 && std::fabs(y) > c_.clamp;
      codes_[size_t(i)] = (v > 0) + 2 * clamped;
      slopes_[size_t(i)] = clamped ? 0 : slope;
      y_[size_t(i)] = clamped ? std::copysign(c_.clamp, y) : y;
    });
    forward(false);
    forward(true);
    EpilogueArgs a = args_;
    Guarded y(c_.dtype, stored_y());
    a.operands.mask = mask_.data();
    a.y = y.data();
    for (int wanted = 0; wanted < 8; ++wanted) backward(a, wanted, "backward");
    for (double& slope : slopes_) slope = 1;
    a = args_;  // the gradient of a style
    a.operands.noise = a.operands.b = nullptr;
    a.operands.gain = a.operands.negative_slope = 1;
    a.u = u_.bytes.data();
    backward(a, 1, "style gradient");
    for (Guarded* t : {&u_.bytes, &dy_.bytes, &residual_.bytes, &scale_.bytes, &noise_.bytes, &b_.bytes, &mask_, &y})
      check(t->intact(), c_.name() + ": bytes around an input");
  }

 private:
  static constexpr double kGain = 1.5;

  std::vector<double> scales(Numbers& numbers) const {
    std::vector<double> v(size_t(c_.samples * c_.channels));
    for (double& value : v) value = std::ldexp(1, int(numbers.below(3)) - 1);  // 1/2, 1, 2
    return v;
  }
  double factor(int64_t n, int64_t o) const { return c_.scale ? scale_[n * c_.channels + o] : 1; }
  double shift(int64_t n, int64_t o, int64_t p) const {
    return (c_.noise ? noise_[(c_.shared_noise ? 0 : n * c_.pixels) + p] : 0) + (c_.b ? b_[o] : 0);
  }
  template <class F>
  void each(const F& f) const {
    for (int64_t n = 0; n < c_.samples; ++n)
      for (int64_t o = 0; o < c_.channels; ++o)
        for (int64_t p = 0; p < c_.pixels; ++p)
          f(c_.channels_last ? (n * c_.pixels + p) * c_.channels + o : (n * c_.channels + o) * c_.pixels + p, n, o, p);
  }
  std::vector<double> stored_y() const {
    std::vector<double> y = y_;
    for (double& value : y) value = rounded(c_.dtype, value);
    return y;
  }
  void expect(const char* what, double got, double want, double slack = 0) const {
    if (!(std::fabs(got - want) <= slack))
      fail(c_.name() + ": " + what + " is " + std::to_string(got) + ", not " + std::to_string(want));
  }

  void forward(bool keep_mask) {
    Guarded y(size_t(n_) * size_of(c_.dtype));
    EpilogueArgs a = args_;
    a.u = u_.bytes.data();
    a.operands.residual = c_.residual ? residual_.bytes.data() : nullptr;
    a.out = y.data();
    a.operands.mask = keep_mask ? mask_.data() : nullptr;
    kernels_of(c_.backend).forward(a);
    for (int64_t i = 0; i < n_; ++i) {
      expect("y", y.value(c_.dtype, size_t(i)), rounded(c_.dtype, y_[size_t(i)] + (c_.residual ? residual_[i] : 0)));
      if (keep_mask && ((mask_.data()[i / 4] >> (2 * (i % 4))) & 3) != codes_[size_t(i)]) fail(c_.name() + ": mask");
    }
    check(y.intact(), c_.name() + ": bytes around y");
  }

  // wanted: bits for dscale, dnoise and db.
  void backward(EpilogueArgs a, int wanted, const char* what) {
    const bool from_y = !a.u, scale = wanted & 1, noise = wanted & 2, b = wanted & 4;
    std::vector<double> dscale(size_t(c_.samples * c_.channels), 0.), magnitude = dscale, db(size_t(c_.channels), 0.),
        dnoise(size_t(c_.samples * c_.pixels), 0.);
    const std::vector<double> y = stored_y();
    each([&](int64_t i, int64_t n, int64_t o, int64_t p) {
      const double slope = slopes_[size_t(i)], g = slope * dy_[i];
      const double u = !from_y ? u_[i] : slope == 0 ? 0 : (y[size_t(i)] / slope - shift(n, o, p)) / factor(n, o);
      dscale[size_t(n * c_.channels + o)] += g * u;
      magnitude[size_t(n * c_.channels + o)] += std::fabs(g) * (std::fabs(u) + 8);
      dnoise[size_t(n * c_.pixels + p)] += g;
      db[size_t(o)] += g;
    });
    std::vector<unsigned char> first;
    for (const int threads : {1, 3}) {
      const size_t size = size_of(c_.dtype), sum_size = size_of(wide_);
      Guarded du(size_t(n_) * size), got_scale(dscale.size() * sum_size), got_noise(dnoise.size() * size),
          got_b(db.size() * size);
      a.dy = dy_.bytes.data();
      a.out = du.data();
      a.dscale = scale ? got_scale.data() : nullptr;
      a.dnoise = noise ? got_noise.data() : nullptr;
      a.db = b ? got_b.data() : nullptr;
#if defined(_OPENMP)
      omp_set_num_threads(threads);
#endif
      const EpilogueKernels& kernels = kernels_of(c_.backend);
      Guarded workspace(size_t(kernels.workspace(a)));
      a.workspace = workspace.data();
      kernels.backward(a);
      each([&](int64_t i, int64_t n, int64_t o, int64_t) {
        expect(what, du.value(c_.dtype, size_t(i)), rounded(c_.dtype, factor(n, o) * slopes_[size_t(i)] * dy_[i]));
      });
      for (size_t i = 0; scale && i < dscale.size(); ++i)
        expect("dscale", got_scale.value(wide_, i), dscale[i], (c_.dtype == DType::f64 ? 1e-13 : 1e-6) * magnitude[i]);
      for (size_t i = 0; noise && i < dnoise.size(); ++i)
        expect("dnoise", got_noise.value(c_.dtype, i), rounded(c_.dtype, dnoise[i]));
      for (size_t i = 0; b && i < db.size(); ++i) expect("db", got_b.value(c_.dtype, i), rounded(c_.dtype, db[i]));
      check(du.intact() && got_scale.intact() && got_noise.intact() && got_b.intact() && workspace.intact(),
            c_.name() + ": bytes around an output or the workspace");
      std::vector<unsigned char> bytes(got_scale.data(), got_scale.data() + dscale.size() * sum_size);
      check(first.empty() || first == bytes, c_.name() + ": dscale depends on the number of threads");
      first = bytes;
    }
  }

  const Case c_;
  const DType wide_;
  const int64_t n_, noises_;
  EpilogueArgs args_;
  Input u_, dy_, residual_, scale_, noise_, b_;
  Guarded mask_;
  std::vector<int> codes_ = std::vector<int>(size_t(n_));
  std::vector<double> slopes_ = std::vector<double>(size_t(n_)), y_ = slopes_;
};

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  const int64_t shapes[][3] = {{1, 1, 1},  {3, 5, 1},   {2, 3, 7},  {2, 5, 15},   {2, 16, 16},  {2, 3, 17},
                               {3, 2, 61}, {2, 48, 20}, {2, 33, 9}, {1, 70, 130}, {2, 2, 4200}, {1, 300, 70}};
  Numbers numbers;
  int count = 0;
  for (const Backend& backend : backends())
    for (const DType dtype : kDTypes)
      for (const auto& shape : shapes)
        for (const bool channels_last : {false, true})
          for (const double slope : {1., 0., 0.25})
            for (const double clamp : {-1.0, 1.5}) {
              if (shape[0] * shape[1] * shape[2] > 5000 && slope != 0.25) continue;
              reorder_threads(++count);
              const bool all = count % 3 == 0;
              const Case c{backend,
                           dtype,
                           shape[0],
                           shape[1],
                           shape[2],
                           channels_last,
                           slope,
                           clamp,
                           all || numbers.below(2),
                           all || numbers.below(2),
                           numbers.below(2) != 0,
                           all || numbers.below(2),
                           all || numbers.below(2)};
              Runner(c, numbers).run();
            }
  std::printf("conv2d_epilogue: %d cases\n", count);
}

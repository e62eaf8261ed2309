// bias_act's kernels, of every instruction set and of the GPU under the shim, against formulas in double.
#include "bias_act/bias_act.h"

#include <string_view>

#include "bias_act/activations.h"
#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

using Names = generic::Activations;

const BiasActKernels& kernels_of(const Backend& backend) {
#if FASTGAN_SHIM
  if (backend.shim) return cuda::bias_act_kernels();
#endif
#if FASTGAN_TEST_CPU
  return bias_act_kernels(backend.isa);
#endif
  fail("no kernels of " + backend.name);
}

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

// Value and first two derivatives.
struct Jet {
  double f, df, d2f;
};

Jet activation(const std::string_view name, double v, double alpha) {
  const double selu = 1.0507009873554805, low = selu * 1.6732632423543772;
  if (name == "linear") return {v, 1, 0};
  if (name == "relu") return {v > 0 ? v : 0, v > 0 ? 1. : 0., 0};
  if (name == "lrelu") return {v > 0 ? v : alpha * v, v > 0 ? 1 : alpha, 0};
  if (name == "elu") return v > 0 ? Jet{v, 1, 0} : Jet{std::expm1(v), std::exp(v), std::exp(v)};
  if (name == "selu")
    return v > 0 ? Jet{selu * v, selu, 0} : Jet{low * std::expm1(v), low * std::exp(v), low * std::exp(v)};
  if (name == "tanh") {
    const double t = std::tanh(v), dt = 1 / (std::cosh(v) * std::cosh(v));
    return {t, dt, -2 * t * dt};
  }
  const double s = sigmoid(v), ds = s * sigmoid(-v), d2s = ds * (1 - 2 * s);
  if (name == "sigmoid") return {s, ds, d2s};
  if (name == "softplus") return {std::log1p(std::exp(v)), s, ds};
  if (name != "swish") fail("an activation that this test does not know: " + std::string(name));
  return {v * s, s + v * ds, 2 * ds + v * d2s};
}

struct Case {
  Backend backend;
  DType dtype;
  int act;
  int64_t outer, channels, inner;
  double clamp;
  bool bias;
  std::string name() const {
    return backend.name + " " + kDTypeNames[int(dtype)] + " " + Names::names[act] + " [" +
           std::to_string(outer) + "," + std::to_string(channels) + "," + std::to_string(inner) + "] clamp " +
           std::to_string(clamp) + (bias ? " bias" : "");
  }
};

class Runner {
 public:
  Runner(const Case& c, Numbers& numbers)
      : c_(c), n_(c.outer * c.channels * c.inner), x_(numbers.eighths(n_, 4)), b_(numbers.eighths(c.channels, 2)),
        dy_(numbers.eighths(n_, 2)), ddx_(numbers.eighths(n_, 2)), x(c.dtype, x_), b(c.dtype, b_), dy(c.dtype, dy_),
        ddx(c.dtype, ddx_), mask(size_t(mask_bytes(n_))) {
    args_.numel = n_;
    args_.channels = c.channels;
    args_.inner = c.inner;
    args_.dtype = c.dtype;
    args_.act = c.act;
    args_.alpha = kAlpha;
    args_.gain = kGain;
    args_.clamp = c.clamp;
    args_.b = c.bias ? b.data() : nullptr;
    differentiate_formula();
  }

  void run() {
    forward(false);
    if (Names::piecewise[c_.act]) {
      forward(true);
      backward(true);
    }
    backward(false);
    if (!Names::piecewise[c_.act]) double_backward();
    for (Guarded* tensor : {&x, &b, &dy, &ddx, &mask}) check(tensor->intact(), c_.name() + ": bytes around an input");
  }

 private:
  static constexpr double kAlpha = 0.25, kGain = 1.5;

  // Value and derivatives of every element; those of clamped ones are 0.
  void differentiate_formula() {
    for (int64_t i = 0; i < n_; ++i) {
      const double v = x_[size_t(i)] + (c_.bias ? b_[size_t(i / c_.inner % c_.channels)] : 0);
      Jet j = activation(Names::names[c_.act], v, kAlpha);
      const bool clamped = c_.clamp >= 0 && std::fabs(j.f * kGain) > c_.clamp;
      if (clamped) j = {std::copysign(c_.clamp / kGain, j.f), 0, 0};
      jets_.push_back(j);
      codes_.push_back((v > 0) + 2 * clamped);
    }
  }

  // Piecewise-linear results are exact before rounding; smooth ones are as good as the arithmetic.
  void compare(const char* what, double got, double want) const {
    const double epsilon[] = {1.2e-7, 2.3e-16, 9.8e-4, 7.9e-3};
    const double tolerance = Names::piecewise[c_.act] ? 0 : (1 + std::fabs(want)) * (4e-7 * (c_.dtype != DType::f64) +
                                                                                      16 * epsilon[int(c_.dtype)]);
    if (!(std::fabs(got - rounded(c_.dtype, want)) <= tolerance))
      fail(c_.name() + ": " + what + " is " + std::to_string(got) + ", not " + std::to_string(want));
  }

  void forward(bool keep_mask) {
    Guarded y(size_t(n_) * size_of(c_.dtype));
    BiasActArgs a = args_;
    a.x = x.data();
    a.out = y.data();
    a.mask = keep_mask ? mask.data() : nullptr;
    kernels_of(c_.backend).forward(a);
    for (int64_t i = 0; i < n_; ++i) {
      compare("y", y.value(c_.dtype, size_t(i)), jets_[size_t(i)].f * kGain);
      if (keep_mask && ((mask.data()[i / 4] >> (2 * (i % 4))) & 3) != codes_[size_t(i)]) fail(c_.name() + ": mask");
    }
    check(y.intact(), c_.name() + ": bytes around y");
  }

  void backward(bool from_mask) {
    BiasActArgs a = args_;
    a.dy = dy.data();
    a.x = from_mask ? nullptr : x.data();
    a.mask = from_mask ? mask.data() : nullptr;
    differentiate(&BiasActKernels::backward, a,
                  [&](int64_t i) { return dy_[size_t(i)] * kGain * jets_[size_t(i)].df; });
  }

  void double_backward() {
    BiasActArgs a = args_;
    a.x = x.data();
    a.dy = dy.data();
    a.ddx = ddx.data();
    differentiate(&BiasActKernels::double_backward, a,
                  [&](int64_t i) { return ddx_[size_t(i)] * dy_[size_t(i)] * kGain * jets_[size_t(i)].d2f; });
  }

  template <class F>
  void differentiate(void (*BiasActKernels::*pass)(const BiasActArgs&), BiasActArgs a, const F& expected) {
    const BiasActKernels& kernels = kernels_of(c_.backend);
    const size_t size = size_of(c_.dtype);
    std::vector<unsigned char> first;
    for (const int threads : {1, 3}) {
      Guarded dx(size_t(n_) * size), db(size_t(c_.channels) * size);
      a.out = dx.data();
      a.db = db.data();
#if defined(_OPENMP)
      omp_set_num_threads(threads);
#endif
      Guarded workspace(size_t(kernels.workspace(a)));
      a.workspace = workspace.data();
      (kernels.*pass)(a);
      std::vector<double> sums(size_t(c_.channels), 0.0), magnitude(size_t(c_.channels), 1.0);
      for (int64_t i = 0; i < n_; ++i) {
        compare("dx", dx.value(c_.dtype, size_t(i)), expected(i));
        sums[size_t(i / c_.inner % c_.channels)] += expected(i);
        magnitude[size_t(i / c_.inner % c_.channels)] += std::fabs(expected(i));
      }
      for (size_t i = 0; i < sums.size(); ++i) {
        const double got = db.value(c_.dtype, i), want = rounded(c_.dtype, sums[i]);
        const double slack = Names::piecewise[c_.act] ? 0 : 1e-6 * magnitude[i] + 0.01 * std::fabs(want) * (size == 2);
        if (!(std::fabs(got - want) <= slack))
          fail(c_.name() + ": db is " + std::to_string(got) + ", not " + std::to_string(want));
      }
      check(dx.intact() && db.intact() && workspace.intact(), c_.name() + ": bytes around dx, db or the workspace");
      std::vector<unsigned char> bytes(db.data(), db.data() + sums.size() * size);
      check(first.empty() || first == bytes, c_.name() + ": db depends on the number of threads");
      first = bytes;
    }
  }

  const Case c_;
  const int64_t n_;
  BiasActArgs args_;
  const std::vector<double> x_, b_, dy_, ddx_;
  std::vector<Jet> jets_;
  std::vector<int> codes_;
  Guarded x, b, dy, ddx, mask;
};

// Every float16 and bfloat16 number comes through unchanged.
void halves(const Backend& backend) {
  for (const DType d : {DType::f16, DType::bf16}) {
    Guarded x(65536 * 2), y(65536 * 2);
    for (int i = 0; i < 65536; ++i) {
      const uint16_t bits = uint16_t(i);
      std::memcpy(x.data() + 2 * i, &bits, 2);
    }
    BiasActArgs a;
    a.x = x.data();
    a.out = y.data();
    a.numel = 65536;
    a.inner = 65536;
    a.dtype = d;
    kernels_of(backend).forward(a);
    for (size_t i = 0; i < 65536; ++i) {
      const double from = x.value(d, i), to = y.value(d, i);
      if (from != to && !(std::isnan(from) && std::isnan(to))) fail("a half changed: " + std::to_string(from));
    }
  }
}

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  const int64_t shapes[][3] = {{1, 1, 1},  {3, 5, 1},  {2, 3, 7},   {2, 3, 15},  {2, 3, 16},  {2, 3, 17},    {3, 2, 61},
                               {7, 48, 1}, {5, 1, 33}, {4, 512, 1}, {97, 64, 9}, {1, 2, 40000}, {700, 65, 1}};
  Numbers numbers;
  int count = 0;
  for (const Backend& backend : backends()) {
    halves(backend);
    for (const DType dtype : kDTypes)
      for (int act = 0; act < Names::count; ++act)
        for (const auto& shape : shapes)
          for (const double clamp : {-1.0, 1.5}) {
            if (shape[0] * shape[1] * shape[2] > 10000 && act != 2 && act != 3) continue;
            reorder_threads(count);
            const Case c{backend, dtype, act, shape[0], shape[1], shape[2], clamp, ++count % 3 != 0};
            Runner(c, numbers).run();
          }
  }
  std::printf("bias_act: %d cases\n", count);
}

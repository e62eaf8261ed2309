// The kernels of squared_norm and interpolate, of every instruction set and of the GPU under the shim, against formulas in
// double. Inputs are multiples of 1/8: sums are exact in every order, and results exact before they are rounded.
#include "gradient_penalty/gradient_penalty.h"

#include <cstddef>
#include <type_traits>

#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

const GradientPenaltyKernels& kernels_of(const Backend& backend) {
#if FASTGAN_SHIM
  if (backend.shim) return cuda::gradient_penalty_kernels();
#endif
#if FASTGAN_TEST_CPU
  return gradient_penalty_kernels(backend.isa);
#endif
  fail("no kernels of " + backend.name);
}

struct Case {
  Backend backend;
  DType dtype;
  int64_t samples, inner;
  std::string name() const {
    return backend.name + " " + kDTypeNames[int(dtype)] + " [" + std::to_string(samples) + "," + std::to_string(inner) +
           "]";
  }
};

class Runner {
 public:
  Runner(const Case& c, Numbers& numbers)
      : c_(c), n_(c.samples * c.inner), wide_(c.dtype == DType::f64 ? DType::f64 : DType::f32),
        x_(numbers.eighths(n_, 4)), other_(numbers.eighths(n_, 4)), factor_(numbers.eighths(c.samples, 2)),
        x(c.dtype, x_), other(c.dtype, other_), factor(wide_, factor_) {}

  void run() {
    using Kernels = GradientPenaltyKernels;
    const auto squares = [&](size_t i) { return x_[i] * x_[i]; };
    const auto products = [&](size_t i) { return 2 * other_[i] * x_[i]; };
    const auto of_x = [&](size_t i) { return 2 * factor_[sample(i)] * x_[i]; };
    const auto of_other = [&](size_t i) { return 2 * factor_[sample(i)] * other_[i]; };
    const auto between = [&](size_t i) { return x_[i] + factor_[sample(i)] * (other_[i] - x_[i]); };
    for (const int threads : {1, 3}) {
#if defined(_OPENMP)
      omp_set_num_threads(threads);
#else
      (void)threads;
#endif
      pass(&Kernels::norm, "norm", squares, nullptr);
      pass(&Kernels::backward, "backward", nullptr, of_x);
      pass(&Kernels::double_backward, "sum", products, nullptr);
      pass(&Kernels::double_backward, "double_backward", products, of_other);
      pass(&Kernels::interpolate, "interpolate", nullptr, between);
    }
    for (Guarded* tensor : {&x, &other, &factor}) check(tensor->intact(), c_.name() + ": bytes around an input");
  }

 private:
  size_t sample(size_t i) const { return i / size_t(c_.inner); }

  void compare(const std::string& what, double got, double want) const {
    if (got != want) fail(c_.name() + ": " + what + " is " + std::to_string(got) + ", not " + std::to_string(want));
  }

  // A pass, which sums what `term` gives of elements and writes what `value` gives; null where it is not to.
  template <class Term, class Value>
  void pass(void (*GradientPenaltyKernels::*kernel)(const GradientPenaltyArgs&), const std::string& name, const Term& term,
            const Value& value) {
    constexpr bool has_sums = !std::is_same<Term, std::nullptr_t>::value;
    constexpr bool has_out = !std::is_same<Value, std::nullptr_t>::value;
    const GradientPenaltyKernels& kernels = kernels_of(c_.backend);
    Guarded out(size_t(n_) * size_of(c_.dtype)), sums(size_t(c_.samples) * size_of(wide_));
    GradientPenaltyArgs a;
    a.samples = c_.samples;
    a.inner = c_.inner;
    a.dtype = c_.dtype;
    a.x = x.data();
    if (name != "norm" && name != "backward") a.other = other.data();
    if (has_out) a.factor = factor.data();
    if (has_out) a.out = out.data();
    if (has_sums) a.sums = sums.data();
    Guarded workspace(size_t(has_sums ? kernels.workspace(a) : 0));
    a.workspace = workspace.data();
    (kernels.*kernel)(a);
    if constexpr (has_sums) {
      std::vector<double> expected(size_t(c_.samples), 0.0);
      for (size_t i = 0; i < size_t(n_); ++i) expected[sample(i)] += term(i);
      for (size_t n = 0; n < expected.size(); ++n) compare("sum of " + name, sums.value(wide_, n), expected[n]);
    }
    if constexpr (has_out)
      for (size_t i = 0; i < size_t(n_); ++i) compare(name, out.value(c_.dtype, i), rounded(c_.dtype, value(i)));
    check(out.intact() && sums.intact() && workspace.intact(), c_.name() + ": bytes around a result of " + name);
  }

  const Case c_;
  const int64_t n_;
  const DType wide_;
  const std::vector<double> x_, other_, factor_;
  Guarded x, other, factor;
};

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  // Shorter than a vector, whole vectors and packets, just beyond them, and several chunks or blocks a sample.
  const int64_t shapes[][2] = {{1, 1},   {3, 7},    {2, 64},    {5, 63},    {3, 257},   {700, 3},
                               {4, 512}, {2, 8191}, {3, 8192}, {2, 16391}, {1, 36000}, {2, 20480}};
  Numbers numbers;
  int count = 0;
  for (const Backend& backend : backends())
    for (const DType dtype : kDTypes)
      for (const auto& shape : shapes) {
        reorder_threads(count++);
        Runner({backend, dtype, shape[0], shape[1]}, numbers).run();
      }
  std::printf("gradient_penalty: %d cases\n", count);
}

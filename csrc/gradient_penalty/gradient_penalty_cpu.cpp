// squared_norm and interpolate on the CPU, one pass over memory each: norm reads x; backward reads x and writes dx; double
// backward reads x and ddx and writes dx where it is wanted; interpolate reads real and fake and writes. Threads take
// chunks of samples, whose sums are added in order.
#include "gradient_penalty/gradient_penalty.h"

#include "common/parallel.h"
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int64_t kChunk = 8192;  // elements of a sample that are summed in the type of the arithmetic
constexpr int kVectors = 4;       // sums that grow side by side

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Neighbouring elements, as many as kVectors vectors hold.
template <PenaltyPass pass, class T>
FASTGAN_INLINE void process_group(const T* x, const T* other, T* out, Vec<Accumulate<T>> factor,
                                  Vec<Accumulate<T>> (&sum)[kVectors]) {
  using Formula = PenaltyFormula<pass>;
  using V = Vec<Accumulate<T>>;
  for (int j = 0; j < kVectors; ++j) {
    const V a = load(x + j * V::size), b = Formula::reads_other ? load(other + j * V::size) : a;
    if constexpr (Formula::has_sums) sum[j] += Formula::term(a, b);
    if constexpr (Formula::has_out)
      if (out) store(Formula::out(a, b, factor), out + j * V::size);
  }
}

// `count` elements of one sample; returns their sum.
template <PenaltyPass pass, class T>
Accumulate<T> process(const T* x, const T* other, T* out, Accumulate<T> factor, int64_t count) {
  using V = Vec<Accumulate<T>>;
  constexpr int kGroup = kVectors * V::size;
  V sum[kVectors];
  for (V& lanes : sum) lanes = V(Accumulate<T>(0));
  int64_t i = 0;
  for (; i + kGroup <= count; i += kGroup) {
    process_group<pass>(x + i, PenaltyFormula<pass>::reads_other ? other + i : x, out ? out + i : out, V(factor), sum);
  }
  if (i < count) {  // on copies that end in zeros
    const size_t bytes = size_t(count - i) * sizeof(T);
    T a[kGroup] = {}, b[kGroup] = {}, result[kGroup];
    __builtin_memcpy(a, x + i, bytes);
    if (PenaltyFormula<pass>::reads_other) __builtin_memcpy(b, other + i, bytes);
    process_group<pass>(a, b, out ? result : out, V(factor), sum);
    if (out) __builtin_memcpy(out + i, result, bytes);
  }
  for (int j = 1; j < kVectors; ++j) sum[0] += sum[j];
  return sum_lanes(sum[0]);
}

template <PenaltyPass pass, class T>
void run(const GradientPenaltyArgs& a) {
  using A = Accumulate<T>;
  using Formula = PenaltyFormula<pass>;
  const int64_t chunks = (a.inner + kChunk - 1) / kChunk;
  const Scratch<A> partial(Formula::has_sums ? a.samples * chunks : 1);
  parallel_tasks(a.samples * chunks, thread_count(a.samples * a.inner), [&](int64_t task, int) {
    const int64_t sample = task / chunks, begin = task % chunks * kChunk, at = sample * a.inner + begin;
    const A factor = a.factor ? static_cast<const A*>(a.factor)[sample] : A(0);
    const T* const other = Formula::reads_other ? static_cast<const T*>(a.other) + at : nullptr;
    T* const out = a.out ? static_cast<T*>(a.out) + at : nullptr;
    const A sum = process<pass>(static_cast<const T*>(a.x) + at, other, out, factor, smaller(kChunk, a.inner - begin));
    if (Formula::has_sums) partial.get()[task] = sum;
  });
  for (int64_t n = 0; Formula::has_sums && n < a.samples; ++n) {
    double sum = 0;
    for (int64_t k = 0; k < chunks; ++k) sum += double(partial.get()[n * chunks + k]);
    static_cast<A*>(a.sums)[n] = A(Formula::sum_factor * sum);
  }
}

template <PenaltyPass pass>
void dispatch_dtype(const GradientPenaltyArgs& a) {
  switch (a.dtype) {
    case DType::f32: return run<pass, float>(a);
    case DType::f64: return run<pass, double>(a);
    case DType::f16: return run<pass, Half>(a);
    case DType::bf16: return run<pass, BFloat16>(a);
  }
}

}  // namespace

const GradientPenaltyKernels& gradient_penalty_kernels() {
  static constexpr GradientPenaltyKernels kernels{
      dispatch_dtype<PenaltyPass::norm>, dispatch_dtype<PenaltyPass::backward>,
      dispatch_dtype<PenaltyPass::double_backward>, dispatch_dtype<PenaltyPass::interpolate>,
      [](const GradientPenaltyArgs&) -> int64_t { return 0; }};
  return kernels;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

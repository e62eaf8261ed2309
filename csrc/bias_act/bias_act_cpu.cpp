// bias_act on the CPU: one pass that adds the bias, activates, scales, clamps and packs the mask; one backward pass
// that also sums db. Bytes per element: forward reads x and writes y and 2 bits; backward reads dy and 2 bits (or x)
// and writes dx. Tensors are walked in memory order, in blocks and groups of 16.
#include "bias_act/bias_act.h"

#include "bias_act/groups.h"
#include "common/parallel.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int64_t kBlock = 16384;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// One group, which the tensor may end in: then the formula runs on copies of 16 elements. Out of line, for it
// is rare, and by value, so that the caller's copies stay in registers.
template <class T, class Formula>
__attribute__((noinline)) Group<Accumulate<T>> edge_group(Streams<T> s, Formula formula, int64_t i, int64_t end,
                                                          Group<Accumulate<T>> bias) {
  const bool whole = end - i >= kGroup;
  const size_t count = whole ? 0 : size_t(end - i), bytes = count * sizeof(T), of_mask = size_t(mask_bytes(int64_t(count)));
  T x[kGroup] = {}, dy[kGroup] = {}, ddx[kGroup] = {}, out[kGroup];
  uint8_t mask[4] = {};
  if (s.x) __builtin_memcpy(x, s.x + i, bytes);
  if (s.dy) __builtin_memcpy(dy, s.dy + i, bytes);
  if (s.ddx) __builtin_memcpy(ddx, s.ddx + i, bytes);
  if (s.mask) __builtin_memcpy(mask, s.mask + i / 4, of_mask);
  const Group<Accumulate<T>> result = formula(whole ? s : Streams<T>{x, dy, ddx, out, mask}, whole ? i : 0, bias);
  __builtin_memcpy(s.out + i, out, bytes);
  if (s.mask && !s.dy) __builtin_memcpy(s.mask + i / 4, mask, of_mask);
  return result;
}

template <class T>
Streams<T> streams_of(const BiasActArgs& a) {
  return {static_cast<const T*>(a.x), static_cast<const T*>(a.dy), static_cast<const T*>(a.ddx),
          static_cast<T*>(a.out), a.mask};
}

// db from `terms` neighbouring sums a channel.
template <class T>
void write_db(const BiasActArgs& a, const double* sums, int64_t terms) {
  for (int64_t c = 0; c < a.channels; ++c) {
    double sum = 0;
    for (int64_t i = 0; i < terms; ++i) sum += sums[c * terms + i];
    narrow(Accumulate<T>(sum), static_cast<T*>(a.db)[c]);
  }
}

// `rows` rows, `period` elements apart, of as many groups as keep their biases and sums in registers.
template <int groups, class T, class Formula>
FASTGAN_INLINE void walk_columns(const Streams<T>& s, const Formula& formula, int64_t i, int64_t rows, int64_t period,
                                 const Accumulate<T>* bias, Accumulate<T>* sum) {
  Group<Accumulate<T>> b[groups], total[groups] = {};
  for (int g = 0; g < groups; ++g) b[g] = load_group(bias + g * kGroup);
  for (; rows > 0; --rows, i += period) {
    for (int g = 0; g < groups; ++g) {
      fetch_out(s, i + g * kGroup);
      const Group<Accumulate<T>> result = formula(s, i + g * kGroup, b[g]);
      if constexpr (Formula::gives_gradient) add_group(total[g], result);
    }
  }
  for (int g = 0; sum && g < groups; ++g) store_sum(total[g], sum + g * kGroup);
}

// Channels that change within a group (channels_last, [N, C], tiny images): bias and the sums of db are laid out
// cyclically, over a period that is a multiple of 16 elements. A block is 16 to 64 whole periods, walked column by
// column: few enough to sum in float.
template <class T, class Formula>
void run_cyclic(const BiasActArgs& a, const Formula& formula) {
  using A = Accumulate<T>;
  constexpr int kColumns = kVectorBytes / 16;  // groups walked together
  const int64_t cycle = a.channels * a.inner;
  int64_t period = cycle;
  while (period % kGroup || (period % (kColumns * kGroup) && period < 1024)) period *= 2;
  const int64_t block = period * larger(smaller(kBlock / period, 64), 16), blocks = (a.numel + block - 1) / block;
  const Scratch<A> bias(period), partial(a.db ? blocks * period : 1);
  for (int64_t i = 0; i < period; ++i)
    bias.get()[i] = a.b ? widen(static_cast<const T*>(a.b)[i / a.inner % a.channels]) : A(0);

  parallel_tasks(blocks, thread_count(a.numel), [&](int64_t k, int) {
    const Formula local = formula;
    const Streams<T> s = streams_of<T>(a);
    const A* const biases = bias.get();
    A* const sum = a.db ? partial.get() + k * period : nullptr;
    for (int64_t i = 0; sum && i < period; ++i) sum[i] = 0;
    const int64_t begin = k * block, end = smaller(begin + block, a.numel), rows = (end - begin) / period;
    int64_t phase = 0;
    for (; phase + kColumns * kGroup <= period; phase += kColumns * kGroup)
      walk_columns<kColumns>(s, local, begin + phase, rows, period, biases + phase, sum ? sum + phase : nullptr);
    for (; phase < period; phase += kGroup)
      walk_columns<1>(s, local, begin + phase, rows, period, biases + phase, sum ? sum + phase : nullptr);
    phase = 0;
    for (int64_t i = begin + rows * period; i < end; i += kGroup, phase += kGroup) {
      const Group<A> g = edge_group(s, local, i, end, load_group(biases + phase));
      if (sum) store_sum(g, sum + phase);  // lanes past the end are 0, for dy is 0 there
    }
  });
  if (!a.db) return;
  const Scratch<double> totals(cycle);
  double* const total = totals.get();
  for (int64_t i = 0; i < cycle; ++i) total[i] = 0;
  for (const A* row = partial.get(); row < partial.get() + blocks * period; row += cycle)
    for (int64_t i = 0; i < cycle; ++i) total[i] += row[i];
  write_db<T>(a, total, a.inner);
}

// Channels with at least 16 neighbouring elements (contiguous images): runs of one channel share a bias in registers.
// The part of run r inside block k adds to partial[r + k], which no other block touches.
template <class T, class Formula>
void run_planes(const BiasActArgs& a, const Formula& formula) {
  using A = Accumulate<T>;
  const int64_t runs = a.numel / a.inner, blocks = (a.numel + kBlock - 1) / kBlock;
  const Scratch<A> partial(a.db ? runs + blocks : 1);
  if (a.db)
    for (int64_t i = 0; i < runs + blocks; ++i) partial.get()[i] = 0;
  const T* b = static_cast<const T*>(a.b);
  const auto bias_of = [&](int64_t run) { return b ? widen(b[run % a.channels]) : A(0); };

  parallel_tasks(blocks, thread_count(a.numel), [&](int64_t k, int) {
    const Formula local = formula;
    const Streams<T> s = streams_of<T>(a);
    const int64_t end = smaller((k + 1) * kBlock, a.numel);
    for (int64_t i = k * kBlock; i < end;) {
      const int64_t run = i / a.inner, run_end = smaller((run + 1) * a.inner, end);
      Group<A> bias, sum;
      for (int j = 0; j < Group<A>::vectors; ++j) bias.v[j] = Vec<A>(bias_of(run)), sum.v[j] = Vec<A>(A(0));
      for (; i + kGroup <= run_end; i += kGroup) {
        fetch_out(s, i);
        const Group<A> g = local(s, i, bias);
        if constexpr (Formula::gives_gradient)
          add_group(sum, g);
      }
      if (a.db) {
        Vec<A> total = sum.v[0];
        for (int j = 1; j < Group<A>::vectors; ++j) total += sum.v[j];
        partial.get()[run + k] += sum_lanes(total);
      }
      if (i == run_end) continue;
      // A group that begins in this run and ends in the next one, or at the end of the tensor.
      const int64_t inside = run_end - i, count = smaller(kGroup, end - i);
      A lanes[kGroup];
      for (int64_t j = 0; j < kGroup; ++j) lanes[j] = j < inside || run + 1 == runs ? bias_of(run) : bias_of(run + 1);
      const Group<A> g = edge_group(s, local, i, end, load_group(lanes));
      if (a.db) {
        for (int j = 0; j < Group<A>::vectors; ++j) store(g.v[j], lanes + j * Vec<A>::size);
        for (int64_t j = 0; j < count; ++j) partial.get()[run + k + (j < inside ? 0 : 1)] += lanes[j];
      }
      i += kGroup;
    }
  });
  if (!a.db) return;
  const Scratch<double> totals(a.channels);
  for (int64_t c = 0; c < a.channels; ++c) totals.get()[c] = 0;
  for (int64_t k = 0; k < blocks; ++k)
    for (int64_t run = k * kBlock / a.inner; run <= (smaller((k + 1) * kBlock, a.numel) - 1) / a.inner; ++run)
      totals.get()[run % a.channels] += partial.get()[run + k];
  write_db<T>(a, totals.get(), 1);
}

template <class T, class Formula>
void run(const BiasActArgs& a, const Formula& formula) {
  if (a.inner >= kGroup) return run_planes<T>(a, formula);
  run_cyclic<T>(a, formula);
}

enum Pass { kForward, kBackward, kDoubleBackward };

template <class T>
void run_piecewise(const BiasActArgs& a, Pass pass, double negative_slope) {
  if (pass == kBackward) {
    if (a.mask) return run<T>(a, BackwardFromMask<T, true>(a, negative_slope));
    if (a.x) return run<T>(a, BackwardPiecewise<T>(a, negative_slope));
    return run<T>(a, BackwardFromMask<T, false>(a, 1));
  }
  if (a.mask && a.clamp < 0) return run<T>(a, ForwardPiecewise<T, false, true>(a, negative_slope));
  if (a.mask) return run<T>(a, ForwardPiecewise<T, true, true>(a, negative_slope));
  if (a.clamp < 0) return run<T>(a, ForwardPiecewise<T, false, false>(a, negative_slope));
  run<T>(a, ForwardPiecewise<T, true, false>(a, negative_slope));
}

template <class T>
void run_smooth(const BiasActArgs& a, Pass pass, const SmoothFunctions<Accumulate<T>>& act) {
  if (pass == kForward) return run<T>(a, SmoothPass<T, 0>(a, act));
  if (pass == kBackward) return run<T>(a, SmoothPass<T, 1>(a, act));
  run<T>(a, SmoothPass<T, 2>(a, act));
}

template <class T, class Act>
void run_activation(const BiasActArgs& a, Pass pass) {
  if constexpr (Act::piecewise)
    run_piecewise<T>(a, pass, Act::negative_slope(a.alpha));
  else
    run_smooth<T>(a, pass, SmoothGroup<Accumulate<T>, Act>::functions);
}

template <class T, class... Acts>
void dispatch(const BiasActArgs& a, Pass pass, ActivationList<Acts...>) {
  static constexpr void (*table[])(const BiasActArgs&, Pass) = {run_activation<T, Acts>...};
  table[a.act](a, pass);
}

template <Pass pass>
void dispatch_dtype(const BiasActArgs& a) {
  switch (a.dtype) {
    case DType::f32: return dispatch<float>(a, pass, Activations{});
    case DType::f64: return dispatch<double>(a, pass, Activations{});
    case DType::f16: return dispatch<Half>(a, pass, Activations{});
    case DType::bf16: return dispatch<BFloat16>(a, pass, Activations{});
  }
}

}  // namespace

const BiasActKernels& bias_act_kernels() {
  static constexpr BiasActKernels kernels{dispatch_dtype<kForward>, dispatch_dtype<kBackward>,
                                            dispatch_dtype<kDoubleBackward>,
                                            [](const BiasActArgs&) -> int64_t { return 0; }};
  return kernels;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

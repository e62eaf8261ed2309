// bias_act on the CPU: one pass that adds the bias, activates, scales, clamps and packs the mask; one backward pass that
// also sums db. Bytes per element: forward reads x and writes y and 2 bits; backward reads dy and 2 bits (or x) and
// writes dx. Tensors are walked in memory order, in blocks of kBlock elements and groups of 16.
#include "bias_act/bias_act.h"

#include "bias_act/activations.h"
#include "common/parallel.h"
#include "common/sign_mask.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int64_t kBlock = 16384;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <class A>
struct Group {
  static constexpr int vectors = kGroup / Vec<A>::size;
  Vec<A> v[vectors];
};

template <class A>
FASTGAN_INLINE Group<A> load_group(const A* p) {
  Group<A> g;
  for (int j = 0; j < Group<A>::vectors; ++j) g.v[j] = load(p + j * Vec<A>::size);
  return g;
}

// The tensors of a pass, as the formulas below see them; a pass touches only those it needs.
template <class T>
struct Streams {
  const T* x;
  const T* dy;
  const T* ddx;
  T* out;
  uint8_t* mask;
};

template <class A>
struct Constants {
  Vec<A> alpha, gain, limit;
  explicit Constants(const BiasActArgs& a)
      : alpha(A(a.alpha)), gain(A(a.gain)), limit(a.clamp < 0 ? A(__builtin_inf()) : A(a.clamp)) {}
  FASTGAN_INLINE Mask<A> beyond(Vec<A> y) const { return abs(y) > limit; }
  FASTGAN_INLINE Vec<A> within(Vec<A> y) const { return max(-limit, min(limit, y)); }
};

template <class T, class Act, bool clamps, bool keep_mask>
struct Forward {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = false;
  Constants<A> c;
  explicit Forward(const BiasActArgs& a) : c(a) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>& bias) const {
    Group<A> result;
    [[maybe_unused]] Mask<A> positive[Group<A>::vectors], clamped[Group<A>::vectors];
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      const Vec<A> v = load(s.x + at) + bias.v[j];
      Vec<A> y = Act::f(v, c.alpha) * c.gain;
      if constexpr (keep_mask) {
        positive[j] = v > Vec<A>(A(0));
        clamped[j] = clamps ? c.beyond(y) : Mask<A>{};
      }
      if constexpr (clamps) y = c.within(y);
      result.v[j] = y;
      store(y, s.out + at);
    }
    if constexpr (keep_mask) {
      const uint32_t bits = pack_sign_mask(positive, clamped);
      __builtin_memcpy(s.mask + i / 4, &bits, 4);
    }
    return result;
  }
};

template <class T, class Act>
struct BackwardFromInput {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = true;
  Constants<A> c;
  explicit BackwardFromInput(const BiasActArgs& a) : c(a) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>& bias) const {
    Group<A> result;
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      const Vec<A> v = load(s.x + at) + bias.v[j];
      const Vec<A> dx = load(s.dy + at) * (c.gain * Act::df(v, c.alpha));
      result.v[j] = select(c.beyond(Act::f(v, c.alpha) * c.gain), Vec<A>(A(0)), dx);
      store(result.v[j], s.out + at);
    }
    return result;
  }
};

// Every piecewise-linear activation. Without a mask it is the constant slope of `linear` unclamped.
template <class T, bool has_mask>
struct BackwardFromMask {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = true;
  Vec<A> gain;
  SlopeTable<A> slopes;
  BackwardFromMask(const BiasActArgs& a, double negative_slope)
      : gain(A(a.gain)), slopes(A(a.gain * negative_slope), A(a.gain)) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>&) const {
    const Vec<A> zero(A(0));
    Group<A> result;
    [[maybe_unused]] uint32_t bits = 0;
    if constexpr (has_mask) __builtin_memcpy(&bits, s.mask + i / 4, 4);
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      const Vec<A> slope = has_mask ? slopes.at(bits, j) : gain;
      // A slope of 0 stops infinite gradients too.
      result.v[j] = select(slope == zero, zero, load(s.dy + at) * slope);
      store(result.v[j], s.out + at);
    }
    return result;
  }
};

template <class T, class Act>
struct DoubleBackward {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = true;
  Constants<A> c;
  explicit DoubleBackward(const BiasActArgs& a) : c(a) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>& bias) const {
    Group<A> result;
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      const Vec<A> v = load(s.x + at) + bias.v[j];
      const Vec<A> dx = load(s.ddx + at) * load(s.dy + at) * (c.gain * Act::d2f(v, c.alpha));
      result.v[j] = select(c.beyond(Act::f(v, c.alpha) * c.gain), Vec<A>(A(0)), dx);
      store(result.v[j], s.out + at);
    }
    return result;
  }
};

// One group, which the tensor may end in: then the formula runs on copies of 16 elements. Out of line, for it
// is rare, and by value, so that the caller's copies stay in registers.
template <class T, class Formula>
__attribute__((noinline)) Group<Accumulate<T>> edge_group(Streams<T> s, Formula formula, int64_t i, int64_t end,
                                                          Group<Accumulate<T>> bias) {
  const bool whole = end - i >= kGroup;
  const size_t count = whole ? 0 : size_t(end - i), bytes = count * sizeof(T), mask_bytes = (count + 3) / 4;
  T x[kGroup] = {}, dy[kGroup] = {}, ddx[kGroup] = {}, out[kGroup];
  uint8_t mask[4] = {};
  if (s.x) __builtin_memcpy(x, s.x + i, bytes);
  if (s.dy) __builtin_memcpy(dy, s.dy + i, bytes);
  if (s.ddx) __builtin_memcpy(ddx, s.ddx + i, bytes);
  if (s.mask) __builtin_memcpy(mask, s.mask + i / 4, mask_bytes);
  const Group<Accumulate<T>> result = formula(whole ? s : Streams<T>{x, dy, ddx, out, mask}, whole ? i : 0, bias);
  __builtin_memcpy(s.out + i, out, bytes);
  if (s.mask && !s.dy) __builtin_memcpy(s.mask + i / 4, mask, mask_bytes);
  return result;
}

template <class T>
Streams<T> streams_of(const BiasActArgs& a) {
  return {static_cast<const T*>(a.x), static_cast<const T*>(a.dy), static_cast<const T*>(a.ddx),
          static_cast<T*>(a.out), a.mask};
}

template <class T>
void write_db(const BiasActArgs& a, const double* sums) {
  for (int64_t c = 0; c < a.channels; ++c) narrow(Accumulate<T>(sums[c]), static_cast<T*>(a.db)[c]);
}

// f(i, channel of i) for the first `length` elements.
template <class F>
void each_channel(const BiasActArgs& a, int64_t length, const F& f) {
  for (int64_t i = 0; i < length;)
    for (int64_t c = 0; c < a.channels; ++c)
      for (const int64_t end = smaller(i + a.inner, length); i < end; ++i) f(i, c);
}

// Channels that change within a group (channels_last, [N, C], tiny images): the bias is laid out cyclically, over at
// least 512 elements, and db is accumulated in an array of the same layout.
template <class T, class Formula>
void run_cyclic(const BiasActArgs& a, const Formula& formula) {
  using A = Accumulate<T>;
  const int64_t cycle = a.channels * a.inner, period = cycle * ((512 + cycle - 1) / cycle), length = period + kGroup;
  const int64_t least = (32 * period + kGroup - 1) / kGroup * kGroup;  // the fold at the end of a block stays cheap
  const int64_t block = kBlock > least ? kBlock : least, blocks = (a.numel + block - 1) / block;
  const int threads = thread_count(a.numel);
  const Scratch<A> bias(length), sums(a.db ? length * threads : 1), partial(a.db ? blocks * a.channels : 1);
  each_channel(a, length, [&](int64_t i, int64_t c) {
    bias.get()[i] = a.b ? widen(static_cast<const T*>(a.b)[c]) : A(0);
  });

  parallel_tasks(blocks, threads, [&](int64_t k, int thread) {
    const Formula local = formula;
    const Streams<T> s = streams_of<T>(a);
    const int64_t begin = k * block, end = smaller(begin + block, a.numel);
    A* sum = sums.get() + (a.db ? thread * length : 0);
    if (a.db)
      for (int64_t i = 0; i < length; ++i) sum[i] = 0;
    int64_t phase = begin % period;
    for (int64_t i = begin; i < end; i += kGroup) {
      const Group<A> b = load_group(bias.get() + phase);
      const Group<A> g = i + kGroup <= end ? local(s, i, b) : edge_group(s, local, i, end, b);
      if (a.db) {
        for (int j = 0; j < Group<A>::vectors; ++j) {  // lanes past the end are 0, for dy is 0 there
          A* at = sum + phase + j * Vec<A>::size;
          store(load(at) + g.v[j], at);
        }
      }
      phase += kGroup;
      if (phase >= period) phase -= period;
    }
    if (a.db) {
      A* total = partial.get() + k * a.channels;
      for (int64_t c = 0; c < a.channels; ++c) total[c] = 0;
      each_channel(a, length, [&](int64_t i, int64_t c) { total[c] += sum[i]; });
    }
  });
  if (!a.db) return;
  const Scratch<double> totals(a.channels);
  for (int64_t c = 0; c < a.channels; ++c) totals.get()[c] = 0;
  for (int64_t k = 0; k < blocks; ++k)
    for (int64_t c = 0; c < a.channels; ++c) totals.get()[c] += partial.get()[k * a.channels + c];
  write_db<T>(a, totals.get());
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
        const Group<A> g = local(s, i, bias);
        if constexpr (Formula::gives_gradient)
          for (int j = 0; j < Group<A>::vectors; ++j) sum.v[j] += g.v[j];
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
  write_db<T>(a, totals.get());
}

template <class T, class Formula>
void run(const BiasActArgs& a, const Formula& formula) {
  if (a.inner >= kGroup) return run_planes<T>(a, formula);
  run_cyclic<T>(a, formula);
}

// The passes for one activation and dtype.
template <class T, class Act>
struct Passes {
  static void forward(const BiasActArgs& a) {
    if constexpr (Act::piecewise) {
      if (a.mask && a.clamp < 0) return run<T>(a, Forward<T, Act, false, true>(a));
      if (a.mask) return run<T>(a, Forward<T, Act, true, true>(a));
      if (a.clamp < 0) return run<T>(a, Forward<T, Act, false, false>(a));
    }
    run<T>(a, Forward<T, Act, true, false>(a));
  }
  static void backward(const BiasActArgs& a) {
    if constexpr (Act::piecewise) {
      if (a.mask) return run<T>(a, BackwardFromMask<T, true>(a, Act::negative_slope(a.alpha)));
      if (!a.x) return run<T>(a, BackwardFromMask<T, false>(a, 1));
    }
    run<T>(a, BackwardFromInput<T, Act>(a));
  }
  static void double_backward(const BiasActArgs& a) {
    if constexpr (!Act::piecewise) run<T>(a, DoubleBackward<T, Act>(a));
  }
};

using Pass = void (*)(const BiasActArgs&);

template <class T, class... Acts>
void dispatch(const BiasActArgs& a, int pass, ActivationList<Acts...>) {
  static constexpr Pass table[3][sizeof...(Acts)] = {
      {Passes<T, Acts>::forward...}, {Passes<T, Acts>::backward...}, {Passes<T, Acts>::double_backward...}};
  table[pass][a.act](a);
}

template <int pass>
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
  static constexpr BiasActKernels kernels{dispatch_dtype<0>, dispatch_dtype<1>, dispatch_dtype<2>};
  return kernels;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

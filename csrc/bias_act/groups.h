// The formulas of bias_act's passes on groups of 16 elements, as the CPU kernels walk them.
#pragma once
#include "common/vec_math.h"
// after what they are written in terms of
#include "bias_act/activations.h"
#include "bias_act/formula.h"
#include "common/sign_mask.h"

namespace fastgan {
namespace FASTGAN_ISA {

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

template <class A>
FASTGAN_INLINE void add_group(Group<A>& sum, const Group<A>& g) {
  for (int j = 0; j < Group<A>::vectors; ++j) sum.v[j] += g.v[j];
}

template <class A>
FASTGAN_INLINE void store_sum(Group<A> g, A* p) {
  add_group(g, load_group(p));
  for (int j = 0; j < Group<A>::vectors; ++j) store(g.v[j], p + j * Vec<A>::size);
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

// Asks for a line of `out` before there is anything to store there. Stores are made in order: those to the mask would
// wait behind each line of `out` that the cache lacks.
template <class T>
FASTGAN_INLINE void fetch_out(const Streams<T>& s, int64_t i) {
  __builtin_prefetch(s.out + i, 1);
}

// What follows is one formula a struct: from a group of a pass's tensors to that group of its result. Those of a
// backward give a gradient, which db sums.

template <class T, bool clamps, bool keep_mask>
struct ForwardPiecewise {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = false;
  Limit<Vec<A>> limit;
  Slopes<Vec<A>> slopes;
  ForwardPiecewise(const BiasActArgs& a, double negative_slope) : limit(a), slopes(a, negative_slope) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>& bias) const {
    Group<A> y;
    [[maybe_unused]] Mask<A> positive[Group<A>::vectors], clamped[Group<A>::vectors];
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      const Vec<A> v = load(s.x + at) + bias.v[j];
      y.v[j] = slopes.value(v);
      if constexpr (keep_mask) {
        positive[j] = slopes.rises(v);
        clamped[j] = clamps ? limit.stops(y.v[j]) : Mask<A>{};
      }
      if constexpr (clamps) y.v[j] = limit.clamp(y.v[j]);
      store(y.v[j], s.out + at);
    }
    if constexpr (keep_mask) {
      const uint32_t bits = pack_sign_mask(positive, clamped);
      __builtin_memcpy(s.mask + i / 4, &bits, 4);
    }
    return y;
  }
};

// From the mask, or without one the constant slope of an unclamped linear.
template <class T, bool has_mask>
struct BackwardFromMask {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = true;
  Vec<A> gain;
  SlopeTable<A> slopes;
  BackwardFromMask(const BiasActArgs& a, double negative_slope)
      : gain(A(a.gain)), slopes(A(a.gain * negative_slope), A(a.gain)) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>&) const {
    Group<A> dx;
    [[maybe_unused]] uint32_t bits = 0;
    if constexpr (has_mask) __builtin_memcpy(&bits, s.mask + i / 4, 4);
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      dx.v[j] = times_slope(load(s.dy + at), has_mask ? slopes.at(bits, j) : gain);
      store(dx.v[j], s.out + at);
    }
    return dx;
  }
};

template <class T>
struct BackwardPiecewise {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = true;
  Limit<Vec<A>> limit;
  Slopes<Vec<A>> slopes;
  BackwardPiecewise(const BiasActArgs& a, double negative_slope) : limit(a), slopes(a, negative_slope) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>& bias) const {
    const Vec<A> zero(A(0));
    Group<A> dx;
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      const Vec<A> v = load(s.x + at) + bias.v[j], slope = slopes.slope(v);
      dx.v[j] = select(limit.stops(slopes.value(v)), zero, times_slope(load(s.dy + at), slope));
      store(dx.v[j], s.out + at);
    }
    return dx;
  }
};

// A smooth activation on a group, out of line: it costs more than the call, and is compiled once for all dtypes.
template <class A>
struct SmoothFunctions {
  using Function = void (*)(Group<A>&);
  Function f, df, d2f;
};
template <class A, class Act>
struct SmoothGroup {
  static void f(Group<A>& g) {
    for (Vec<A>& v : g.v) v = Act::f(v);
  }
  static void df(Group<A>& g) {
    for (Vec<A>& v : g.v) v = Act::df(v);
  }
  static void d2f(Group<A>& g) {
    for (Vec<A>& v : g.v) v = Act::d2f(v);
  }
  static constexpr SmoothFunctions<A> functions{f, df, d2f};
};

// order 0: y = f(v) gain, clamped; 1: dx = dy gain f'(v), 0 where clamped; 2: dx = ddx dy gain f''(v), 0 where clamped.
template <class T, int order>
struct SmoothPass {
  using A = Accumulate<T>;
  static constexpr bool gives_gradient = order > 0;
  Limit<Vec<A>> limit;
  Vec<A> gain;
  SmoothFunctions<A> act;
  bool clamps;
  SmoothPass(const BiasActArgs& a, const SmoothFunctions<A>& functions)
      : limit(a), gain(A(a.gain)), act(functions), clamps(a.clamp >= 0) {}
  FASTGAN_INLINE Group<A> operator()(const Streams<T>& s, int64_t i, const Group<A>& bias) const {
    Group<A> v, result;
    for (int j = 0; j < Group<A>::vectors; ++j) v.v[j] = load(s.x + i + j * Vec<A>::size) + bias.v[j];
    result = v;
    (order == 0 ? act.f : order == 1 ? act.df : act.d2f)(result);
    if (order > 0 && clamps) act.f(v);
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      Vec<A> r = result.v[j] * gain;
      if constexpr (order == 0) r = limit.clamp(r);
      if constexpr (order > 0) r = load(s.dy + at) * r;
      if constexpr (order > 1) r = load(s.ddx + at) * r;
      if (order > 0 && clamps) r = select(limit.exceeded(v.v[j] * gain), Vec<A>(A(0)), r);
      store(r, s.out + at);
      result.v[j] = r;
    }
    return result;
  }
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

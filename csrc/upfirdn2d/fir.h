// The inner loops of upfirdn2d: weighted sums of rows, dst[i] = sum_k weight[k] * source[k][i].
// Every form of polyphase filtering is such a sum: vertically the sources are input rows, horizontally they are the same
// row at different offsets.
#pragma once
#include <cstdint>

#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

// The terms of a sum. Sources are of type S.
template <class S, class A>
struct Terms {
  const S** source;
  A* weight;
  int count;
};

template <class S, class A>
inline A weighted_one(const Terms<S, A>& t, int64_t i) {
  A sum = t.count ? t.weight[0] * widen(t.source[0][i]) : A(0);
  for (int k = 1; k < t.count; ++k) sum = t.weight[k] * widen(t.source[k][i]) + sum;
  return sum;
}

// The terms as a loop over i reads them: for a number known at compile time, copies that stay in registers.
template <int taps, class S, class A>
struct LoopTerms {
  const S* source[taps];
  A weight[taps];
  LoopTerms(const Terms<S, A>& t, int64_t shift) {
    for (int k = 0; k < taps; ++k) source[k] = t.source[k] + shift, weight[k] = t.weight[k];
  }
  Vec<A> at(int64_t i) const {
    Vec<A> sum = Vec<A>(weight[0]) * load(source[0] + i);
    for (int k = 1; k < taps; ++k) sum = Vec<A>(weight[k]) * load(source[k] + i) + sum;
    return sum;
  }
};
template <class S, class A>
struct LoopTerms<0, S, A> {
  Terms<S, A> t;
  int64_t shift;
  LoopTerms(const Terms<S, A>& terms, int64_t shift_) : t(terms), shift(shift_) {}
  Vec<A> at(int64_t i) const {
    i += shift;
    Vec<A> sum = Vec<A>(t.weight[0]) * load(t.source[0] + i);
    for (int k = 1; k < t.count; ++k) sum = Vec<A>(t.weight[k]) * load(t.source[k] + i) + sum;
    return sum;
  }
};

// Calls f.run<taps>() with the number of terms where a loop is compiled for it, else with 0.
template <class F>
inline void with_taps(int count, const F& f) {
  switch (count) {
    case 1: return f.template run<1>();
    case 2: return f.template run<2>();
    case 3: return f.template run<3>();
    case 4: return f.template run<4>();
    case 6: return f.template run<6>();
    case 8: return f.template run<8>();
    default: return f.template run<0>();
  }
}

template <class S, class A, class D>
struct SumRows {
  const Terms<S, A>& t;
  int64_t count;
  D* dst;
  int64_t shift;
  template <int taps>
  void run() const {
    constexpr int L = Vec<A>::size;
    const LoopTerms<taps, S, A> terms(t, shift);
    int64_t i = 0;
    for (; i + 2 * L <= count; i += 2 * L) {
      const Vec<A> first = terms.at(i), second = terms.at(i + L);
      store(first, dst + i);
      store(second, dst + i + L);
    }
    for (; i + L <= count; i += L) store(terms.at(i), dst + i);
    if (i == count) return;
    if (count >= L) return store(terms.at(count - L), dst + count - L);  // overlaps what is done already
    for (; i < count; ++i) narrow(weighted_one(t, shift + i), dst[i]);
  }
};

// dst[i] = sum at shift + i, for i in [0, count).
template <class S, class A, class D>
inline void sum_rows(const Terms<S, A>& t, int64_t count, D* dst, int64_t shift = 0) {
  if (t.count > 0) return with_taps(t.count, SumRows<S, A, D>{t, count, dst, shift});
  for (int64_t i = 0; i < count; ++i) narrow(A(0), dst[i]);
}

template <class S, class A>
struct SumRowsSplit {
  const Terms<S, A>& t;
  int64_t count;
  A* even;
  A* odd;
  template <int taps>
  void run() const {
    constexpr int L = Vec<A>::size;
    const LoopTerms<taps, S, A> terms(t, 0);
    int64_t i = 0;
    for (; i + 2 * L <= count; i += 2 * L) {
      Vec<A> e, o;
      deinterleave(terms.at(i), terms.at(i + L), e, o);
      store(e, even + i / 2);
      store(o, odd + i / 2);
    }
    for (; i < count; ++i) (i % 2 ? odd : even)[i / 2] = weighted_one(t, i);
  }
};

// even[i / 2] or odd[i / 2] = sum, by the parity of i in [0, count).
template <class S, class A>
inline void sum_rows_split(const Terms<S, A>& t, int64_t count, A* even, A* odd) {
  with_taps(t.count, SumRowsSplit<S, A>{t, count, even, odd});
}

template <class A, class D>
struct SumRowsPair {
  const Terms<A, A>& t0;
  const Terms<A, A>& t1;
  int64_t count;
  D* dst;
  template <int taps>
  void run() const {
    constexpr int L = Vec<A>::size;
    const LoopTerms<taps, A, A> terms0(t0, 0), terms1(t1, 0);
    int64_t i = 0;
    for (; i + 2 * L <= count; i += 2 * L) {
      Vec<A> low, high;
      interleave(terms0.at(i / 2), terms1.at(i / 2), low, high);
      store(low, dst + i);
      store(high, dst + i + L);
    }
    for (; i < count; ++i) narrow(weighted_one(i % 2 ? t1 : t0, i / 2), dst[i]);
  }
};

// dst[i] = the first sum at i / 2 for even i, the second for odd i, in [0, count); both have the same number of terms.
template <class A, class D>
inline void sum_rows_pair(const Terms<A, A>& t0, const Terms<A, A>& t1, int64_t count, D* dst) {
  with_taps(t0.count, SumRowsPair<A, D>{t0, t1, count, dst});
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

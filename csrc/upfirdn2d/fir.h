// The inner loops of upfirdn2d: weighted sums of rows, dst[i] = sum_k weight[k] * source[k][i].
// Every form of polyphase filtering is such a sum: vertically the sources are input rows, horizontally they are the
// same row at different offsets. A call does many rows, so that its set-up does not count.
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

// The sums wanted: `rows` rows of `count` numbers. Those of row r read the sources from shift + r * source_stride on
// and are written from r * stride on.
struct Extent {
  int64_t count, rows, source_stride, stride;
  int64_t shift = 0;
};

template <class S, class A>
inline A weighted_one(const Terms<S, A>& t, int64_t i) {
  A sum = t.count ? t.weight[0] * widen(t.source[0][i]) : A(0);
  for (int k = 1; k < t.count; ++k) sum = t.weight[k] * widen(t.source[k][i]) + sum;
  return sum;
}

// The terms as a loop reads them: for a number known at compile time, copies that stay in registers.
template <int taps, class S, class A>
struct LoopTerms {
  const S* source[taps];
  Vec<A> weight[taps];
  FASTGAN_INLINE explicit LoopTerms(const Terms<S, A>& t) {
    for (int k = 0; k < taps; ++k) source[k] = t.source[k], weight[k] = Vec<A>(t.weight[k]);
  }
  FASTGAN_INLINE Vec<A> at(int64_t i) const {
    Vec<A> sum = weight[0] * load(source[0] + i);
    for (int k = 1; k < taps; ++k) sum = weight[k] * load(source[k] + i) + sum;
    return sum;
  }
  template <int vectors, class D>
  FASTGAN_INLINE void store_sums(int64_t i, D* to) const {
    Vec<A> sum[vectors];
    for (int j = 0; j < vectors; ++j) sum[j] = at(i + j * Vec<A>::size);
    for (int j = 0; j < vectors; ++j) store(sum[j], to + j * Vec<A>::size);
  }
};
template <class S, class A>
struct LoopTerms<0, S, A> {
  Terms<S, A> t;
  FASTGAN_INLINE explicit LoopTerms(const Terms<S, A>& terms) : t(terms) {}
  template <int vectors>
  FASTGAN_INLINE void sums(int64_t i, Vec<A> (&sum)[vectors]) const {
    for (int j = 0; j < vectors; ++j) sum[j] = Vec<A>(A(0));
    for (int k = 0; k < t.count; ++k) {
      const Vec<A> weight(t.weight[k]);
      for (int j = 0; j < vectors; ++j) sum[j] = weight * load(t.source[k] + i + j * Vec<A>::size) + sum[j];
    }
  }
  FASTGAN_INLINE Vec<A> at(int64_t i) const {
    Vec<A> sum[1];
    sums(i, sum);
    return sum[0];
  }
  template <int vectors, class D>
  FASTGAN_INLINE void store_sums(int64_t i, D* to) const {
    Vec<A> sum[vectors];
    sums(i, sum);
    for (int j = 0; j < vectors; ++j) store(sum[j], to + j * Vec<A>::size);
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
  const Extent& e;
  D* dst;
  template <int taps>
  void run() const {
    const LoopTerms<taps, S, A> terms(t);
    for (int64_t r = 0; r < e.rows; ++r) row(terms, e.shift + r * e.source_stride, dst + r * e.stride);
  }
  template <int taps>
  FASTGAN_INLINE void row(const LoopTerms<taps, S, A>& terms, int64_t from, D* to) const {
    constexpr int L = Vec<A>::size, unroll = taps ? 2 : 4;
    int64_t i = 0;
    for (; i + unroll * L <= e.count; i += unroll * L) terms.template store_sums<unroll>(from + i, to + i);
    for (; i + L <= e.count; i += L) terms.template store_sums<1>(from + i, to + i);
    if (i == e.count) return;
    if (e.count >= L) return terms.template store_sums<1>(from + e.count - L, to + e.count - L);  // some a second time
    for (; i < e.count; ++i) narrow(weighted_one(t, from + i), to[i]);
  }
};

template <class S, class A, class D>
inline void sum_rows(const Terms<S, A>& t, const Extent& e, D* dst) {
  if (t.count > 0) return with_taps(t.count, SumRows<S, A, D>{t, e, dst});
  for (int64_t r = 0; r < e.rows; ++r)
    for (int64_t i = 0; i < e.count; ++i) narrow(A(0), dst[r * e.stride + i]);
}

template <class S, class A>
struct SumRowsSplit {
  const Terms<S, A>& t;
  const Extent& e;
  A* even;
  A* odd;
  template <int taps>
  void run() const {
    constexpr int L = Vec<A>::size;
    const LoopTerms<taps, S, A> terms(t);
    for (int64_t r = 0; r < e.rows; ++r) {
      const int64_t from = e.shift + r * e.source_stride;
      A* evens = even + r * e.stride;
      A* odds = odd + r * e.stride;
      int64_t i = 0;
      for (; i + 2 * L <= e.count; i += 2 * L) {
        Vec<A> a, b;
        deinterleave(terms.at(from + i), terms.at(from + i + L), a, b);
        store(a, evens + i / 2);
        store(b, odds + i / 2);
      }
      for (; i < e.count; ++i) {
        A* to = i % 2 ? odds : evens;
        to[i / 2] = weighted_one(t, from + i);
      }
    }
  }
};

// Sum i of each row goes to even[i / 2] or odd[i / 2], by the parity of i. There is at least one term.
template <class S, class A>
inline void sum_rows_split(const Terms<S, A>& t, const Extent& e, A* even, A* odd) {
  with_taps(t.count, SumRowsSplit<S, A>{t, e, even, odd});
}

template <class A, class D>
struct SumRowsPair {
  const Terms<A, A>& t0;
  const Terms<A, A>& t1;
  const Extent& e;
  D* dst;
  template <int taps>
  void run() const {
    constexpr int L = Vec<A>::size;
    const LoopTerms<taps, A, A> terms0(t0), terms1(t1);
    for (int64_t r = 0; r < e.rows; ++r) {
      const int64_t from = e.shift + r * e.source_stride;
      D* to = dst + r * e.stride;
      int64_t i = 0;
      for (; i + 2 * L <= e.count; i += 2 * L) {
        Vec<A> low, high;
        interleave(terms0.at(from + i / 2), terms1.at(from + i / 2), low, high);
        store(low, to + i);
        store(high, to + i + L);
      }
      for (; i < e.count; ++i) narrow(weighted_one(i % 2 ? t1 : t0, from + i / 2), to[i]);
    }
  }
};

// Output i of each row is the first sum at i / 2 for even i, the second for odd i; both have the same number of terms,
// at least one.
template <class A, class D>
inline void sum_rows_pair(const Terms<A, A>& t0, const Terms<A, A>& t1, const Extent& e, D* dst) {
  with_taps(t0.count, SumRowsPair<A, D>{t0, t1, e, dst});
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

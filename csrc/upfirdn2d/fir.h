// The inner loops of upfirdn2d: weighted sums of a row, to[i] = sum_k weight[k] * source[k][i].
// Every form of polyphase filtering is such a sum: vertically the sources are input rows, horizontally they are the
// same row at different offsets.
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

// The terms as a loop reads them: `taps` of them in registers, or any number where taps is 0.
template <int taps, class S, class A>
struct LoopTerms {
  const S* source[taps];
  Vec<A> weight[taps];
  LoopTerms() = default;
  FASTGAN_INLINE explicit LoopTerms(const Terms<S, A>& t) {
    for (int k = 0; k < taps; ++k) set(k, t.source[k], t.weight[k]);
  }
  FASTGAN_INLINE void set(int k, const S* s, A w) { source[k] = s, weight[k] = Vec<A>(w); }
  FASTGAN_INLINE A one(int64_t i) const {
    A sum = weight[0].v[0] * widen(source[0][i]);
    for (int k = 1; k < taps; ++k) sum = weight[k].v[0] * widen(source[k][i]) + sum;
    return sum;
  }
  template <int vectors>
  FASTGAN_INLINE void sums(int64_t i, Vec<A> (&sum)[vectors]) const {
    for (int j = 0; j < vectors; ++j) {
      const int64_t at = i + j * Vec<A>::size;
      sum[j] = weight[0] * load(source[0] + at);
      for (int k = 1; k < taps; ++k) sum[j] = weight[k] * load(source[k] + at) + sum[j];
    }
  }
};
template <class S, class A>
struct LoopTerms<0, S, A> {
  Terms<S, A> t;
  FASTGAN_INLINE explicit LoopTerms(const Terms<S, A>& terms) : t(terms) {}
  FASTGAN_INLINE A one(int64_t i) const {
    A sum = 0;
    for (int k = 0; k < t.count; ++k) sum = t.weight[k] * widen(t.source[k][i]) + sum;
    return sum;
  }
  template <int vectors>
  FASTGAN_INLINE void sums(int64_t i, Vec<A> (&sum)[vectors]) const {
    for (int j = 0; j < vectors; ++j) sum[j] = Vec<A>(A(0));
    for (int k = 0; k < t.count; ++k) {
      const Vec<A> weight(t.weight[k]);
      for (int j = 0; j < vectors; ++j) sum[j] = weight * load(t.source[k] + i + j * Vec<A>::size) + sum[j];
    }
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

// Asks for the lines of `vectors` vectors at `to` before there is anything to store there. Stores are made in order:
// those to cached rows would wait behind each line of the output that the cache lacks.
template <int vectors, class D>
FASTGAN_INLINE void fetch(D* to) {
  for (int i = 0; i < vectors * Vec<Accumulate<D>>::size; i += 64 / int(sizeof(D))) __builtin_prefetch(to + i, 1);
}

template <int vectors, class Loop, class D>
FASTGAN_INLINE void store_sums(const Loop& terms, int64_t i, D* to) {
  Vec<Accumulate<D>> sum[vectors];
  terms.sums(i, sum);
  for (int j = 0; j < vectors; ++j) store(sum[j], to + j * Vec<Accumulate<D>>::size);
}

// to[i] = the sum at from + i.
template <int taps, class S, class A, class D>
FASTGAN_INLINE void sum_row(const LoopTerms<taps, S, A>& terms, int64_t count, int64_t from, D* to) {
  constexpr int L = Vec<A>::size, unroll = taps ? 2 : 4;
  int64_t i = 0;
  for (; i + unroll * L <= count; i += unroll * L) {
    fetch<unroll>(to + i);
    store_sums<unroll>(terms, from + i, to + i);
  }
  for (; i + L <= count; i += L) store_sums<1>(terms, from + i, to + i);
  if (i == count) return;
  if (count >= L) return store_sums<1>(terms, from + count - L, to + count - L);  // some a second time
  for (; i < count; ++i) narrow(terms.one(from + i), to[i]);
}

// The sum at i goes to even[i / 2] or odd[i / 2], by the parity of i.
template <int taps, class S, class A>
FASTGAN_INLINE void sum_row_split(const LoopTerms<taps, S, A>& terms, int64_t count, A* even, A* odd) {
  constexpr int L = Vec<A>::size;
  int64_t i = 0;
  for (; i + 2 * L <= count; i += 2 * L) {
    Vec<A> sum[2], evens, odds;
    terms.sums(i, sum);
    deinterleave(sum[0], sum[1], evens, odds);
    store(evens, even + i / 2);
    store(odds, odd + i / 2);
  }
  for (; i < count; ++i) {
    A* to = i % 2 ? odd : even;
    to[i / 2] = terms.one(i);
  }
}

// to[i] = the first sum at from + i / 2 for even i, the second for odd i.
template <int taps, class A, class D>
FASTGAN_INLINE void sum_row_pair(const LoopTerms<taps, A, A>& first, const LoopTerms<taps, A, A>& second, int64_t count,
                                 int64_t from, D* to) {
  constexpr int L = Vec<A>::size;
  int64_t i = 0;
  for (; i + 2 * L <= count; i += 2 * L) {
    Vec<A> evens[1], odds[1], low, high;
    fetch<2>(to + i);
    first.sums(from + i / 2, evens);
    second.sums(from + i / 2, odds);
    interleave(evens[0], odds[0], low, high);
    store(low, to + i);
    store(high, to + i + L);
  }
  for (; i < count; ++i) narrow((i % 2 ? second : first).one(from + i / 2), to[i]);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

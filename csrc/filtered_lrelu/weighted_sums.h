// The inner loop of filtered_lrelu on a CPU: weighted sums of rows at offsets. Every stage is one, whatever its factor:
// along y the terms are rows, along x the same row at other offsets, of a full filter both.
#pragma once
#include <cstdint>
#include <utility>

#include "common/sign_mask.h"
#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

// One or two results: result r at i is the sum over rows and terms of weight * rows[row][offset[term] + i]. Two have most
// of their terms in common, each of which is loaded once.
template <class A>
struct Sums {
  int results, rows, terms;
  const int64_t* offset;  // [terms]
  const uint8_t* in;      // [rows, terms]: bit r: it is a term of result r
  const A* weight;        // [rows, terms, results]
};

// f(0), f(1), ... with constants: a loop that is always unrolled, and what it indexes can stay in registers.
template <class F, int... i>
FASTGAN_INLINE void each_constant(std::integer_sequence<int, i...>, const F& f) {
  (f(std::integral_constant<int, i>{}), ...);
}
template <int count, class F>
FASTGAN_INLINE void unrolled(const F& f) {
  each_constant(std::make_integer_sequence<int, count>{}, f);
}
#define FASTGAN_EACH(i) [&](auto i) __attribute__((always_inline))

template <int vectors, class A>
FASTGAN_INLINE void add_term(A weight, const Vec<A> (&x)[vectors], Vec<A> (&sum)[vectors]) {
  const Vec<A> w(weight);
  unrolled<vectors>(FASTGAN_EACH(j) { sum[j] = w * x[j] + sum[j]; });
}

// finish(result, place, vectors): what comes out of a block, in parts of `part` vectors.
template <int results, int vectors, int part, class A, class F>
FASTGAN_INLINE void sum_block(const A* const* rows, const Sums<A>& s, int64_t i, const F& finish) {
  constexpr int L = Vec<A>::size;
  Vec<A> sum[results][vectors];
  unrolled<results>(FASTGAN_EACH(r) { unrolled<vectors>(FASTGAN_EACH(j) { sum[r][j] = Vec<A>(A(0)); }); });
  const A* weight = s.weight;
  const uint8_t* in = s.in;
  for (int row = 0; row < s.rows; ++row) {
    const A* const base = rows[row] + i;
    for (int term = 0; term < s.terms; ++term, weight += results, ++in) {
      const A* const from = base + s.offset[term];
      Vec<A> x[vectors];
      unrolled<vectors>(FASTGAN_EACH(j) { x[j] = load(from + j * L); });
      if (results == 1 || (*in & 1)) add_term(weight[0], x, sum[0]);
      if (results == 2 && (*in & 2)) add_term(weight[results - 1], x, sum[results - 1]);
    }
  }
  unrolled<results>(FASTGAN_EACH(r) {
    unrolled<vectors / part>(FASTGAN_EACH(p) {
      Vec<A> some[part];
      unrolled<part>(FASTGAN_EACH(j) { some[j] = sum[r][p * part + j]; });
      finish(r, i + p * part * L, some);
    });
  });
}

// finish(result, place, vectors from there on) of `count` numbers: whole groups of kGroup, then single vectors.
template <int results, class A, class F>
FASTGAN_INLINE void each_sum(const A* const* rows, const Sums<A>& s, int64_t count, const F& finish) {
  constexpr int L = Vec<A>::size, group = kGroup / L, unroll = 8 / results, most = unroll > group ? unroll : group;
  int64_t i = 0;
  for (; i + most * L <= count; i += most * L) sum_block<results, most, group>(rows, s, i, finish);
  for (; i + kGroup <= count; i += kGroup) sum_block<results, group, group>(rows, s, i, finish);
  for (; i < count; i += L) sum_block<results, 1, 1>(rows, s, i, finish);
}

template <class A>
struct StoreSums {
  A* to[2];
  template <int vectors>
  FASTGAN_INLINE void operator()(int r, int64_t i, const Vec<A> (&sum)[vectors]) const {
    unrolled<vectors>(FASTGAN_EACH(j) { store(sum[j], to[r] + i + j * Vec<A>::size); });
  }
};

// to[r][i], i < count, with room up to a whole vector.
template <class A>
inline void store_sums(const A* const* rows, const Sums<A>& s, int64_t count, A* first, A* second) {
  const StoreSums<A> finish{{first, second}};
  s.results == 2 ? each_sum<2>(rows, s, count, finish) : each_sum<1>(rows, s, count, finish);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

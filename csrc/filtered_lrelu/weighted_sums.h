// The inner loop of filtered_lrelu on a CPU: weighted sums of rows at offsets. Every stage is one, whatever its factor:
// along y the terms are rows, along x the same row at other offsets, of a full filter both.
#pragma once
#include <cstdint>

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

template <int vectors, class A>
FASTGAN_INLINE void add_term(A weight, const Vec<A> (&x)[vectors], Vec<A> (&sum)[vectors]) {
  const Vec<A> w(weight);
  for (int j = 0; j < vectors; ++j) sum[j] = w * x[j] + sum[j];
}

template <int results, int vectors, class A>
FASTGAN_INLINE void sum_block(const A* const* rows, const Sums<A>& s, int64_t i, Vec<A> (&sum)[results][vectors]) {
  for (int r = 0; r < results; ++r)
    for (int j = 0; j < vectors; ++j) sum[r][j] = Vec<A>(A(0));
  const A* weight = s.weight;
  const uint8_t* in = s.in;
  for (int row = 0; row < s.rows; ++row) {
    const A* const base = rows[row] + i;
    for (int term = 0; term < s.terms; ++term, weight += results, ++in) {
      const A* const from = base + s.offset[term];
      Vec<A> x[vectors];
      for (int j = 0; j < vectors; ++j) x[j] = load(from + j * Vec<A>::size);
      if (results == 1 || (*in & 1)) add_term(weight[0], x, sum[0]);
      if (results == 2 && (*in & 2)) add_term(weight[results - 1], x, sum[results - 1]);
    }
  }
}

// finish(result, i, its vectors from i on), for `count` numbers: whole groups of kGroup, then single vectors.
template <int results, class A, class F>
FASTGAN_INLINE void each_sum(const A* const* rows, const Sums<A>& s, int64_t count, const F& finish) {
  constexpr int L = Vec<A>::size, group = kGroup / L, unrolled = 8 / results, most = unrolled > group ? unrolled : group;
  int64_t i = 0;
  for (; i + most * L <= count; i += most * L) {
    Vec<A> sum[results][most];
    sum_block(rows, s, i, sum);
    for (int r = 0; r < results; ++r) finish(r, i, sum[r]);
  }
  for (; i + kGroup <= count; i += kGroup) {
    Vec<A> sum[results][group];
    sum_block(rows, s, i, sum);
    for (int r = 0; r < results; ++r) finish(r, i, sum[r]);
  }
  for (; i < count; i += L) {
    Vec<A> sum[results][1];
    sum_block(rows, s, i, sum);
    for (int r = 0; r < results; ++r) finish(r, i, sum[r]);
  }
}

template <class A>
struct StoreSums {
  A* to[2];
  template <int vectors>
  FASTGAN_INLINE void operator()(int r, int64_t i, const Vec<A> (&sum)[vectors]) const {
    for (int j = 0; j < vectors; ++j) store(sum[j], to[r] + i + j * Vec<A>::size);
  }
};

// to[r][i], i < count, with room up to a whole vector.
template <class A>
FASTGAN_INLINE void store_sums(const A* const* rows, const Sums<A>& s, int64_t count, A* first, A* second) {
  const StoreSums<A> finish{{first, second}};
  s.results == 2 ? each_sum<2>(rows, s, count, finish) : each_sum<1>(rows, s, count, finish);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

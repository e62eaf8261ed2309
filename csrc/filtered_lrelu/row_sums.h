// The inner loops of filtered_lrelu on a CPU. A row holds a vector at each column, a lane of it for each of several
// planes: FIRs along y and along x are weighted sums of such vectors, all aligned, whatever the width or the factors.
#pragma once
#include <cstdint>
#include <utility>

#include "common/vec.h"

namespace fastgan {
namespace FASTGAN_ISA {

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

// Columns that are summed at a time: with as many sums and what they are summed from, no more than all registers.
constexpr int kColumns = kVectorBytes == 64 ? 8 : 4;

// f<columns>(first) over `count` columns; the last whole block may overlap the one before.
template <class F>
FASTGAN_INLINE void each_block(int64_t count, const F& f) {
  if (count < kColumns) {
    for (int64_t i = 0; i < count; ++i) f(std::integral_constant<int, 1>{}, i);
    return;
  }
  for (int64_t i = 0; i < count; i += kColumns)
    f(std::integral_constant<int, kColumns>{}, i + kColumns <= count ? i : count - kColumns);
}

// Taps that meet neighbouring samples: the polyphase component of a FIR that begins with `tap`.
struct Run {
  int64_t first;  // sample that result 0 begins with
  int64_t count, tap;
};

// Result i is the sum over rows, runs and k < count of weight * row[(i + k) * runs + first].
template <class A>
struct AlongX {
  int64_t rows, runs;
  const Run* run;   // [runs]
  const A* weight;  // [rows, runs, count]
  bool mirrored;    // row r has the weights of row rows - 1 - r: both are added first
  // Of two results, which have the same weights, but the rows in opposite orders: [2, rows / 2, runs, count], for the sums
  // of rows r and rows - 1 - r, then for their differences. What both give makes, added, the first result, subtracted, the
  // second.
  bool pair;
};

// As many taps as a filter of StyleGAN3 has a sample: their samples are loaded once for a block.
constexpr int kTaps = 6;

template <int taps, int columns, class A, class Step, class F>
FASTGAN_INLINE void add_taps(const F& sample, Step step, const A* weight, Vec<A> (&sum)[columns]) {
  Vec<A> x[columns + taps - 1];
  unrolled<columns + taps - 1>(FASTGAN_EACH(i) { x[i] = sample(i * step * Vec<A>::size); });
  unrolled<taps>(FASTGAN_EACH(k) {
    const Vec<A> w(weight[k]);
    unrolled<columns>(FASTGAN_EACH(i) { sum[i] = w * x[i + k] + sum[i]; });
  });
}

// One row of samples, or more that are one by `sample`(number). Returns its end in `weight`.
template <int columns, class A, class Step, class F>
FASTGAN_INLINE const A* add_row(const AlongX<A>& s, Step step, int64_t i, const A* weight, Vec<A> (&sum)[columns], const F& sample) {
  for (int64_t r = 0; r < s.runs; ++r) {
    int64_t at = (i * step + s.run[r].first) * Vec<A>::size, left = s.run[r].count;
    const auto from = [&](int64_t offset) __attribute__((always_inline)) { return sample(at + offset); };
    for (; left >= kTaps; left -= kTaps, weight += kTaps, at += kTaps * step * Vec<A>::size) {
      __asm__("" : "+r"(at));  // else compilers carry samples to the next turn, which there hardly is, and spill them
      add_taps<kTaps>(from, step, weight, sum);
    }
    for (; left > 0; --left, ++weight, at += step * Vec<A>::size) add_taps<1>(from, step, weight, sum);
  }
  return weight;
}

// A step that is a constant spares the addresses of every vector.
template <class A, class Step, class Mirrored>
inline void sum_runs(const A* const* rows, const AlongX<A>& s, Step step, Mirrored mirrored, int64_t count, A* to,
                     int64_t apart) {
  each_block(count, [&](auto columns, int64_t i) __attribute__((always_inline)) {
    Vec<A> sum[columns] = {};
    const A* weight = s.weight;
    int64_t row = 0, last = s.rows - 1;
    for (; mirrored && row < last; ++row, --last) {
      const A *const one = rows[row], *const other = rows[last];
      weight = add_row(s, step, i, weight, sum, [&](int64_t at) __attribute__((always_inline)) {
        return load(one + at) + load(other + at);
      });
    }
    for (; row <= last; ++row) {
      const A* const one = rows[row];
      weight = add_row(s, step, i, weight, sum, [&](int64_t at) __attribute__((always_inline)) { return load(one + at); });
    }
    unrolled<columns>(FASTGAN_EACH(c) { store(sum[c], to + (i + c) * apart * Vec<A>::size); });
  });
}

// to[i * apart], i < count.
template <class A>
inline void sum_along_x(const A* const* rows, const AlongX<A>& s, int64_t count, A* to, int64_t apart) {
  const auto sum = [&](auto step) {
    s.mirrored ? sum_runs(rows, s, step, std::true_type{}, count, to, apart)
               : sum_runs(rows, s, step, std::false_type{}, count, to, apart);
  };
  if (s.runs == 1) sum(std::integral_constant<int64_t, 1>{});
  else if (s.runs == 2) sum(std::integral_constant<int64_t, 2>{});
  else sum(s.runs);
}

// Of a pair, of one run, at once.
template <class A>
inline void sum_pair_along_x(const A* const* rows, const AlongX<A>& s, int64_t count, A* first, A* second, int64_t apart) {
  const std::integral_constant<int64_t, 1> step;
  each_block(count, [&](auto columns, int64_t i) __attribute__((always_inline)) {
    Vec<A> even[columns] = {}, odd[columns] = {};
    const A* weight = s.weight;
    for (int64_t row = 0; row < s.rows / 2; ++row) {
      const A *const one = rows[row], *const other = rows[s.rows - 1 - row];
      weight = add_row(s, step, i, weight, even, [&](int64_t at) __attribute__((always_inline)) {
        return load(one + at) + load(other + at);
      });
    }
    for (int64_t row = 0; row < s.rows / 2; ++row) {
      const A *const one = rows[row], *const other = rows[s.rows - 1 - row];
      weight = add_row(s, step, i, weight, odd, [&](int64_t at) __attribute__((always_inline)) {
        return load(one + at) - load(other + at);
      });
    }
    unrolled<columns>(FASTGAN_EACH(c) {
      store(even[c] + odd[c], first + (i + c) * apart * Vec<A>::size);
      store(even[c] - odd[c], second + (i + c) * apart * Vec<A>::size);
    });
  });
}

// One result of a FIR along y, or two neighbouring ones that have rows in common: those before row `both` are of the first
// alone, those from `second` on of the second.
template <class A>
struct AlongY {
  int64_t first;  // row
  int64_t rows, both, second;
  const A* weight[2];  // of each result from its own first row on
  int results() const { return weight[1] ? 2 : 1; }
};

template <int results, class A>
inline void sum_rows(const A* const* rows, const AlongY<A>& s, int64_t count, A* const* to) {
  constexpr int L = Vec<A>::size;
  each_block(count, [&](auto columns, int64_t i) __attribute__((always_inline)) {
    Vec<A> sum[results][columns];
    unrolled<results>(FASTGAN_EACH(r) { unrolled<columns>(FASTGAN_EACH(c) { sum[r][c] = Vec<A>(A(0)); }); });
    const auto add = [&](int64_t row, auto first, auto last) __attribute__((always_inline)) {
      Vec<A> w[results];
      unrolled<results>(FASTGAN_EACH(r) {
        if constexpr (r >= first && r <= last) w[r] = Vec<A>(s.weight[r][row - (r == 0 ? 0 : s.both)]);
      });
      unrolled<columns>(FASTGAN_EACH(c) {
        const Vec<A> x = load(rows[row] + (i + c) * L);
        unrolled<results>(FASTGAN_EACH(r) {
          if constexpr (r >= first && r <= last) sum[r][c] = w[r] * x + sum[r][c];
        });
      });
    };
    constexpr std::integral_constant<int, 0> zero;
    constexpr std::integral_constant<int, results - 1> last;
    int64_t row = 0;
    for (; row < s.both; ++row) add(row, zero, zero);
    for (; row < s.second; ++row) add(row, zero, last);
    for (; row < s.rows; ++row) add(row, last, last);
    unrolled<results>(FASTGAN_EACH(r) {
      unrolled<columns>(FASTGAN_EACH(c) { store(sum[r][c], to[r] + (i + c) * L); });
    });
  });
}

// to[result][i], i < count.
template <class A>
inline void sum_along_y(const A* const* rows, const AlongY<A>& s, int64_t count, A* const* to) {
  s.results() == 2 ? sum_rows<2>(rows, s, count, to) : sum_rows<1>(rows, s, count, to);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// The FIRs of filtered_lrelu on a CPU as weighted sums without inserted zeros and without what decimation drops: which
// samples a result is summed from, and their weights in the order in which they are met.
#pragma once
#include "common/parallel.h"
#include "filtered_lrelu/filtered_lrelu.h"
#include "filtered_lrelu/row_sums.h"

namespace fastgan {
namespace FASTGAN_ISA {

inline int64_t floor_divided(int64_t a, int64_t b) { return a / b - (a % b < 0); }
inline int64_t divided_up(int64_t a, int64_t b) { return -floor_divided(-a, b); }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// One axis of a FIR. Up: a run for each phase of the results, r that of result r. Down: all are of result 0, run r the
// taps r, r + factor, ...
struct Runs {
  const int64_t factor, taps, phases;
  const Scratch<Run> run;
  Runs(bool up, int64_t step, int64_t count, int64_t pad) : factor(step), taps(count), phases(up ? step : 1), run(step) {
    for (int64_t r = 0; r < factor; ++r) {
      const int64_t tap = up ? pad - r - floor_divided(pad - r, factor) * factor : r;
      run.get()[r] = {up ? (r - pad + tap) / factor : r - pad, larger(divided_up(taps - tap, factor), 0), tap};
    }
  }
  const Run& operator[](int64_t i) const { return run.get()[i]; }
};

// The sums of a FIR along x, of a full filter along both axes, for each pair of phases.
template <class A>
class SumsX {
 public:
  SumsX(const Runs& y, const Runs& x, bool full, const double* kernel)
      : phases(x.phases), weights(x.taps * (full ? y.taps : 1)), sums(phases * (full ? y.phases : 1)) {
    bool mirrored = full;
    for (int64_t k = 0; mirrored && k < y.taps * x.taps; ++k)
      mirrored = kernel[k] == kernel[(y.taps - 1 - k / x.taps) * x.taps + k % x.taps];
    A* weight = weights.get();
    const bool up = phases > 1;
    const int64_t runs = x.factor / phases, step = up ? y.factor : 1;
    for (int64_t i = 0; i < phases * (full ? y.phases : 1); ++i) {
      const int64_t phase = i / phases, tap = full && up ? y[phase].tap : 0, rows = full ? (up ? y[phase].count : y.taps) : 1;
      const Run* const run = &x[i % phases];
      const bool pair = mirrored && y.phases == 2 && y.taps % 4 == 0 && y[phase].first == y[1 - phase].first + phase;
      pairs = pairs || pair;
      sums.get()[i] = {rows, runs, run, weight, mirrored && !up, pair};
      // Half the difference of rows row and rows - 1 - row, half their sum, or a row.
      const auto put = [&](int64_t row, double sign) {
        for (int64_t r = 0; r < runs; ++r)
          for (int64_t k = 0; k < run[r].count; ++k) {
            const double* const at = kernel + run[r].tap + k * x.factor;
            const double one = at[(tap + row * step) * x.taps], other = at[(tap + (rows - 1 - row) * step) * x.taps];
            *weight++ = A(sign == 0 ? one : (one + sign * other) / 2);
          }
      };
      for (int64_t row = 0; row < rows; ++row) pair ? put(row % (rows / 2), row < rows / 2 ? 1 : -1) : put(row, 0);
    }
  }
  bool pairs = false;  // of some phases
  const AlongX<A>& at(int64_t phase_y, int64_t phase_x) const { return sums.get()[phase_y * phases + phase_x]; }

 private:
  const int64_t phases;
  const Scratch<A> weights;
  const Scratch<AlongX<A>> sums;
};

// The sums of a separable FIR along y for each phase: of that result, with the next one where they have rows in common.
// Of a full filter, without a kernel, only the rows of each result, or of those `pairs` that are of the same rows.
template <class A>
class SumsY {
 public:
  SumsY(bool up, const Runs& y, const double* kernel, bool pairs = false) : weights(y.taps), sums(y.phases) {
    const Scratch<const A*> own(y.phases);
    const auto count = [&](int64_t p) { return up ? y[p].count : y.taps; };
    A* weight = weights.get();
    for (int64_t p = 0; p < y.phases; ++p) {
      own.get()[p] = weight;
      for (int64_t k = 0; kernel && k < count(p); ++k) *weight++ = A(kernel[up ? y[p].tap + k * y.factor : k]);
    }
    for (int64_t p = 0; p < y.phases; ++p) {
      const int64_t next = (p + 1) % y.phases, ahead = next > 0 ? 0 : up ? 1 : y.factor;
      const int64_t first = y[p].first, end = first + count(p), second = y[next].first + ahead, last = second + count(next);
      const bool pair = kernel ? second < end && end <= last : pairs && first == second && end == last;
      sums.get()[p] = pair ? AlongY<A>{first, last - first, second - first, end - first, {own.get()[p], own.get()[next]}}
                           : AlongY<A>{first, end - first, end - first, end - first, {own.get()[p], nullptr}};
      most = larger(most, sums.get()[p].rows);
    }
  }
  const AlongY<A>& at(int64_t phase) const { return sums.get()[phase]; }
  int64_t most = 1;  // rows

 private:
  const Scratch<A> weights;
  const Scratch<AlongY<A>> sums;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

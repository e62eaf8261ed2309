// The terms of both FIRs of filtered_lrelu, worked out once a call. A row of the middle is stored class by class (see
// FilteredLreluArgs::mask), and so are those of the input, which has S / up classes, and of the result, which has
// S / down: then each FIR is a weighted sum of rows at fixed offsets.
#pragma once
#include "common/parallel.h"
#include "filtered_lrelu/filtered_lrelu.h"
#include "filtered_lrelu/weighted_sums.h"

namespace fastgan {
namespace FASTGAN_ISA {

inline int64_t floor_divided(int64_t a, int64_t b) { return a / b - (a % b < 0); }
inline int64_t remainder_of(int64_t a, int64_t b) { return a - floor_divided(a, b) * b; }
inline int64_t rounded_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// The taps of an up-sampling FIR that meet samples, for the j-th number of the middle: taps tap, tap + up, ... and inputs
// first, first + 1, ...
struct UpTerms {
  int64_t tap, first, count;
  UpTerms(const FilteredAxis& axis, int64_t up, int64_t j) {
    tap = remainder_of(axis.pad - j, up);
    first = (j - axis.pad + tap) / up;
    count = tap < axis.up_taps ? (axis.up_taps - tap + up - 1) / up : 0;
  }
};

// What one or two neighbouring results along an axis are summed from: source k is number source(k) of the input of that
// FIR, and its tap for result r is tap(k, r), -1 where it is none of its terms.
class TermList {
 public:
  explicit TermList(int64_t most) : source_(2 * most), tap_(4 * most) {}
  int results = 1, count = 0;
  int64_t source(int k) const { return source_.get()[k]; }
  int64_t tap(int k, int r) const { return tap_.get()[2 * k + r]; }

  // A pair only where most terms are of both.
  template <class F>
  void fill(const F& terms_of, bool second) {
    count = 0;
    results = 1;
    terms_of(0, [&](int64_t source, int64_t tap) { add(source, tap, 0); });
    if (!second) return;
    const int alone = count;
    int more = 0;
    terms_of(1, [&](int64_t source, int64_t tap) { add(source, tap, 1), ++more; });
    if (3 * count <= 2 * (alone + more)) {
      results = 2;
    } else {
      count = alone;
      for (int k = 0; k < count; ++k) tap_.get()[2 * k + 1] = -1;
    }
  }

 private:
  void add(int64_t source, int64_t tap, int r) {
    int k = 0;
    while (k < count && source_.get()[k] != source) ++k;
    if (k == count) {
      source_.get()[k] = source;
      tap_.get()[2 * k] = tap_.get()[2 * k + 1] = -1;
      ++count;
    }
    tap_.get()[2 * k + r] = tap;
  }
  const Scratch<int64_t> source_, tap_;
};

// A sum with memory of its own, and where along its axis its terms come from.
template <class A>
class OwnSums {
 public:
  OwnSums() = default;
  OwnSums(const OwnSums&) = delete;
  OwnSums& operator=(const OwnSums&) = delete;
  ~OwnSums() {
    delete offset_, delete in_, delete weight_, delete source_;
  }
  Sums<A> sums{1, 0, 0, nullptr, nullptr, nullptr};

  void reserve(int64_t rows, int64_t terms) {
    const int64_t all = rows * terms > 0 ? rows * terms : 1;
    offset_ = new Scratch<int64_t>(terms > 0 ? terms : 1);
    in_ = new Scratch<uint8_t>(all);
    weight_ = new Scratch<A>(2 * all);
  }
  int64_t& offset(int term) { return offset_->get()[term]; }

  // rows x terms, of which tap(row, term, r) tells the weight's place in `kernel`, or -1.
  template <class F>
  void fill(int results, int rows, int terms, const double* kernel, const F& tap) {
    for (int row = 0; row < rows; ++row)
      for (int term = 0; term < terms; ++term) {
        const int at = row * terms + term;
        in_->get()[at] = 0;
        for (int r = 0; r < results; ++r) {
          const int64_t k = tap(row, term, r);
          if (k >= 0) in_->get()[at] = uint8_t(in_->get()[at] | 1 << r);
          weight_->get()[at * results + r] = k >= 0 ? A(kernel[k]) : A(0);
        }
      }
    sums = {results, rows, terms, offset_->get(), in_->get(), weight_->get()};
  }

  // The sources of a list.
  void remember(const TermList& list) {
    count_ = list.count, results_ = list.results;
    source_ = new Scratch<int64_t>(count_ > 0 ? count_ : 1);
    lowest_ = highest_ = count_ > 0 ? list.source(0) : 0;
    for (int k = 0; k < count_; ++k) {
      const int64_t s = source_->get()[k] = list.source(k);
      lowest_ = s < lowest_ ? s : lowest_;
      highest_ = s > highest_ ? s : highest_;
    }
  }
  int count() const { return count_; }
  int results() const { return results_; }
  int64_t source(int k) const { return source_->get()[k]; }
  int64_t lowest() const { return lowest_; }
  int64_t highest() const { return highest_; }
  int64_t extent() const { return highest_ - lowest_ + 1; }

 private:
  Scratch<int64_t>* offset_ = nullptr;
  Scratch<uint8_t>* in_ = nullptr;
  Scratch<A>* weight_ = nullptr;
  Scratch<int64_t>* source_ = nullptr;
  int count_ = 0, results_ = 1;
  int64_t lowest_ = 0, highest_ = 0;
};

// As many sums as a call may have.
template <class A>
class SumTable {
 public:
  explicit SumTable(int64_t count) : own_(new OwnSums<A>[size_t(count)]) {}
  ~SumTable() { delete[] own_; }
  SumTable(const SumTable&) = delete;
  SumTable& operator=(const SumTable&) = delete;
  OwnSums<A>& make(int64_t i, int64_t rows, int64_t terms) {
    own_[i].reserve(rows, terms);
    return own_[i];
  }
  const OwnSums<A>& at(int64_t i) const { return own_[i]; }

 private:
  OwnSums<A>* own_;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

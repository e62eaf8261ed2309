// filtered_lrelu on the CPU, plane after plane. Input rows are up-sampled along x, a few of them summed along y into a row
// of the middle, which goes through the leaky ReLU while it is in registers; a few of those are summed along y, and that
// row filtered along x. All rows between x and y stay in rings of the L1 or L2 cache: x is read once, y and the mask are
// written once. Polyphase: inserted zeros are never multiplied, decimated numbers never computed. Most products are made
// along y, where loads are aligned.
#include <type_traits>

#include "bias_act/formula.h"
#include "common/parallel.h"
#include "filtered_lrelu/fir_lists.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

// What happens to the middle, from the sums of the first FIR to the rows `to`. In whole groups.
template <class A, bool masked, bool keep>
struct Middle {
  Limit<Vec<A>> limit;
  Slopes<Vec<A>> slopes;
  SlopeTable<A> table;
  A* to[2];
  uint8_t* mask[2];
  explicit Middle(const FilteredLreluArgs& a) : limit(a), slopes(a, a.slope), table(A(a.gain * a.slope), A(a.gain)) {}

  template <int vectors>
  FASTGAN_INLINE void operator()(int r, int64_t i, const Vec<A> (&sum)[vectors]) const {
    if constexpr (vectors == kGroup / Vec<A>::size) {
      Mask<A> positive[vectors], clamped[vectors];
      uint32_t bits = 0;
      if constexpr (masked) __builtin_memcpy(&bits, mask[r] + i / 4, 4);
      unrolled<vectors>(FASTGAN_EACH(j) {
        Vec<A> y;
        if constexpr (masked) {
          y = times_slope(sum[j], table.at(bits, j));
        } else {
          y = slopes.value(sum[j]);
          if constexpr (keep) positive[j] = slopes.rises(sum[j]), clamped[j] = limit.stops(y);
          y = limit.clamp(y);  // which is infinite where there is none
        }
        store(y, to[r] + i + j * Vec<A>::size);
      });
      if constexpr (keep) {
        bits = pack_sign_mask(positive, clamped);
        __builtin_memcpy(mask[r] + i / 4, &bits, 4);
      }
    }
  }
};

// What images of type T are computed in is A: they are of another type where they are read and written alone.
template <class A>
class Filtered {
 public:
  explicit Filtered(const FilteredLreluArgs& args)
      : a(args), y(args.axis_y), x(args.axis_x), classes(filtered_classes(a.up, a.down)), in_classes(classes / a.up),
        out_classes(classes / a.down), columns(filtered_columns(x.middle, classes)), mask_row(filtered_mask_row(x.middle, classes)),
        out_columns(rounded_up(divided_up(x.out, out_classes), Vec<A>::size)), list(x.up_taps + x.down_taps + y.up_taps + y.down_taps),
        across(classes * (a.up_full ? a.up : 1)), along(a.up), across_down(out_classes) {
    list_up();
    list_down();
  }

  void run() const {
    const int64_t planes = a.n * a.channels;
    const int threads = thread_count(planes * y.middle * x.middle);
    int64_t numbers = 0;
    Work counted;
    divide(counted, [&](int64_t count) -> A* {
      numbers += room(count);
      return nullptr;
    });
    // No two threads write to the same lines of a cache, nor to neighbouring ones, which are fetched together.
    const int64_t pointers_apart = rounded_up(most_rows, kApart / sizeof(A*)), bits_apart = rounded_up(mask_row, kApart);
    numbers = rounded_up(numbers, kApart / sizeof(A));
    const Scratch<A> memory(numbers * threads);
    const Scratch<const A*> pointers(pointers_apart * threads);
    const Scratch<double> totals(planes);
    const Scratch<uint8_t> bits(bits_apart * threads);
    const Scratch<Work> works(threads);
    for (int64_t i = 0; i < numbers * threads; ++i) memory.get()[i] = A(0);
    for (int64_t thread = 0; thread < threads; ++thread) {
      Work& w = works.get()[thread];
      A* next = memory.get() + thread * numbers;
      divide(w, [&](int64_t count) {
        A* const at = next;
        next += room(count);
        return at;
      });
      w.rows = pointers.get() + thread * pointers_apart;
      w.spare_bits = bits.get() + thread * bits_apart;
    }
    const auto each = [&](const auto& pass) {
      parallel_tasks(planes, threads, [&](int64_t plane, int thread) {
        Work& w = works.get()[thread];
        w.plane = plane;
        totals.get()[plane] = filter_plane(w, pass);
      });
    };
    if (a.masked) each(Middle<A, true, false>(a));
    else if (a.mask) each(Middle<A, false, true>(a));
    else each(Middle<A, false, false>(a));
    if (!a.db) return;
    for (int64_t c = 0; c < a.channels; ++c) {  // always in the same order
      double sum = 0;
      for (int64_t n = 0; n < a.n; ++n) sum += totals.get()[n * a.channels + c];
      of_images([&](auto* type) { narrow(A(sum), static_cast<decltype(type)>(a.db)[c]); });
    }
  }

 private:
  static int64_t divided_up(int64_t n, int64_t d) { return (n + d - 1) / d; }
  static int64_t smaller(int64_t p, int64_t q) { return p < q ? p : q; }
  static int64_t larger(int64_t p, int64_t q) { return p > q ? p : q; }

  static constexpr int64_t kApart = 128;  // bytes

  // What one thread has in hand for a plane.
  struct alignas(kApart) Work {
    int64_t plane;
    A* input;             // one row, by classes, of a separable filter
    A* ring_up;           // [up_rows, up_row] rows that the first FIR sums along y
    A* ring_middle;       // [middle_rows, middle_row]
    A* vertical;          // [2, middle_row] sums of those along y
    A* result;            // [2, out_classes * out_columns]
    A* spare;             // a row of the middle that nothing reads
    const A* zeros;       // a row outside of either ring's image
    const A** rows;       // what is summed next
    uint8_t* spare_bits;  // the mask of `spare`
    int64_t next_input, next_middle;
  };

  // The memory of each part by take(numbers), which gives none where it only counts.
  template <class F>
  void divide(Work& w, const F& take) const {
    w.input = take(in_classes * in_row);
    w.ring_up = take(up_rows * up_row);
    w.ring_middle = take(middle_rows * middle_row);
    w.vertical = take(2 * middle_row);
    w.result = take(2 * out_classes * out_columns);
    w.spare = take(middle_row);
    w.zeros = take(larger(up_row, middle_row) + columns);
  }
  static int64_t room(int64_t numbers) { return rounded_up(numbers + Vec<A>::size, kGroup); }

  // Along x: a sum for each class of the middle, or for two; of a full filter for each of the phases of its rows. Along y,
  // of a separable one: a sum for each phase of the first of its rows.
  void list_up() {
    int64_t low = 0, high = 0;
    for (int64_t s = 0; s < classes; ++s) {
      const UpTerms terms(x, a.up, s);
      const int64_t first = floor_divided(terms.first, in_classes),
                    last = floor_divided(terms.first + terms.count - 1, in_classes);
      low = s == 0 ? first : smaller(low, first);
      high = s == 0 ? last : larger(high, last);
    }
    in_low = low;
    in_row = rounded_up(columns + larger(high - low, 0) + 1, kGroup);
    const auto fill_across = [&](OwnSums<A>& own, int64_t rows, int64_t tap_y, int64_t across_taps) {
      for (int k = 0; k < list.count; ++k) {
        const int64_t e = list.source(k);
        own.offset(k) = remainder_of(e, in_classes) * in_row + floor_divided(e, in_classes) - in_low;
      }
      own.fill(list.results, int(rows), list.count, a.up_x, [&](int row, int term, int r) {
        const int64_t tap = list.tap(term, r);
        return tap < 0 ? tap : (tap_y + row * a.up) * across_taps + tap;
      });
    };
    int64_t extent = 1;
    groups = 0;
    for (int64_t s = 0; s < classes; ++groups) {
      list.fill([&](int r, auto add) {
        const UpTerms terms(x, a.up, s + r);
        for (int64_t k = 0; k < terms.count; ++k) add(terms.first + k, terms.tap + k * a.up);
      }, s + 1 < classes);
      if (a.up_full) {
        for (int64_t phase = 0; phase < a.up; ++phase) {
          const UpTerms down(y, a.up, phase);
          fill_across(across.make(groups * a.up + phase, larger(down.count, 0), list.count), down.count, down.tap, x.up_taps);
        }
      } else {
        fill_across(across.make(groups, 1, list.count), 1, 0, 0);
      }
      s += list.results;
    }
    for (int64_t phase = 0; phase < a.up; ++phase) {
      list.fill([&](int r, auto add) {
        const UpTerms terms(y, a.up, phase + r);
        for (int64_t k = 0; k < terms.count; ++k) add(terms.first + k, terms.tap + k * a.up);
      }, !a.up_full);
      OwnSums<A>& own = along.make(phase, larger(list.count, 1), 1);
      own.offset(0) = 0;
      if (!a.up_full)
        own.fill(list.results, list.count, 1, a.up_y, [&](int row, int, int r) { return list.tap(row, r); });
      own.remember(list);
      extent = larger(extent, own.extent());
      most_rows = larger(most_rows, list.count);
    }
    up_row = a.up_full ? in_classes * in_row : classes * columns;
    up_rows = extent + 1;
  }

  // Along y: a sum for a result or two; along x one for each class of the result.
  void list_down() {
    list.fill([&](int r, auto add) {
      for (int64_t k = 0; k < y.down_taps; ++k) add(r * a.down + k - y.inner, k);
    }, true);
    down_sums.reserve(list.count, 1);
    down_sums.offset(0) = 0;
    if (!a.down_full)
      down_sums.fill(list.results, list.count, 1, a.down_y, [&](int row, int, int r) { return list.tap(row, r); });
    down_sums.remember(list);
    middle_rows = down_sums.extent() + 2;
    most_rows = larger(most_rows, list.count);
    int64_t low = 0, high = 0;
    for (int64_t t = 0; t < out_classes; ++t) {
      low = smaller(low, floor_divided(t * a.down - x.inner, classes));
      high = larger(high, floor_divided(t * a.down - x.inner + x.down_taps - 1, classes));
    }
    left = rounded_up(-low, kGroup);
    class_row = rounded_up(left + larger(columns, out_columns + high), kGroup);
    middle_row = classes * class_row;
    for (int64_t t = 0; t < out_classes; ++t) {
      const int rows = a.down_full ? list.count : 1, results = a.down_full ? list.results : 1;
      OwnSums<A>& own = across_down.make(t, rows, x.down_taps);
      for (int64_t k = 0; k < x.down_taps; ++k) {
        const int64_t m = t * a.down + k - x.inner;
        own.offset(int(k)) = remainder_of(m, classes) * class_row + floor_divided(m, classes) + left;
      }
      own.fill(results, rows, int(x.down_taps), a.down_x, [&](int row, int term, int r) -> int64_t {
        if (!a.down_full) return term;
        const int64_t tap = list.tap(row, r);
        return tap < 0 ? tap : tap * x.down_taps + term;
      });
    }
  }

  // Returns the sum of its result.
  template <class Pass>
  double filter_plane(Work& w, const Pass& pass) const {
    const int64_t results = down_sums.results();
    w.next_middle = larger(0, down_sums.lowest());
    w.next_input = w.next_middle < y.middle ? larger(0, UpTerms(y, a.up, w.next_middle).first) : 0;
    Pass middle = pass;
    double total = 0;
    for (int64_t o = 0; o < y.out; o += results) {
      make_middle(w, middle, smaller(down_sums.highest() + o * a.down + 1, y.middle));
      for (int k = 0; k < down_sums.count(); ++k) {
        const int64_t m = down_sums.source(k) + o * a.down;
        w.rows[k] = m >= 0 && m < y.middle ? w.ring_middle + m % middle_rows * middle_row : w.zeros;
      }
      const int64_t size = out_classes * out_columns;
      if (a.down_full) {
        for (int64_t t = 0; t < out_classes; ++t)
          store_sums(w.rows, across_down.at(t).sums, out_columns, w.result + t * out_columns,
                     w.result + size + t * out_columns);
      } else {
        store_sums(w.rows, down_sums.sums, middle_row, w.vertical, w.vertical + middle_row);
        for (int64_t r = 0; r < results && o + r < y.out; ++r) {
          const A* const row = w.vertical + r * middle_row;
          for (int64_t t = 0; t < out_classes; ++t)
            store_sums<A>(&row, across_down.at(t).sums, out_columns, w.result + r * size + t * out_columns, nullptr);
        }
      }
      for (int64_t r = 0; r < results && o + r < y.out; ++r)
        of_images([&](auto* type) { total += write_row(type, w, o + r, w.result + r * size); });
    }
    if (!a.masked && a.mask) make_middle(w, middle, y.middle);  // what no result sees has its bits too
    return total;
  }

  // Rows of the middle up to `end`.
  template <class Pass>
  void make_middle(Work& w, Pass& middle, int64_t end) const {
    while (w.next_middle < end) {
      const int64_t j = w.next_middle, phase = j % a.up, shift = (j - phase) / a.up;
      const OwnSums<A>& own = along.at(phase);
      if (own.count() > 0) make_inputs(w, smaller(own.highest() + shift + 1, y.in));
      for (int k = 0; k < own.count(); ++k) {
        const int64_t i = own.source(k) + shift;
        w.rows[k] = i >= 0 && i < y.in ? w.ring_up + i % up_rows * up_row : w.zeros;
      }
      const int64_t results = own.results();
      A* to[2];
      uint8_t* bits[2];
      for (int64_t r = 0; r < results; ++r) {
        const bool inside = j + r < y.middle;
        to[r] = (inside ? w.ring_middle + (j + r) % middle_rows * middle_row : w.spare) + left;
        bits[r] = inside && a.mask ? a.mask + (w.plane * y.middle + j + r) * mask_row : w.spare_bits;
      }
      if (a.up_full) {
        for (int64_t g = 0, s = 0; g < groups; ++g) {
          const Sums<A>& sums = across.at(g * a.up + phase).sums;
          for (int r = 0; r < sums.results; ++r) {
            middle.to[r] = to[0] + (s + r) * class_row;
            middle.mask[r] = bits[0] + (s + r) * columns / 4;
          }
          through(w.rows, sums, middle);
          s += sums.results;
        }
      } else {
        for (int64_t s = 0; s < classes; ++s) {
          for (int64_t r = 0; r < results; ++r) {
            middle.to[r] = to[r] + s * class_row;
            middle.mask[r] = bits[r] + s * columns / 4;
          }
          through(w.rows, own.sums, middle);
          for (int k = 0; k < own.count(); ++k) w.rows[k] += columns;
        }
      }
      for (int64_t r = 0; a.masked && r < results; ++r) clear_outside(to[r]);
      w.next_middle += results;
    }
  }

  template <class Pass>
  void through(const A* const* rows, const Sums<A>& sums, const Pass& middle) const {
    sums.results == 2 ? each_sum<2>(rows, sums, columns, middle) : each_sum<1>(rows, sums, columns, middle);
  }

  // Beyond the last column of the middle lie zeros: the sums there were of an image that goes on.
  void clear_outside(A* row) const {
    for (int64_t s = 0; s < classes; ++s)
      for (int64_t i = divided_up(larger(x.middle - s, 0), classes); i < columns; ++i) row[s * class_row + i] = A(0);
  }

  // Rows of the input, ready to be summed along y, up to `end`.
  void make_inputs(Work& w, int64_t end) const {
    for (; w.next_input < end; ++w.next_input) {
      A* const to = w.ring_up + w.next_input % up_rows * up_row;
      of_images([&](auto* type) { read_row(type, w, w.next_input, a.up_full ? to : w.input); });
      if (a.up_full) continue;
      const A* const row = w.input;
      for (int64_t g = 0, s = 0; g < groups; ++g) {
        const Sums<A>& sums = across.at(g).sums;
        store_sums(&row, sums, columns, to + s * columns, to + (s + 1) * columns);
        s += sums.results;
      }
    }
  }

  // f, given a pointer of the type of the images, null.
  template <class F>
  void of_images(const F& f) const {
    if constexpr (std::is_same<A, double>::value) f(static_cast<double*>(nullptr));
    else if (a.dtype == DType::f16) f(static_cast<Half*>(nullptr));
    else if (a.dtype == DType::bf16) f(static_cast<BFloat16*>(nullptr));
    else f(static_cast<float*>(nullptr));
  }

  // Of images in memory: the first number of row i of a plane, and how far apart its numbers are.
  template <class P>
  P* row_of(P* images, int64_t plane, int64_t i, int64_t height, int64_t width) const {
    if (!a.channels_last) return images + (plane * height + i) * width;
    return images + (plane / a.channels * height + i) * width * a.channels + plane % a.channels;
  }

  // With its bias, by classes; what lies outside the image was 0 from the start.
  template <class T>
  void read_row(const T*, const Work& w, int64_t i, A* to) const {
    const T* const from = row_of(static_cast<const T*>(a.x), w.plane, i, y.in, x.in);
    const A bias = a.b ? widen(static_cast<const T*>(a.b)[w.plane % a.channels]) : A(0);
    const int64_t pixel = a.channels_last ? a.channels : 1, first = larger(in_low, 0);
    for (int64_t r = 0; r < in_classes; ++r, to += in_row) {
      int64_t e = first;
      const int64_t end = smaller(divided_up(larger(x.in - r, 0), in_classes), in_low + in_row);
      if (in_classes * pixel == 1)
        for (; e + Vec<A>::size <= end; e += Vec<A>::size) store(load(from + e) + Vec<A>(bias), to + e - in_low);
      for (; e < end; ++e) to[e - in_low] = widen(from[(e * in_classes + r) * pixel]) + bias;
    }
  }

  // Returns the sum of its numbers.
  template <class T>
  double write_row(T*, const Work& w, int64_t o, const A* from) const {
    T* const to = row_of(static_cast<T*>(a.y), w.plane, o, y.out, x.out);
    const int64_t pixel = a.channels_last ? a.channels : 1;
    double total = 0;
    for (int64_t t = 0; t < out_classes; ++t, from += out_columns) {
      const int64_t count = divided_up(larger(x.out - t, 0), out_classes);
      int64_t q = 0;
      if (out_classes * pixel == 1)
        for (; q + Vec<A>::size <= count; q += Vec<A>::size) store(load(from + q), to + q);
      for (; q < count; ++q) narrow(from[q], to[(q * out_classes + t) * pixel]);
      if (!a.db) continue;
      Vec<A> sum(A(0));
      for (q = 0; q + Vec<A>::size <= count; q += Vec<A>::size) sum += load(from + q);
      A rest = sum_lanes(sum);
      for (; q < count; ++q) rest += from[q];
      total += double(rest);
    }
    return total;
  }

  const FilteredLreluArgs& a;
  const FilteredAxis &y, &x;
  const int64_t classes, in_classes, out_classes;
  const int64_t columns;      // of a class of the middle, whole groups
  const int64_t mask_row;     // bytes of a row of the mask
  const int64_t out_columns;  // of a class of the result, whole vectors
  int64_t in_low, in_row;     // first number that a class of the input holds, how many it does
  int64_t left, class_row;    // of a class of the middle in its ring: zeros before it, numbers in all
  int64_t up_row, up_rows, middle_row, middle_rows;
  int64_t groups = 0, most_rows = 1;
  TermList list;
  SumTable<A> across, along, across_down;
  OwnSums<A> down_sums;
};

}  // namespace

void filtered_lrelu(const FilteredLreluArgs& a) {
  a.dtype == DType::f64 ? Filtered<double>(a).run() : Filtered<float>(a).run();
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

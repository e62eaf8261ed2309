// filtered_lrelu on the CPU: as many planes at a time as a vector has lanes, row after row. A few rows of the input are
// summed along y, and that row along x to a row of the middle, which goes through the leaky ReLU, is summed along x, and
// a few of those along y; of full filters along both axes at once. All rows between x and y stay in rings of the L1 or L2
// cache: x is read once, y and the mask are written once.
#include <type_traits>

#include "common/parallel.h"
#include "filtered_lrelu/lane_rows.h"
#include "filtered_lrelu/lane_slopes.h"
#include "filtered_lrelu/polyphase.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

// What images of type T are computed in is A: they are of another type where they are read and written alone.
template <class A>
class Filtered {
 public:
  explicit Filtered(const FilteredLreluArgs& args)
      : a(args), y(a.axis_y), x(a.axis_x), up_y(true, a.up, y.up_taps, y.pad), up_x(true, a.up, x.up_taps, x.pad),
        down_y(false, a.down, y.down_taps, y.inner), down_x(false, a.down, x.down_taps, x.inner),
        first_x(up_y, up_x, a.up_full, a.up_x), second_x(down_y, down_x, a.down_full, a.down_x),
        first_y(true, up_y, a.up_full ? nullptr : a.up_y, first_x.pairs), second_y(false, down_y, a.down_full ? nullptr : a.down_y),
        slopes(a), images(a.channels_last ? a.n : 1), planes(a.n * a.channels / images),
        groups(divided_up(planes, L)) {
    int64_t before = 0, behind = 0;
    for (int64_t p = 0; p < a.up; ++p) {
      before = larger(before, -up_x[p].first);
      behind = larger(behind, divided_up(x.middle, a.up) + up_x[p].first + up_x[p].count - 1 - x.in);
    }
    const int64_t end = larger(x.middle, (x.out - 1) * a.down - x.inner + x.down_taps), ahead = larger(x.inner, 0);
    // The first FIR may be a row ahead of the second.
    input = place(first_y.most, before, x.in + behind);
    between = place(2, before, x.in + behind);
    middle = place(a.down_full ? second_y.most + 1 : first_x.pairs ? 2 : 1, ahead, end);
    filtered = place(a.down_full ? 0 : second_y.most + 1, 0, x.out);
    result = place(2, 0, x.out);
    zeros = place(1, larger(before, ahead), larger(larger(x.in + behind, end), x.out));
  }

  void run() const {
    const int threads = thread_count(a.n * a.channels * y.middle * x.middle);
    // Rows of the result are divided too where there are fewer groups of planes than threads.
    const int64_t most = larger(y.out / kBandRows, 1), wanted = divided_up(threads, images * groups);
    const int64_t band = rounded_up(divided_up(y.out, smaller(wanted, most)), 2), bands = divided_up(y.out, band);
    // No two threads write to the same lines of a cache, nor to neighbouring ones, which are fetched together.
    const auto apart = [](int64_t count, size_t size) { return rounded_up(count, kApart / int64_t(size)); };
    const int64_t own = apart(numbers, sizeof(A)), own_words = apart(slopes.row_words() * L, sizeof(Word)),
                  own_rows = apart(larger(first_y.most, second_y.most), sizeof(A*));
    const Scratch<A> memory(own * threads);
    const Scratch<Word> words(own_words * threads);
    const Scratch<const A*> rows(own_rows * threads);
    const Scratch<Work> works(threads);
    const Scratch<double> totals(a.db ? images * groups * L * y.out : 1);
    for (int64_t thread = 0; thread < threads; ++thread) {
      Work& w = works.get()[thread];
      w.memory = memory.get() + thread * own;
      w.words = words.get() + thread * own_words;
      w.rows = rows.get() + thread * own_rows;
      w.cleared = false;
    }
    parallel_long_tasks(images * groups * bands, threads, [&](int64_t task, int thread) {
      Work& w = works.get()[thread];
      for (int64_t i = 0; !w.cleared && i < numbers; ++i) w.memory[i] = A(0);  // zeros around images stay
      for (int64_t i = 0; !w.cleared && i < slopes.row_words() * L; ++i) w.words[i] = 0;
      w.cleared = true;
      const int64_t group = task / bands, first = task % bands * band;
      w.plane = group / groups * planes + group % groups * L;
      w.planes = int(smaller(planes - group % groups * L, L));
      filter_band(w, first, smaller(first + band, y.out), totals.get() + group * L * y.out);
    });
    if (a.db) sum_planes(totals.get());
  }

 private:
  static constexpr int L = Vec<A>::size;
  static constexpr int64_t kApart = 128;  // bytes
  static constexpr int64_t kBandRows = 16;

  static int64_t rounded_up(int64_t n, int64_t to) { return divided_up(n, to) * to; }

  using Word = typename LaneSlopes<A>::Int;

  // Rows in a thread's memory, with zeros before and behind those of an image; of a ring, the last ones. In numbers.
  struct Ring {
    int64_t at = 0, before = 0, size = 0, rows = 0;
    A* row(A* memory, int64_t i) const { return memory + at + i % rows * size + before; }
  };
  Ring place(int64_t rows, int64_t before, int64_t columns) {
    const Ring ring{numbers, before * L, (before + columns) * L, rows};
    numbers += rows * ring.size;
    return ring;
  }

  // What one thread has in hand.
  struct alignas(kApart) Work {
    A* memory;
    Word* words;     // of masks
    const A** rows;  // what is summed next
    int64_t plane;   // the first
    int planes;
    int64_t next_input, next_middle;
    bool cleared;
  };

  // The rows of a ring that a sum needs, from row `first` of an image of `height` rows.
  void find_rows(Work& w, const Ring& ring, int64_t first, int64_t count, int64_t height) const {
    for (int64_t i = first; i < first + count; ++i)
      w.rows[i - first] = i >= 0 && i < height ? ring.row(w.memory, i) : zeros.row(w.memory, 0);
  }

  // Rows `from` to `to` of the result. A row of the middle that several bands need is kept in the mask by the first.
  void filter_band(Work& w, int64_t from, int64_t to, double* totals) const {
    const AlongY<A>& sum = second_y.at(0);
    A* const rows[2] = {result.row(w.memory, 0), result.row(w.memory, 1)};
    const auto needed = [&](int64_t o) { return smaller(larger(o * a.down + sum.first + y.down_taps, 0), y.middle); };
    const bool keeps = a.mask && !a.masked;
    const int64_t kept_from = from == 0 ? 0 : needed(from - 1), kept_to = to == y.out ? y.middle : needed(to - 1);
    w.next_middle = keeps && from == 0 ? 0 : smaller(larger(from * a.down + sum.first, 0), y.middle);
    w.next_input = smaller(larger(w.next_middle / a.up + first_y.at(w.next_middle % a.up).first, 0), y.in);
    for (int64_t o = from; o < to; o += sum.results()) {
      const int64_t first = o * a.down + sum.first;
      make_middle(w, smaller(first + sum.rows, y.middle), kept_from, kept_to);
      if (a.down_full) {
        find_rows(w, middle, first, sum.rows, y.middle);
        sum_along_x(w.rows, second_x.at(0, 0), x.out, rows[0], 1);
      } else {
        find_rows(w, filtered, first, sum.rows, y.middle);
        sum_along_y(w.rows, sum, x.out, rows);
      }
      for (int64_t r = 0; r < sum.results() && o + r < to; ++r) {
        of_images([&](auto* type) {
          write_lanes(rows[r], row_of(static_cast<decltype(type)>(a.y), w, o + r, y.out, x.out));
        });
        if (a.db) sum_row(rows[r], totals + (o + r) * L);
      }
    }
    if (keeps) make_middle(w, kept_to, kept_from, kept_to);  // what no result sees has its bits too
  }

  // Rows of the middle up to `end`.
  void make_middle(Work& w, int64_t end, int64_t kept_from, int64_t kept_to) const {
    A* const rows[2] = {between.row(w.memory, 0), between.row(w.memory, 1)};
    while (w.next_middle < end) {
      const int64_t phase = w.next_middle % a.up;
      const AlongY<A>& sum = first_y.at(phase);
      const int64_t first = w.next_middle / a.up + sum.first;
      for (const int64_t last = smaller(first + sum.rows, y.in); w.next_input < last; ++w.next_input) read_row(w);
      find_rows(w, input, first, sum.rows, y.in);
      if (!a.up_full) sum_along_y(w.rows, sum, x.in, rows);
      for (int64_t p = 0; a.up_full && p < a.up; ++p) {
        const AlongX<A>& along = first_x.at(phase, p);
        A *const row = middle.row(w.memory, w.next_middle), *const next = middle.row(w.memory, w.next_middle + 1);
        if (along.pair) sum_pair_along_x(w.rows, along, columns_of(p), row + p * L, next + p * L, a.up);
        else sum_along_x(w.rows, along, columns_of(p), row + p * L, a.up);
      }
      for (int64_t r = 0; r < sum.results() && w.next_middle < y.middle; ++r, ++w.next_middle) {
        A* const row = middle.row(w.memory, w.next_middle);
        const A* from = rows[r];
        for (int64_t p = 0; !a.up_full && p < a.up; ++p)
          sum_along_x(&from, first_x.at(0, p), columns_of(p), row + p * L, a.up);
        const bool has_mask = a.masked || (a.mask && w.next_middle >= kept_from && w.next_middle < kept_to);
        slopes(row, has_mask ? slopes.mask_of(w.plane, w.next_middle) : nullptr, w.planes, w.words);
        from = row;
        if (!a.down_full) sum_along_x(&from, second_x.at(0, 0), x.out, filtered.row(w.memory, w.next_middle), 1);
      }
    }
  }

  // Of a row of the middle, of a phase.
  int64_t columns_of(int64_t phase) const { return divided_up(x.middle - phase, a.up); }

  // The next one of the input, with its bias.
  void read_row(Work& w) const {
    of_images([&](auto* type) {
      using T = std::remove_pointer_t<decltype(type)>;
      A bias[L] = {};
      for (int p = 0; a.b && p < w.planes; ++p) bias[p] = widen(static_cast<const T*>(a.b)[(w.plane + p) % a.channels]);
      read_lanes(row_of(static_cast<const T*>(a.x), w, w.next_input, y.in, x.in), load(bias), input.row(w.memory, w.next_input));
    });
  }

  // f, given a pointer of the type of the images, null.
  template <class F>
  void of_images(const F& f) const {
    if constexpr (std::is_same<A, double>::value) f(static_cast<double*>(nullptr));
    else if (a.dtype == DType::f16) f(static_cast<Half*>(nullptr));
    else if (a.dtype == DType::bf16) f(static_cast<BFloat16*>(nullptr));
    else f(static_cast<float*>(nullptr));
  }

  // Row i of the planes in hand.
  template <class T>
  ImageRow<T> row_of(T* all, const Work& w, int64_t i, int64_t height, int64_t width) const {
    if (!a.channels_last) return {all + (w.plane * height + i) * width, height * width, 1, width, w.planes};
    const int64_t image = w.plane / a.channels, channel = w.plane % a.channels;
    return {all + (image * height + i) * width * a.channels + channel, 1, a.channels, width, w.planes};
  }

  void sum_row(const A* row, double* total) const {
    Vec<A> sum(A(0));
    for (int64_t i = 0; i < x.out; ++i) sum += load(row + i * L);
    A lanes[L];
    store(sum, lanes);
    for (int lane = 0; lane < L; ++lane) total[lane] = double(lanes[lane]);
  }

  // The bias's gradient: rows are always added in the same order, whatever the threads.
  void sum_planes(const double* totals) const {
    for (int64_t c = 0; c < a.channels; ++c) {
      double sum = 0;
      for (int64_t plane = c; plane < a.n * a.channels; plane += a.channels) {
        const int64_t group = plane / planes * groups + plane % planes / L;
        for (int64_t o = 0; o < y.out; ++o) sum += totals[(group * y.out + o) * L + plane % planes % L];
      }
      of_images([&](auto* type) { narrow(A(sum), static_cast<decltype(type)>(a.db)[c]); });
    }
  }

  const FilteredLreluArgs& a;
  const FilteredAxis &y, &x;
  const Runs up_y, up_x, down_y, down_x;
  const SumsX<A> first_x, second_x;
  const SumsY<A> first_y, second_y;
  const LaneSlopes<A> slopes;
  const int64_t images, planes, groups;  // apart in memory; planes of each; groups of its planes
  int64_t numbers = 0;                   // of a thread's memory
  // Between both axes of the first FIR, and, filtered along x, of the second.
  Ring input, between, middle, filtered, result, zeros;
};

}  // namespace

void filtered_lrelu(const FilteredLreluArgs& a) {
  a.dtype == DType::f64 ? Filtered<double>(a).run() : Filtered<float>(a).run();
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

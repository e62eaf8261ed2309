// upfirdn2d on the CPU. Row after row: the input rows that reach an output row are combined into one that stays in the
// L1 cache, and an earlier one is filtered along x, so that fetching input and storing output overlap. Polyphase:
// inserted zeros are never multiplied, decimated samples never computed. Reads x from memory once, writes y once. A
// filter that is not separable takes its sums over copied input rows instead.
#include "upfirdn2d/upfirdn2d.h"

#include "common/parallel.h"
#include "upfirdn2d/fir.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int64_t kRowBytes = 8192;    // of a cached row, at most about twice as many
constexpr int64_t kTileBytes = 16384;  // of all cached rows, where the filter is not separable
constexpr int64_t kLag = 2;            // rows of less than kRowBytes between the sums along y and those along x
constexpr int64_t kLine = 16;          // numbers; the cached rows are aligned to as many
constexpr int64_t kWidePixel = 8;      // numbers a pixel from which channels_last rows are filtered pixel by pixel

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }
int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

// Output samples q * period + r of an axis read the inputs first(r) + q * step + m through kernel taps
// tap(r) + m * up, m < count(r).
struct Phase {
  int64_t first, tap;
  int count;
};

struct Polyphase {
  int64_t period, step, groups;  // groups: number of q
  int64_t lowest, span;          // inputs [lowest, lowest + span) are those of q = 0
  int most = 0;                  // the largest count
  Scratch<Phase> phases;

  explicit Polyphase(const ResampleAxis& a)
      : period(a.up / common_divisor(a.up, a.down)), step(a.down / common_divisor(a.up, a.down)),
        groups(divide_up(a.out, period)), phases(period) {
    int64_t end = 0;
    for (int64_t r = 0; r < period; ++r) {
      const int64_t position = r * a.down - a.pad0;  // at the up-sampled rate, of the first kernel tap
      const int64_t tap = ((-position) % a.up + a.up) % a.up, first = (position + tap) / a.up;
      const int count = tap < a.taps ? int(divide_up(a.taps - tap, a.up)) : 0;
      phases.get()[r] = {first, tap, count};
      lowest = r == 0 ? first : smaller(lowest, first);
      end = r == 0 ? first + count : larger(end, first + count);
      most = count > most ? count : most;
    }
    span = larger(end - lowest, 1);
  }
  const Phase& phase(int64_t r) const { return phases.get()[r]; }
};

template <class T>
class Resampler {
  using A = Accumulate<T>;

 public:
  explicit Resampler(const Upfirdn2dArgs& args)
      : a(args), y(args.axis_y), x(args.axis_x), pixel(args.pixel), separable(args.kernel_y != nullptr),
        wide(pixel >= kWidePixel && (x.period > 1 || x.step > 1)), parts(wide ? 1 : x.step),
        lists_y(separable ? 1 : y.period), terms_x((separable ? 1 : larger(y.most, 1)) * larger(x.most, 1)),
        weights_y(y.period * y.most) {
    const int64_t fits = (separable ? kRowBytes : kTileBytes) / int64_t(sizeof(A)), columns = fits / pixel;
    tile_x = 2 * columns >= (x.groups - 1) * x.step + x.span ? x.groups : larger(4, (columns - x.span) / x.step);
    width = (tile_x - 1) * x.step + x.span;
    part = round_up(divide_up(width, parts) * pixel + kLine, kLine);
    row = part * parts;
    lag = width * pixel <= fits ? kLag : 0;
    // A full filter keeps as many input rows as fit; each output row needs y.span of them.
    tile_y = smaller(larger((fits / row - y.span) / y.step + 1, 4), y.groups);
    rows = separable ? lag + 1 : (tile_y - 1) * y.step + y.span;
    equal = y.most;
    for (int64_t r = 0; r < x.period; ++r) equal = x.phase(r).count == y.most ? equal : 0;
    form = x.period == 1 && parts == 1 && !wide                 ? kFiltered
           : x.period == 1 && parts == 2 && pixel == 1          ? kHalved
           : x.period == 2 && parts == 1 && pixel == 1 && equal ? kDoubled
                                                                : kAny;
    for (int64_t r = 0; separable && r < y.period; ++r) {
      for (int64_t m = 0; m < y.most; ++m) {
        const int64_t tap = y.phase(r).tap + m * a.axis_y.up;
        weights_y.get()[r * y.most + m] = tap < a.axis_y.taps ? A(a.kernel_y[tap]) : A(0);
      }
    }
  }

  void run() const {
    const int64_t elements = a.planes * pixel * (a.axis_x.out * a.axis_y.out + a.axis_x.in * a.axis_y.in);
    const int threads = thread_count(elements);
    const int64_t tiles_x = divide_up(x.groups, tile_x);
    const int64_t wanted = threads > 1 ? divide_up(4 * threads, a.planes * tiles_x) : 1;
    const int64_t band = larger(divide_up(y.groups, wanted), 4), bands = divide_up(y.groups, band);

    const int64_t linear = parts > 1 ? width * pixel : 0, sums = x.period > 1 ? tile_x * pixel : 0;
    const int64_t numbers = rows * row + round_up(linear + sums, kLine);
    const int64_t lists = lists_y * x.period, weights = y.most + 1 + terms_x * lists;
    const Scratch<A> memory(numbers * threads), weight_memory(weights * threads);
    const Scratch<const T*> sources_y((y.most + 1) * threads);
    const Scratch<const A*> sources_x(terms_x * lists * threads);
    const Scratch<Terms<A, A>> term_lists(lists * threads);
    const Scratch<Work> works(threads);
    const Scratch<T> zeros(width * pixel);
    for (int64_t i = 0; i < width * pixel; ++i) narrow(A(0), zeros.get()[i]);
    for (int64_t thread = 0; thread < threads; ++thread) {
      Work& w = works.get()[thread];
      w.q = -1;
      w.zeros = zeros.get();
      w.cache = memory.get() + thread * numbers;
      w.linear = w.cache + rows * row;
      w.sums = w.linear + linear;
      w.vertical = {sources_y.get() + thread * (y.most + 1), weight_memory.get() + thread * weights, y.most};
      w.horizontal = term_lists.get() + thread * lists;
      A* const weights_x = w.vertical.weight + y.most + 1;
      for (int64_t i = 0; i < lists; ++i) {
        w.horizontal[i] = {sources_x.get() + (thread * lists + i) * terms_x, weights_x + i * terms_x, 0};
        list_terms(w, i / x.period, i % x.period);
      }
    }
    parallel_tasks(a.planes * bands * tiles_x, threads, [&](int64_t task, int thread) {
      Work& w = works.get()[thread];
      start_columns(w, task % tiles_x * tile_x);
      const int64_t plane = task / (bands * tiles_x), first = task / tiles_x % bands * band;
      w.in = static_cast<const T*>(a.x) + plane * a.axis_y.in * a.axis_x.in * pixel;
      w.out = static_cast<T*>(a.y) + (plane * a.axis_y.out * a.axis_x.out + w.q * x.period) * pixel;
      const int64_t end = smaller(first + band, y.groups);
      if (!separable) return filter_full(w, first, end);
      with_taps(equal, FilterSeparable{*this, w, first, end});
    });
  }

 private:
  // What a separable filter does to rows of single numbers along x; any: all else, and pixels of several numbers.
  enum Form { kFiltered, kHalved, kDoubled, kAny };

  // What one thread has in hand: the groups of outputs from q on, of one plane.
  struct Work {
    const T* in;
    T* out;
    const T* zeros;               // a row outside the image
    int64_t q, outputs;           // first group of outputs along x, number of outputs
    int64_t low, begin, columns;  // first input column that they see, first one inside the image, number of those
    int64_t even, odd;            // where a cached row holds input columns `begin` and `begin` + 1
    A* cache;                     // [rows, parts, part] rows to be filtered along x; a ring if the filter is separable
    A* linear;                    // one row before it is split
    A* sums;                      // one phase of an output row before it is interleaved
    Terms<T, A> vertical;
    Terms<A, A>* horizontal;  // [lists_y, x.period]
  };

  // The margins of cached rows are 0, and stay so until other columns are looked at: the rest is always written.
  void start_columns(Work& w, int64_t q) const {
    if (w.q == q) return;
    w.q = q;
    w.low = x.lowest + q * x.step;
    w.outputs = smaller(tile_x * x.period, a.axis_x.out - q * x.period);
    w.begin = smaller(larger(w.low, 0), a.axis_x.in);
    w.columns = larger(smaller(w.low + width, a.axis_x.in) - w.begin, 0);
    w.even = offset(w.begin - w.low);
    w.odd = offset(w.begin - w.low + 1);
    for (int64_t i = 0; i < rows * row; ++i) w.cache[i] = 0;
  }

  // Groups of output rows [q0, q1) of a separable filter. The cached rows are a ring.
  struct FilterSeparable {
    const Resampler& self;
    Work& w;
    int64_t q0, q1;
    template <int taps>
    void run() const {
      if (self.form == kFiltered) return self.template filter_separable<taps, kFiltered>(w, q0, q1);
      if (self.form == kHalved) return self.template filter_separable<taps, kHalved>(w, q0, q1);
      if (self.form == kDoubled) return self.template filter_separable<taps, kDoubled>(w, q0, q1);
      self.template filter_separable<taps, kAny>(w, q0, q1);
    }
  };
  template <int taps, Form form>
  __attribute__((noinline)) void filter_separable(Work& w, int64_t q0, int64_t q1) const {
    const int64_t stride = a.axis_x.out * pixel, count = w.outputs * pixel, columns = w.columns * pixel;
    const int64_t step = row, ring = rows * step, behind = lag;
    A* const evens = w.cache + w.even;
    A* const odds = w.cache + w.odd;
    const int64_t begin = q0 * y.period, end = smaller(q1 * y.period, a.axis_y.out);
    const LoopTerms<taps, A, A> across(w.horizontal[0]), second(w.horizontal[form == kDoubled]);
    int64_t phase = 0, input = q0 * y.step, put = 0, take = 0;
    T* to = w.out + begin * stride;
    for (int64_t j = begin; j < end + behind; ++j) {
      if (j < end) {
        const LoopTerms<taps, T, A> down = terms_of_row<taps>(w, phase, input);
        if constexpr (form == kHalved)
          sum_row_split(down, columns, evens + put, odds + put);
        else if constexpr (form == kAny)
          fill_row(w, down, w.cache + put);
        else
          sum_row(down, columns, 0, evens + put);
        if ((put += step) == ring) put = 0;
        if (++phase == y.period) phase = 0, input += y.step;
      }
      if (j - behind < begin) continue;
      if constexpr (form == kDoubled)
        sum_row_pair(across, second, count, take, to);
      else if constexpr (form == kAny)
        filter_row<taps>(w, w.horizontal, take, to);
      else
        sum_row(across, count, take, to);
      if ((take += step) == ring) take = 0;
      to += stride;
    }
  }

  // The sums along y that make an output row of a phase; `input` is the row that its group adds to Phase::first.
  template <int taps>
  FASTGAN_INLINE LoopTerms<taps, T, A> terms_of_row(Work& w, int64_t phase, int64_t input) const {
    const A* const weights = weights_y.get() + phase * y.most;
    const int64_t first = input + y.phase(phase).first, stride = a.axis_x.in * pixel;
    const int64_t below = larger(-first, 0), above = smaller(a.axis_y.in - first, y.phase(phase).count);
    const T* const from = w.in + first * stride + w.begin * pixel;
    const auto source = [&](int64_t m) { return m >= below && m < above ? from + m * stride : w.zeros; };
    if constexpr (taps > 0) {
      LoopTerms<taps, T, A> terms;
      for (int m = 0; m < taps; ++m) terms.set(m, source(m), weights[m]);
      return terms;
    } else {
      for (int m = 0; m < y.most; ++m) w.vertical.source[m] = source(m), w.vertical.weight[m] = weights[m];
      return LoopTerms<0, T, A>(w.vertical);
    }
  }

  // Groups of output rows [q0, q1) of a filter that is not separable, from input rows in the cache.
  void filter_full(Work& w, int64_t q0, int64_t q1) const {
    for (int64_t q = q0; q < q1; q += tile_y) {
      const int64_t end = smaller(smaller(q + tile_y, q1) * y.period, a.axis_y.out);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t from = y.lowest + q * y.step + i;
        const bool inside = from >= 0 && from < a.axis_y.in;
        LoopTerms<1, T, A> copy;
        copy.set(0, inside ? w.in + (from * a.axis_x.in + w.begin) * pixel : w.zeros, A(1));
        fill_row(w, copy, w.cache + i * row);
      }
      for (int64_t j = q * y.period, from = 0; j < end; from += y.step * row)
        for (int64_t r = 0; r < y.period && j < end; ++r, ++j)
          filter_row<0>(w, w.horizontal + r * x.period, from, w.out + j * a.axis_x.out * pixel);
    }
  }

  // Sums of input rows into a cached row.
  template <int taps>
  FASTGAN_INLINE void fill_row(const Work& w, const LoopTerms<taps, T, A>& terms, A* cache) const {
    if (parts == 1) return sum_row(terms, w.columns * pixel, 0, cache + w.even);
    if (parts == 2 && pixel == 1) return sum_row_split(terms, w.columns, cache + w.even, cache + w.odd);
    sum_row(terms, w.columns * pixel, 0, w.linear);
    for (int64_t i = 0; i < w.columns; ++i)
      for (int64_t c = 0; c < pixel; ++c) cache[offset(w.begin - w.low + i) + c] = w.linear[i * pixel + c];
  }

  // An output row from the cached rows, `from` numbers on.
  template <int taps>
  FASTGAN_INLINE void filter_row(const Work& w, const Terms<A, A>* terms, int64_t from, T* to) const {
    for (int64_t r = 0; r < smaller(x.period, w.outputs); ++r, to += pixel) {
      const LoopTerms<taps, A, A> across(terms[r]);
      const int64_t own = divide_up(w.outputs - r, x.period);
      if (x.period == 1 && !wide) {
        sum_row(across, own * pixel, from, to);
      } else if (wide) {
        for (int64_t q = 0; q < own; ++q)
          sum_row(across, pixel, from + q * x.step * pixel, to + q * x.period * pixel);
      } else {
        sum_row(across, own * pixel, from, w.sums);
        for (int64_t q = 0; q < own; ++q)
          for (int64_t c = 0; c < pixel; ++c) narrow(w.sums[q * pixel + c], to[q * x.period * pixel + c]);
      }
    }
  }

  // Where a cached row holds column e of the tile. Each part begins where the first column inside the image is aligned.
  int64_t offset(int64_t e) const {
    const int64_t outside = larger(-x.lowest, 0), first = divide_up(larger(outside - e % parts, 0), parts) * pixel;
    return e % parts * part + (round_up(first, kLine) - first) + e / parts * pixel;
  }

  // The sums that make outputs of phase rx (of a full filter: of phases ry and rx) from cached rows.
  void list_terms(Work& w, int64_t ry, int64_t rx) const {
    const Phase& down = y.phase(ry);
    const Phase& across = x.phase(rx);
    Terms<A, A>& terms = w.horizontal[ry * x.period + rx];
    for (int m = 0; m < (separable ? 1 : down.count); ++m) {
      const A* from = w.cache + (separable ? 0 : down.first - y.lowest + m) * row;
      const double* kernel = a.kernel_x + (separable ? 0 : down.tap + m * a.axis_y.up) * a.axis_x.taps + across.tap;
      for (int k = 0; k < across.count; ++k) {
        terms.source[terms.count] = from + offset(across.first - x.lowest + k);
        terms.weight[terms.count++] = A(kernel[k * a.axis_x.up]);
      }
    }
  }

  const Upfirdn2dArgs& a;
  const Polyphase y, x;
  const int64_t pixel;
  const bool separable, wide;
  const int64_t parts;             // that a cached row is split into, by column modulo x.step
  const int64_t lists_y, terms_x;  // lists of horizontal terms: lists_y * x.period of them, of at most terms_x terms
  int64_t tile_x, tile_y;          // groups of outputs handled at a time
  int64_t width;                   // input columns they see
  int64_t part, row, rows;         // numbers in one part of a cached row, in all of it, rows cached
  int64_t lag;                     // output rows between the sums along y and those along x
  int equal;                       // terms in all sums of a separable filter, 0 where they differ
  Form form;                       // of a separable filter
  Scratch<A> weights_y;            // [y.period, y.most], 0 for terms that a phase lacks
};

}  // namespace

void upfirdn2d(const Upfirdn2dArgs& a) {
  switch (a.dtype) {
    case DType::f32: return Resampler<float>(a).run();
    case DType::f64: return Resampler<double>(a).run();
    case DType::f16: return Resampler<Half>(a).run();
    case DType::bf16: return Resampler<BFloat16>(a).run();
  }
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

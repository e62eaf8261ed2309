// upfirdn2d on the CPU. In tiles that stay in the L1 cache: the input rows that reach an output row are combined into
// one, which is then filtered along x. Polyphase: inserted zeros are never multiplied, decimated samples never
// computed. Reads x from memory once, writes y once. A filter that is not separable takes its sums over copied input
// rows instead.
#include "upfirdn2d/upfirdn2d.h"

#include "common/parallel.h"
#include "upfirdn2d/fir.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int64_t kTileBytes = 16384;  // of the rows that are kept in the cache
constexpr int64_t kWidePixel = 8;      // numbers a pixel from which channels_last rows are filtered pixel by pixel

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

// Output samples q * period + r of an axis read the inputs first(r) + q * step + m through kernel taps
// tap(r) + m * up, m < count(r).
struct Phase {
  int64_t first, tap;
  int count;
};

struct Polyphase {
  ResampleAxis axis;
  int64_t period, step, groups;  // groups: number of q
  int64_t lowest, span;          // inputs [lowest, lowest + span) are those of q = 0
  int most = 0;                  // the largest count
  Scratch<Phase> phases;

  explicit Polyphase(const ResampleAxis& a)
      : axis(a), period(a.up / common_divisor(a.up, a.down)), step(a.down / common_divisor(a.up, a.down)),
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
        wide(pixel >= kWidePixel && (x.period > 1 || x.step > 1)), split(x.step > 1 && !wide),
        lists_y(separable ? 1 : y.period), terms_x((separable ? 1 : larger(y.most, 1)) * larger(x.most, 1)) {
    const int64_t fits = kTileBytes / int64_t(sizeof(A)), columns = fits / pixel;
    tile_x = 2 * columns >= (x.groups - 1) * x.step + x.span ? x.groups : larger(4, (columns - x.span) / x.step);
    width = (tile_x - 1) * x.step + x.span;
    part = divide_up(width, split ? x.step : 1) * pixel;
    row = part * (split ? x.step : 1);
    // As many rows as fit; a full filter keeps input rows, of which each output row needs y.span.
    const int64_t most_rows = separable ? fits / row / y.period : (fits / row - y.span) / y.step + 1;
    tile_y = smaller(larger(most_rows, separable ? 1 : 4), y.groups);
    rows = separable ? tile_y * y.period : (tile_y - 1) * y.step + y.span;
  }

  void run() const {
    const int64_t elements = a.planes * pixel * (a.axis_x.out * a.axis_y.out + a.axis_x.in * a.axis_y.in);
    const int threads = thread_count(elements);
    const int64_t tiles_x = divide_up(x.groups, tile_x);
    const int64_t wanted = threads > 1 ? divide_up(4 * threads, a.planes * tiles_x) : 1;
    const int64_t band = larger(divide_up(y.groups, wanted), smaller(4, tile_y)), bands = divide_up(y.groups, band);

    const int64_t linear = split ? width * pixel : 0, sums = x.period > 1 ? tile_x * pixel : 0;
    const int64_t numbers = divide_up(rows * row + linear + sums, 16) * 16;
    const int64_t lists = lists_y * x.period, weights = y.most + 1 + terms_x * lists;
    const Scratch<A> memory(numbers * threads), weight_memory(weights * threads);
    const Scratch<const T*> sources_y((y.most + 1) * threads);
    const Scratch<const A*> sources_x(terms_x * lists * threads);
    const Scratch<Terms<A, A>> term_lists(lists * threads);
    parallel_tasks(a.planes * bands * tiles_x, threads, [&](int64_t task, int thread) {
      Work w;
      w.cache = memory.get() + thread * numbers;
      w.linear = w.cache + rows * row;
      w.sums = w.linear + linear;
      w.vertical = {sources_y.get() + thread * (y.most + 1), weight_memory.get() + thread * weights, 0};
      w.horizontal = term_lists.get() + thread * lists;
      A* const weights_x = w.vertical.weight + y.most + 1;
      for (int64_t i = 0; i < lists; ++i)
        w.horizontal[i] = {sources_x.get() + (thread * lists + i) * terms_x, weights_x + i * terms_x, 0};
      const int64_t plane = task / (bands * tiles_x);
      w.q = task % tiles_x * tile_x;
      w.low = x.lowest + w.q * x.step;
      w.in = static_cast<const T*>(a.x) + plane * a.axis_y.in * a.axis_x.in * pixel;
      w.out = static_cast<T*>(a.y) + (plane * a.axis_y.out * a.axis_x.out + w.q * x.period) * pixel;
      const int64_t first = task / tiles_x % bands * band;
      filter_band(w, first, smaller(first + band, y.groups));
    });
  }

 private:
  // What one thread has in hand: the groups of outputs from q on, of one plane.
  struct Work {
    const T* in;
    T* out;
    int64_t q, low;  // first group of outputs along x, first input column that they see
    A* cache;        // [rows, row] rows to be filtered along x; split into x.step parts where they are decimated
    A* linear;       // one row before it is split
    A* sums;         // one phase of an output row before it is interleaved
    Terms<T, A> vertical;
    Terms<A, A>* horizontal;  // [lists_y, x.period]
  };

  void filter_band(Work& w, int64_t q0, int64_t q1) const {
    for (int64_t i = 0; i < rows * row; ++i) w.cache[i] = 0;  // the margins stay 0, the rest is written in every tile
    for (int64_t ry = 0; ry < lists_y; ++ry)
      for (int64_t rx = 0; rx < x.period; ++rx) list_terms(w, ry, rx);
    const int64_t count = smaller(tile_x * x.period, a.axis_x.out - w.q * x.period);
    for (int64_t q = q0; q < q1; q += tile_y) {
      const int64_t groups = smaller(tile_y, q1 - q), first = q * y.period;
      T* dst = w.out + first * a.axis_x.out * pixel;
      if (separable) {
        for (int64_t r = 0; r < y.period; ++r) combine_phase(w, q, groups, r);
        const int64_t height = smaller(groups * y.period, a.axis_y.out - first);
        filter_rows(w, w.horizontal, {count, height, row, a.axis_x.out * pixel}, dst);
      } else {
        copy_rows(w, y.lowest + q * y.step);
        for (int64_t r = 0; r < smaller(y.period, a.axis_y.out - first); ++r) {
          const int64_t height = smaller(groups, divide_up(a.axis_y.out - first - r, y.period));
          filter_rows(w, w.horizontal + r * x.period, {count, height, y.step * row, y.period * a.axis_x.out * pixel},
                      dst + r * a.axis_x.out * pixel);
        }
      }
    }
  }

  // The input columns [begin, end) that the tile sees.
  int64_t column_begin(const Work& w) const { return smaller(larger(w.low, 0), a.axis_x.in); }
  int64_t column_end(const Work& w) const { return larger(smaller(w.low + width, a.axis_x.in), column_begin(w)); }

  // Separable: output rows of one phase, filtered along y, into the cache. Rows of equal terms go together.
  void combine_phase(Work& w, int64_t q, int64_t groups, int64_t r) const {
    const Phase& phase = y.phase(r);
    groups = smaller(groups, divide_up(a.axis_y.out - q * y.period - r, y.period));
    for (int64_t g = 0, same; g < groups; g += same) {
      const int64_t first = phase.first + (q + g) * y.step;
      const int64_t begin = smaller(larger(-first, 0), phase.count);
      const int64_t end = larger(smaller(a.axis_y.in - first, phase.count), begin);
      same = 1;
      if (begin == 0 && end == phase.count && phase.count > 0)
        same = smaller(groups - g, (a.axis_y.in - first - phase.count) / y.step + 1);
      w.vertical.count = 0;
      for (int64_t m = begin; m < end; ++m) add_row(w, first + m, A(a.kernel_y[phase.tap + m * a.axis_y.up]));
      combine(w, w.cache + (g * y.period + r) * row, same, y.step, y.period * row);
    }
  }

  // Full filter: the input rows from `first` on, 0 outside the image, into the cache.
  void copy_rows(Work& w, int64_t first) const {
    const int64_t begin = smaller(larger(-first, 0), rows), end = larger(smaller(a.axis_y.in - first, rows), begin);
    w.vertical.count = 0;
    combine(w, w.cache, begin, 0, row);
    combine(w, w.cache + end * row, rows - end, 0, row);
    if (begin == end) return;
    add_row(w, first + begin, A(1));
    combine(w, w.cache + begin * row, end - begin, 1, row);
  }

  void add_row(Work& w, int64_t index, A weight) const {
    w.vertical.source[w.vertical.count] = w.in + (index * a.axis_x.in + column_begin(w)) * pixel;
    w.vertical.weight[w.vertical.count++] = weight;
  }

  // `count` sums of the vertical terms, each `step` input rows further down and `stride` numbers further in the cache.
  void combine(const Work& w, A* cache, int64_t count, int64_t step, int64_t stride) const {
    const int64_t begin = column_begin(w) - w.low, columns = column_end(w) - column_begin(w);
    const Extent e{columns * pixel, count, step * a.axis_x.in * pixel, stride};
    if (columns == 0) return;
    if (!split) return sum_rows(w.vertical, e, cache + begin * pixel);
    if (x.step == 2 && pixel == 1 && w.vertical.count > 0) {
      A* even = cache + begin / 2;
      A* odd = even + part;
      return begin % 2 ? sum_rows_split(w.vertical, e, odd, even + 1) : sum_rows_split(w.vertical, e, even, odd);
    }
    for (int64_t r = 0; r < count; ++r) {
      sum_rows(w.vertical, {e.count, 1, 0, 0, r * e.source_stride}, w.linear);
      for (int64_t i = 0; i < columns; ++i)
        for (int64_t c = 0; c < pixel; ++c) cache[r * stride + offset(begin + i) + c] = w.linear[i * pixel + c];
    }
  }

  // Where a cached row holds column e of the tile.
  int64_t offset(int64_t e) const { return split ? e % x.step * part + e / x.step * pixel : e * pixel; }

  // The sums that make outputs of phase rx (of a full filter: of phases ry and rx) from cached rows.
  void list_terms(Work& w, int64_t ry, int64_t rx) const {
    const Phase& down = y.phase(ry);
    const Phase& across = x.phase(rx);
    Terms<A, A>& terms = w.horizontal[ry * x.period + rx];
    for (int m = 0; m < (separable ? 1 : down.count); ++m) {
      const A* from = w.cache + (separable ? 0 : down.first - y.lowest + m) * row;
      const double* taps = a.kernel_x + (separable ? 0 : down.tap + m * a.axis_y.up) * a.axis_x.taps + across.tap;
      for (int k = 0; k < across.count; ++k) {
        terms.source[terms.count] = from + offset(across.first - x.lowest + k);
        terms.weight[terms.count++] = A(taps[k * a.axis_x.up]);
      }
    }
  }

  // Output rows from cached rows; e.count is in pixels, e.source_stride and e.stride in numbers.
  void filter_rows(const Work& w, Terms<A, A>* terms, const Extent& e, T* dst) const {
    if (wide) return filter_wide(terms, e, dst);
    if (x.period == 1) return sum_rows(terms[0], {e.count * pixel, e.rows, e.source_stride, e.stride}, dst);
    if (x.period == 2 && pixel == 1 && terms[0].count > 0 && terms[1].count > 0) {
      pad_terms(terms[0], terms[1].count);
      pad_terms(terms[1], terms[0].count);
      return sum_rows_pair(terms[0], terms[1], e, dst);
    }
    for (int64_t i = 0; i < e.rows; ++i) {
      for (int64_t r = 0; r < smaller(x.period, e.count); ++r) {
        const int64_t own = divide_up(e.count - r, x.period);
        sum_rows(terms[r], {own * pixel, 1, 0, 0, i * e.source_stride}, w.sums);
        for (int64_t q = 0; q < own; ++q)
          for (int64_t c = 0; c < pixel; ++c)
            narrow(w.sums[q * pixel + c], dst[i * e.stride + (q * x.period + r) * pixel + c]);
      }
    }
  }

  // channels_last with many channels: the pixels of one phase are the rows of a call.
  void filter_wide(const Terms<A, A>* terms, const Extent& e, T* dst) const {
    for (int64_t i = 0; i < e.rows; ++i) {
      for (int64_t r = 0; r < smaller(x.period, e.count); ++r) {
        const int64_t own = divide_up(e.count - r, x.period);
        sum_rows(terms[r], {pixel, own, x.step * pixel, x.period * pixel, i * e.source_stride},
                 dst + i * e.stride + r * pixel);
      }
    }
  }

  // Two phases with equal counts can share a loop: appends terms of weight 0, on a sample that the sum has anyway.
  static void pad_terms(Terms<A, A>& terms, int count) {
    for (; terms.count < count; ++terms.count) {
      terms.source[terms.count] = terms.source[0];
      terms.weight[terms.count] = 0;
    }
  }

  const Upfirdn2dArgs& a;
  const Polyphase y, x;
  const int64_t pixel;
  const bool separable, wide, split;
  const int64_t lists_y, terms_x;  // lists of horizontal terms: lists_y * x.period of them, of at most terms_x terms
  int64_t tile_x, tile_y;          // groups of outputs handled at a time
  int64_t width;                   // input columns they see
  int64_t part, row, rows;         // numbers in one part of a cached row, in all of it, rows cached
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

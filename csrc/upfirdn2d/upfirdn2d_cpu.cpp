// upfirdn2d on the CPU: for each output row, the input rows that reach it are combined into one row in the L1 cache, which
// is then filtered along x. Polyphase: inserted zeros are never multiplied, decimated samples never computed. Reads x
// from memory once, writes y once. A filter that is not separable filters each of its rows along x instead.
#include "upfirdn2d/upfirdn2d.h"

#include "common/parallel.h"
#include "upfirdn2d/fir.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int64_t kTileBytes = 32768;  // of the row that is kept in the cache
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
        wide(pixel >= kWidePixel && (x.period > 1 || x.step > 1)), split(x.step > 1 && !wide) {
    const int64_t fits = kTileBytes / int64_t(sizeof(A)) / pixel;
    tile = 2 * fits >= (x.groups - 1) * x.step + x.span ? x.groups : larger(4, (fits - x.span) / x.step);
    extent = (tile - 1) * x.step + x.span;
    part = divide_up(extent, split ? x.step : 1) * pixel;
    row = part * (split ? x.step : 1);
    rows = separable ? 1 : larger(y.most, 1);
    terms_x = int64_t(rows) * larger(x.most, 1);
  }

  void run() const {
    const int64_t elements = a.planes * pixel * (a.axis_x.out * a.axis_y.out + a.axis_x.in * a.axis_y.in);
    const int threads = thread_count(elements);
    const int64_t tiles = divide_up(x.groups, tile);
    const int64_t wanted = threads > 1 ? divide_up(4 * threads, a.planes * tiles) : 1;
    const int64_t height = divide_up(a.axis_y.out, smaller(wanted, divide_up(a.axis_y.out, 4)));
    const int64_t bands = divide_up(a.axis_y.out, height);

    const int64_t linear = split ? extent * pixel : 0, sums = x.period > 1 ? tile * pixel : 0;
    const int64_t numbers = divide_up(rows * row + linear + sums, 16) * 16;
    const int64_t weights = y.most + terms_x * x.period + 1;
    const Scratch<A> memory(numbers * threads), weight_memory(weights * threads);
    const Scratch<const T*> sources_y((y.most + 1) * threads);
    const Scratch<const A*> sources_x(terms_x * x.period * threads);
    const Scratch<Terms<A, A>> phase_terms(x.period * threads);
    parallel_tasks(a.planes * bands * tiles, threads, [&](int64_t task, int thread) {
      Thread t;
      t.cache = memory.get() + thread * numbers;
      t.linear = t.cache + rows * row;
      t.sums = t.linear + linear;
      t.vertical = {sources_y.get() + thread * (y.most + 1), weight_memory.get() + thread * weights, 0};
      t.horizontal = phase_terms.get() + thread * x.period;
      for (int64_t r = 0; r < x.period; ++r)
        t.horizontal[r] = {sources_x.get() + (thread * x.period + r) * terms_x,
                           t.vertical.weight + y.most + 1 + r * terms_x, 0};
      const int64_t plane = task / (bands * tiles), band = task / tiles % bands, q = task % tiles * tile;
      filter_tile(t, plane, band * height, smaller((band + 1) * height, a.axis_y.out), q, smaller(q + tile, x.groups));
    });
  }

 private:
  struct Thread {
    A* cache;   // [rows, row] combined input rows; along x split into `step` parts where they are decimated
    A* linear;  // one row before it is split
    A* sums;    // one phase of an output row before it is interleaved
    Terms<T, A> vertical;
    Terms<A, A>* horizontal;  // one for each phase of x
  };

  // Output rows [y0, y1) of a plane, outputs of the groups [q0, q1).
  void filter_tile(Thread& t, int64_t plane, int64_t y0, int64_t y1, int64_t q0, int64_t q1) const {
    const T* in = static_cast<const T*>(a.x) + plane * a.axis_y.in * a.axis_x.in * pixel;
    T* out = static_cast<T*>(a.y) + (plane * a.axis_y.out * a.axis_x.out + q0 * x.period) * pixel;
    const int64_t count = smaller(q1 * x.period, a.axis_x.out) - q0 * x.period;
    const int64_t low = x.lowest + q0 * x.step;
    for (int64_t i = 0; i < rows * row; ++i) t.cache[i] = 0;  // the margins stay 0, the rest is written for every row
    if (separable) horizontal_terms(t, nullptr, 0);
    for (int64_t oy = y0; oy < y1; ++oy) {
      const Phase& phase = y.phase(oy % y.period);
      const int64_t first = phase.first + oy / y.period * y.step;
      const int begin = int(smaller(larger(-first, 0), phase.count));
      const int end = int(larger(smaller(a.axis_y.in - first, phase.count), begin));
      T* dst = out + oy * a.axis_x.out * pixel;
      if (separable) {
        for (int m = begin; m < end; ++m) add_row(t, in, first + m, low, A(a.kernel_y[phase.tap + m * a.axis_y.up]));
        combine(t, low, t.cache);
      } else {
        for (int m = begin; m < end; ++m) {
          add_row(t, in, first + m, low, A(1));
          combine(t, low, t.cache + (m - begin) * row);
        }
        horizontal_terms(t, a.kernel_x + (phase.tap + begin * a.axis_y.up) * a.axis_x.taps, end - begin);
      }
      if (begin == end)
        for (int64_t i = 0; i < count * pixel; ++i) narrow(A(0), dst[i]);
      else
        filter_row(t, count, dst);
    }
  }

  // The input columns that a tile starting at column `low` can see.
  int64_t column_begin(int64_t low) const { return smaller(larger(low, 0), a.axis_x.in); }
  int64_t column_end(int64_t low) const { return larger(smaller(low + extent, a.axis_x.in), column_begin(low)); }

  void add_row(Thread& t, const T* in, int64_t index, int64_t low, A weight) const {
    t.vertical.source[t.vertical.count] = in + (index * a.axis_x.in + column_begin(low)) * pixel;
    t.vertical.weight[t.vertical.count++] = weight;
  }

  // Writes the sum of the rows added into the cache and forgets them.
  void combine(Thread& t, int64_t low, A* cache) const {
    const int64_t begin = column_begin(low) - low, columns = column_end(low) - column_begin(low);
    if (t.vertical.count == 0 || columns == 0) {
      // nothing reaches this row: it is not filtered, or all of it is margin
    } else if (!split) {
      sum_rows(t.vertical, columns * pixel, cache + begin * pixel);
    } else if (x.step == 2 && pixel == 1) {
      A* even = cache + begin / 2;
      A* odd = even + part;
      if (begin % 2)
        sum_rows_split(t.vertical, columns, odd, even + 1);
      else
        sum_rows_split(t.vertical, columns, even, odd);
    } else {
      sum_rows(t.vertical, columns * pixel, t.linear);
      for (int64_t i = 0; i < columns; ++i)
        for (int64_t c = 0; c < pixel; ++c) cache[offset(begin + i) + c] = t.linear[i * pixel + c];
    }
    t.vertical.count = 0;
  }

  // Where the cache holds column e of the tile.
  int64_t offset(int64_t e) const { return split ? e % x.step * part + e / x.step * pixel : e * pixel; }

  // The sums that make each phase along x: of one cached row, or of `count` rows of a filter that is not separable.
  void horizontal_terms(Thread& t, const double* kernel, int count) const {
    for (int64_t r = 0; r < x.period; ++r) {
      const Phase& phase = x.phase(r);
      Terms<A, A>& terms = t.horizontal[r];
      terms.count = 0;
      for (int m = 0; m < (separable ? 1 : count); ++m) {
        const double* taps = (separable ? a.kernel_x : kernel + m * a.axis_y.up * a.axis_x.taps) + phase.tap;
        for (int k = 0; k < phase.count; ++k) {
          terms.source[terms.count] = t.cache + m * row + offset(phase.first - x.lowest + k);
          terms.weight[terms.count++] = A(taps[k * a.axis_x.up]);
        }
      }
    }
    if (x.period == 2 && pixel == 1) {
      pad_terms(t.horizontal[0], t.horizontal[1].count);
      pad_terms(t.horizontal[1], t.horizontal[0].count);
    }
  }

  // Two phases with equal counts can share a loop: appends terms of weight 0, on a sample that the sum has anyway.
  static void pad_terms(Terms<A, A>& terms, int count) {
    if (terms.count == 0) return;
    for (; terms.count < count; ++terms.count) {
      terms.source[terms.count] = terms.source[0];
      terms.weight[terms.count] = 0;
    }
  }

  // `count` pixels of an output row from the cached rows.
  void filter_row(const Thread& t, int64_t count, T* dst) const {
    if (wide) {
      filter_pixels(t, count, dst);
    } else if (x.period == 1) {
      sum_rows(t.horizontal[0], count * pixel, dst);
    } else if (x.period == 2 && pixel == 1 && t.horizontal[0].count == t.horizontal[1].count &&
               t.horizontal[0].count > 0) {
      sum_rows_pair(t.horizontal[0], t.horizontal[1], count, dst);
    } else {
      for (int64_t r = 0; r < smaller(x.period, count); ++r) {
        const int64_t own = divide_up(count - r, x.period);
        sum_rows(t.horizontal[r], own * pixel, t.sums);
        for (int64_t q = 0; q < own; ++q)
          for (int64_t c = 0; c < pixel; ++c) narrow(t.sums[q * pixel + c], dst[(q * x.period + r) * pixel + c]);
      }
    }
  }

  void filter_pixels(const Thread& t, int64_t count, T* dst) const {
    for (int64_t o = 0; o < count; ++o)
      sum_rows(t.horizontal[o % x.period], pixel, dst + o * pixel, o / x.period * x.step * pixel);
  }

  const Upfirdn2dArgs& a;
  const Polyphase y, x;
  const int64_t pixel;
  const bool separable, wide, split;
  int64_t tile;    // groups of outputs handled from one cached row
  int64_t extent;  // columns of that row
  int64_t part;    // numbers in each of its parts
  int64_t row;     // numbers in all of it
  int64_t rows;    // rows cached at a time
  int64_t terms_x; // most terms of a sum along x
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

// The epilogue of a convolution layer on the CPU. Bytes per element: forward reads u and writes y and 2 bits, and reads the
// residual if there is one; backward reads dy and 2 bits, and y or u if dscale is wanted, and writes du. Noise, scale and b
// are read again and again, from a cache. Groups of 16 elements are handled at a time.
#include "conv2d_layer/conv2d_epilogue.h"

#include "common/parallel.h"
#include "conv2d_layer/conv2d_epilogue_groups.h"
#include "conv2d_layer/finish.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int64_t kBlock = 16384;  // elements of a task of forward
// A task of backward: at most so many elements, pixels and channels, or all channels of so many pixels that float can sum.
constexpr int64_t kPart = 65536, kPartPixels = 4096, kPartChannels = 64, kLeastRows = 16, kMostRows = 64;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
struct Forward {
  using A = Accumulate<T>;
  Finish<Vec<A>> finish;
  const T* u;
  const T* residual;
  T* y;
  uint8_t* mask;
  explicit Forward(const EpilogueArgs& a)
      : finish(a.operands), u(static_cast<const T*>(a.u)), residual(static_cast<const T*>(a.operands.residual)),
        y(static_cast<T*>(a.out)), mask(a.operands.mask) {}

  FASTGAN_INLINE void operator()(int64_t i, int64_t count, const Terms<A>& t) const {
    Group<A> g = load_some(u + i, count);
    const Group<A> added = residual ? load_some(residual + i, count) : same(finish.nothing);
    Mask<A> positive[Group<A>::vectors], clamped[Group<A>::vectors];
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const auto r = finish(g.v[j], t.scale.v[j], added.v[j], t.shift.v[j]);
      g.v[j] = r.y, positive[j] = r.positive, clamped[j] = r.clamped;
    }
    store_some(g, y + i, count);
    if (!mask) return;
    const uint32_t bits = pack_sign_mask(positive, clamped);
    __builtin_memcpy(mask + i / 4, &bits, count < kGroup ? size_t(mask_bytes(count)) : 4);
  }
};

// In memory order, so that every byte of the mask has one task, whatever the size of a run.
template <class T>
void forward(const EpilogueArgs& a) {
  const int64_t inner = a.channels_last ? a.channels : a.pixels, numel = a.samples * a.channels * a.pixels;
  parallel_tasks(divide_up(numel, kBlock), thread_count(numel), [&](int64_t k, int) {
    const Forward<T> formula(a);
    const int64_t end = smaller((k + 1) * kBlock, numel);
    for (int64_t i = k * kBlock; i < end;) {
      const int64_t r = i / inner, begin = r * inner, run_end = smaller(begin + inner, end);
      const Run<T> run(a, r);
      for (; i + kGroup <= run_end; i += kGroup) {
        __builtin_prefetch(formula.y + i, 1);  // stores to the mask would wait behind each line that the cache lacks
        formula(i, kGroup, run.at(i - begin, kGroup));
      }
      if (i == run_end) continue;
      const int64_t count = smaller(kGroup, end - i);
      formula(i, count, gather<T>(a, inner, i, count));
      i += kGroup;
    }
  });
}

__attribute__((noinline)) uint64_t last_bytes(const uint8_t* p, int64_t count) {
  uint64_t bytes = 0;
  for (int64_t k = 0; k < count; ++k) bytes |= uint64_t(p[k]) << (8 * k);
  return bytes;
}

enum class Product { none, of_u, of_y };  // what dscale sums the product of g with; of_y: with scale u, found from y

// g = slope dy, written as du = scale g, and its product.
template <class T, Product with, bool has_mask>
struct Backward {
  using A = Accumulate<T>;
  static constexpr bool has_product = with != Product::none;
  struct Result {
    Group<A> g, product;
  };
  SlopeTable<A> slopes;
  Vec<A> gain;
  const T* dy;
  const T* other;
  T* du;
  const uint8_t* mask;
  int64_t mask_end;
  explicit Backward(const EpilogueArgs& a)
      : slopes(A(a.operands.gain * a.operands.negative_slope), A(a.operands.gain)), gain(A(a.operands.gain)),
        dy(static_cast<const T*>(a.dy)), other(static_cast<const T*>(with == Product::of_u ? a.u : a.y)),
        du(static_cast<T*>(a.out)), mask(a.operands.mask), mask_end(mask_bytes(a.samples * a.channels * a.pixels)) {}

  // 16 elements from any, of which some may lie beyond the last.
  FASTGAN_INLINE uint32_t bits_at(int64_t i) const {
    const int64_t left = mask_end - (i >> 2);
    uint64_t bits = 0;
    if (left >= 8)
      __builtin_memcpy(&bits, mask + (i >> 2), 8);
    else
      bits = last_bytes(mask + (i >> 2), left);
    return uint32_t(bits >> (2 * (i & 3)));
  }
  FASTGAN_INLINE Result operator()(int64_t i, int64_t count, const Terms<A>& t) const {
    const Group<A> d = load_some(dy + i, count);
    Group<A> value = {}, out;
    if (has_product) value = load_some(other + i, count);
    [[maybe_unused]] const uint32_t bits = has_mask ? bits_at(i) : 0;
    Result r = {};
    for (int j = 0; j < Group<A>::vectors; ++j) {
      const Vec<A> slope = has_mask ? slopes.at(bits, j) : gain, g = times_slope(d.v[j], slope);
      r.g.v[j] = g;
      out.v[j] = t.scale.v[j] * g;
      if (with == Product::of_u) r.product.v[j] = g * value.v[j];
      if (with == Product::of_y) r.product.v[j] = product_from_y(slope, d.v[j], value.v[j], g, t.shift.v[j]);
    }
    store_some(out, du + i, count);
    return r;
  }
};

// Sums of tasks: of g, and of its product with u behind them.
template <class A>
struct Parts {
  int64_t parts, channel_step, part_step, sample_step;  // sum `part` of channel o of sample n: where
  int64_t count;
  Scratch<A> sums;
  Parts(const EpilogueArgs& a, int64_t parts_, int64_t channel_step_, int64_t part_step_, int64_t sample_step_)
      : parts(parts_), channel_step(channel_step_), part_step(part_step_), sample_step(sample_step_),
        count(a.samples * sample_step), sums(2 * count) {}
};

template <class T>
void write_sums(const EpilogueArgs& a, const Parts<Accumulate<T>>& p) {
  using A = Accumulate<T>;
  const Scratch<double> totals(2 * a.channels);
  double* const db = totals.get();
  double* const dscale = db + a.channels;
  for (int64_t o = 0; o < a.channels; ++o) db[o] = 0;
  for (int64_t n = 0; n < a.samples; ++n) {
    for (int64_t o = 0; o < a.channels; ++o) dscale[o] = 0;
    for (int64_t k = 0; k < p.parts; ++k) {
      const A* const g = p.sums.get() + n * p.sample_step + k * p.part_step;
      for (int64_t o = 0; a.db && o < a.channels; ++o) db[o] += g[o * p.channel_step];
      for (int64_t o = 0; a.dscale && o < a.channels; ++o) dscale[o] += g[p.count + o * p.channel_step];
    }
    for (int64_t o = 0; a.dscale && o < a.channels; ++o) {
      const int64_t at = n * a.channels + o;
      const double scale = a.u || !a.operands.scale ? 1 : static_cast<const A*>(a.operands.scale)[at];
      static_cast<A*>(a.dscale)[at] = A(dscale[o] / scale);
    }
  }
  for (int64_t o = 0; a.db && o < a.channels; ++o) narrow(A(db[o]), static_cast<T*>(a.db)[o]);
}

template <class T, class Formula>
void backward_rows(const EpilogueArgs& a) {
  using A = Accumulate<T>;
  const int64_t chunks = divide_up(a.pixels, kPartPixels);
  const int64_t group_channels = smaller(kPartChannels, kPart / smaller(a.pixels, kPartPixels));
  const int64_t groups = divide_up(a.channels, group_channels);
  const int64_t width = divide_up(a.pixels, kGroup) * kGroup;
  const int threads = thread_count(a.samples * a.channels * a.pixels);
  const Parts<A> parts(a, chunks, chunks, 1, a.channels * chunks);
  const Scratch<A> noise_parts(a.dnoise ? a.samples * groups * width : 1);
  parallel_tasks(a.samples * groups * chunks, threads, [&](int64_t k, int) {
    const Formula formula(a);
    const int64_t row = k / chunks, chunk = k - row * chunks, n = row / groups, group = row - n * groups;
    const int64_t begin = chunk * kPartPixels, end = smaller(begin + kPartPixels, a.pixels);
    A* const noise = a.dnoise ? noise_parts.get() + row * width : nullptr;
    for (int64_t p = begin; noise && p < divide_up(end, kGroup) * kGroup; ++p) noise[p] = 0;
    for (int64_t o = group * group_channels; o < smaller((group + 1) * group_channels, a.channels); ++o) {
      const int64_t r = n * a.channels + o, plane_begin = r * a.pixels;
      const Run<T> run(a, r);
      Group<A> sum = same(A(0)), product = same(A(0));
      const auto step = [&](int64_t p, int64_t count) __attribute__((always_inline)) {
        const typename Formula::Result result = formula(plane_begin + p, count, run.at(p, count));
        add_group(sum, result.g);
        add_group(product, result.product);
        if (noise) store_sum(result.g, noise + p);
      };
      int64_t p = begin;
      for (; p + kGroup <= end; p += kGroup) {
        __builtin_prefetch(formula.du + plane_begin + p, 1);
        step(p, kGroup);
      }
      if (p < end) step(p, end - p);
      A* const sums = parts.sums.get() + r * chunks + chunk;
      sums[0] = sum_group(sum);
      sums[parts.count] = sum_group(product);
    }
  });
  write_sums<T>(a, parts);
  if (!a.dnoise) return;
  parallel_tasks(a.samples * chunks, threads, [&](int64_t k, int) {
    const int64_t n = k / chunks, begin = (k - n * chunks) * kPartPixels;
    const A* const noise = noise_parts.get() + n * groups * width;
    for (int64_t p = begin; p < smaller(begin + kPartPixels, a.pixels); ++p) {
      A sum = noise[p];
      for (int64_t group = 1; group < groups; ++group) sum += noise[group * width + p];
      narrow(sum, static_cast<T*>(a.dnoise)[n * a.pixels + p]);
    }
  });
}

template <class T, class Formula>
void backward_columns(const EpilogueArgs& a) {
  using A = Accumulate<T>;
  const int64_t width = divide_up(a.channels, kGroup) * kGroup;
  const int64_t rows = larger(kLeastRows, smaller(kMostRows, kBlock / width)), blocks = divide_up(a.pixels, rows);
  const Parts<A> parts(a, blocks, 1, width, blocks * width);
  parallel_tasks(a.samples * blocks, thread_count(a.samples * a.channels * a.pixels), [&](int64_t k, int) {
    const Formula formula(a);
    const int64_t n = k / blocks, begin = (k - n * blocks) * rows, end = smaller(begin + rows, a.pixels);
    A* const sums = parts.sums.get() + k * width;
    A* const products = sums + parts.count;
    for (int64_t o = 0; o < width; ++o) sums[o] = products[o] = 0;
    for (int64_t r = n * a.pixels + begin; r < n * a.pixels + end; ++r) {
      const Run<T> run(a, r);
      const int64_t row_begin = r * a.channels;
      Group<A> noise = same(A(0));
      const auto step = [&](int64_t o, int64_t count) __attribute__((always_inline)) {
        const typename Formula::Result result = formula(row_begin + o, count, run.at(o, count));
        store_sum(result.g, sums + o);
        if (Formula::has_product) store_sum(result.product, products + o);
        add_group(noise, result.g);
      };
      int64_t o = 0;
      for (; o + kGroup <= a.channels; o += kGroup) {
        __builtin_prefetch(formula.du + row_begin + o, 1);
        step(o, kGroup);
      }
      if (o < a.channels) step(o, a.channels - o);
      if (a.dnoise) narrow(sum_group(noise), static_cast<T*>(a.dnoise)[r]);
    }
  });
  write_sums<T>(a, parts);
}

template <class T, Product with, bool has_mask>
void backward_with(const EpilogueArgs& a) {
  using Formula = Backward<T, with, has_mask>;
  a.channels_last ? backward_columns<T, Formula>(a) : backward_rows<T, Formula>(a);
}

template <class T>
void backward(const EpilogueArgs& a) {
  const bool masked = a.operands.mask != nullptr;
  if (a.dscale && a.u) return backward_with<T, Product::of_u, false>(a);  // only the plain product with x
  if (a.dscale) return masked ? backward_with<T, Product::of_y, true>(a) : backward_with<T, Product::of_y, false>(a);
  masked ? backward_with<T, Product::none, true>(a) : backward_with<T, Product::none, false>(a);
}

template <class F>
void dispatch_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32: return f(float());
    case DType::f64: return f(double());
    case DType::f16: return f(Half());
    case DType::bf16: return f(BFloat16());
  }
}

}  // namespace

const EpilogueKernels& epilogue_kernels() {
  static constexpr EpilogueKernels kernels{
      [](const EpilogueArgs& a) { dispatch_dtype(a.dtype, [&](auto t) { forward<decltype(t)>(a); }); },
      [](const EpilogueArgs& a) { dispatch_dtype(a.dtype, [&](auto t) { backward<decltype(t)>(a); }); },
      [](const EpilogueArgs&) -> int64_t { return 0; }};
  return kernels;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

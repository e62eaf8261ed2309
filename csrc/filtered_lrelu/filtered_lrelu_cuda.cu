// filtered_lrelu on the GPU, in one pass: bias, FIR at the up-sampled rate, leaky ReLU, clamp, FIR and decimation. The
// masked pass is the same with the mask for the non-linearity, and sums its result to db: a part a block, parts in order.
//  stream   StyleGAN3's filters, 12 taps a factor of 2: up 2 or 4 and down 2, the second FIR separable or radial; what their
//           gradients take; and no filters at all. Up to 32 bits. A thread a column of the middle, both vertical FIRs in its
//           registers; a radial one of halves, first or second, on tensor cores. At most 48 KiB of shared memory. A warp's 16
//           columns turn 16 rows of bits into words of the mask.
//  tile     any factors and filters: a tile of a plane in at most 48 KiB of shared memory, or 96 where filters are long.
//  spilled  what does not fit there: the middle goes through the GPU's memory, a part of the planes at a time.
// The filters stay in the GPU's memory, so that streams and graphs of launches are safe.
// Registers: at most 96, 168 where the first FIR of a stream is full; none spilled (nvcc 13.0, sm_80, sm_90a,
// sm_100, sm_120). Not yet measured on a GPU.
#include <algorithm>

#include "filtered_lrelu/filtered_lrelu_spilled.cuh"
#include "filtered_lrelu/filtered_lrelu_stream.cuh"
#include "filtered_lrelu/filtered_lrelu_tile.cuh"

namespace fastgan {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kSharedBytes = 48 << 10, kMostSharedBytes = 96 << 10;
constexpr int64_t kSpilledNumbers = int64_t(1) << 26;  // of the middle at a time

// Whether a tile fits into so many bytes of shared memory: as large a one as does, up to some 2000 outputs.
bool fit_tile(TileLaunch& l, int64_t bytes) {
  const FilteredLreluArgs& a = l.a;
  const int64_t size = a.dtype == DType::f64 ? 8 : 4;
  // Tiles of a forward pass begin where words of the mask do.
  const int64_t unit = a.masked ? 16 : kWord * filtered_classes(a.up, a.down) / a.down;
  const int64_t widest = std::min(divide_up(a.axis_x.out, unit), std::max<int64_t>(1, 64 / unit));
  for (int64_t units = widest; units >= 1; --units)
    for (int64_t rows = std::min<int64_t>(a.axis_y.out, 32); rows >= std::min<int64_t>(a.axis_y.out, 8); --rows) {
      const int64_t columns = std::min(units * unit, a.axis_x.out);
      if ((rows * a.down + a.axis_y.down_taps) * (columns * a.down + a.axis_x.down_taps) > bytes / size) continue;
      l.y.set(a.axis_y, rows, a.up, a.down);
      l.x.set(a.axis_x, columns, a.up, a.down);
      if (TileMemory(l).end * size <= bytes) return true;
    }
  return false;
}

bool find_tile(TileLaunch& l) { return fit_tile(l, kSharedBytes) || fit_tile(l, kMostSharedBytes); }

int64_t planes_of(const FilteredLreluArgs& a) { return a.n * a.channels; }
int64_t spilled_planes(const FilteredLreluArgs& a) {
  return std::min(planes_of(a), std::max<int64_t>(1, kSpilledNumbers / (a.axis_y.middle * a.axis_x.middle)));
}

// A pass that kernels are compiled for.
template <class S, bool masked_, bool up_full_, bool down_full_>
struct Form {
  using Taps = S;
  using Memory = StreamMemory<S, up_full_, down_full_>;
  static constexpr bool masked = masked_, up_full = up_full_, down_full = down_full_;
  template <class T>
  static auto kernel() {
    return filtered_lrelu_stream_kernel<T, S, masked, up_full, down_full>;
  }
  static bool serves(const FilteredLreluArgs& a) {
    const auto fits = [](const FilteredAxis& axis) { return axis.up_taps == S::up_taps && axis.down_taps == S::down_taps; };
    return a.masked == masked && a.up == S::up && a.down == S::down && a.up_full == up_full && a.down_full == down_full &&
           fits(a.axis_y) && fits(a.axis_x);
  }
};

// Calls f with each form, until one returns true.
template <class F>
bool any_form(const F& f) {
  using Same = Sampler<2, 2, 12, 12>;
  using Up = Sampler<4, 2, 24, 12>;
  using Down = Sampler<2, 4, 12, 24>;
  using Point = Sampler<1, 1, 1, 1>;
  return f(Form<Same, false, false, false>()) || f(Form<Same, true, false, false>()) ||
         f(Form<Up, false, false, false>()) || f(Form<Down, true, false, false>()) ||
         f(Form<Same, false, false, true>()) || f(Form<Same, true, true, false>()) ||
         f(Form<Up, false, false, true>()) || f(Form<Down, true, true, false>()) ||
         f(Form<Point, false, false, false>()) || f(Form<Point, true, false, false>());
}

// How wide a block's tile is: as leaves the fewest threads without work. The number of planes is given.
template <class F>
bool find_strip(StreamLaunch& l, F) {
  using S = typename F::Taps;
  const FilteredAxis& ax = l.a.axis_x;
  constexpr int group = kWord * S::classes;
  l.first = int(floor_divide(-ax.inner, group)) * group;
  l.skip = int((-ax.inner - l.first) % S::down);
  l.first_out = int(l.first + l.skip + ax.inner) / S::down;
  // Columns that tiles share out; in a forward pass those of the mask.
  const int64_t extent = F::masked ? (ax.out - l.first_out) * S::down : ax.middle;
  const int64_t span = F::masked ? l.skip + extent + S::down_taps - S::down : ax.middle;
  const int shared_columns = int(divide_up(l.skip + S::down_taps - S::down, group)) * group;
  int64_t least = 0;
  StreamLaunch best;
  for (int columns = group < 32 ? 32 : group; columns << l.log_planes <= kStreamThreads<S, F::up_full>; columns += group < 32 ? 32 : group) {
    l.columns = columns;
    l.own = columns >= span ? columns : columns - shared_columns;
    if (l.own <= 0) continue;
    l.tiles = unsigned(divide_up(extent, l.own));
    l.up_length = (columns + 2 * S::up - 2) / S::up / 4 * 4 + 4;
    l.down_length = (columns / S::down + S::reach + 7) / 4 * 4;
    const int64_t cost = int64_t(l.tiles) * columns;
    if (int64_t(typename F::Memory(l).end * sizeof(float)) > kSharedBytes || (least && cost >= least)) continue;
    least = cost;
    best = l;
  }
  if (!least) return false;
  l = best;
  return true;
}

constexpr int64_t kManyBlocks = 1024, kLeastRows = 32;

// Whether the arguments have a form of their own.
bool find_stream(StreamLaunch& l) {
  const FilteredLreluArgs& a = l.a;
  if (a.dtype == DType::f64) return false;
  l.formula = Middle<float>(a);
  l.tensor = (a.up_full || a.down_full) && a.dtype != DType::f32;
  const bool found = any_form([&](auto form) {
    if (!form.serves(a)) return false;
    for (l.log_planes = a.channels_last && a.channels > 1 ? 2 : 0; l.log_planes >= 0; --l.log_planes)
      if (find_strip(l, form)) return true;
    return false;
  });
  if (!found) return false;
  l.groups = unsigned(a.n * divide_up(a.channels, int64_t(1) << l.log_planes));
  const int64_t blocks = int64_t(l.groups) * l.tiles;
  const int64_t most = std::max<int64_t>(1, a.axis_y.out / kLeastRows);
  l.segment = int(divide_up(a.axis_y.out, std::min(most, divide_up(kManyBlocks, blocks))));
  l.segments = unsigned(divide_up(a.axis_y.out, l.segment));
  const auto reciprocal = [](int count) { return uint32_t(((uint64_t(1) << 32) + count - 1) / count); };
  l.per_quad = reciprocal(l.up_length / 4);
  l.per_out = reciprocal(l.own / (4 * a.down));
  l.packets = !a.channels_last && a.axis_x.out % 4 == 0 && l.first_out % 4 == 0 && is_aligned(a.y);
  return true;
}

// Which kernels serve, and how many parts db has of a plane: they are in the workspace, before the middle of a spilled pass.
struct Plan {
  StreamLaunch stream;
  TileLaunch tile;
  bool streamed, tiled;
  int64_t parts;
  explicit Plan(const FilteredLreluArgs& a) {
    stream.a = tile.a = a;
    streamed = find_stream(stream);
    tiled = !streamed && find_tile(tile);
    parts = streamed ? int64_t(stream.tiles) * stream.segments
            : tiled  ? int64_t(tile.y.tiles) * tile.x.tiles
                     : divide_up(a.axis_y.out * a.axis_x.out, kThreads);
  }
  int64_t sums() const { return tile.a.db ? planes_of(tile.a) * parts : 0; }
  int64_t numbers() const {
    const bool spilled = !streamed && !tiled;
    return sums() + (spilled ? spilled_planes(tile.a) * tile.a.axis_y.middle * tile.a.axis_x.middle : 0);
  }
};

template <class T>
void run_stream(const StreamLaunch& l) {
  if constexpr (sizeof(T) <= 4)
    any_form([&](auto form) {
      using F = decltype(form);
      if (!F::serves(l.a)) return false;
      launch("filtered_lrelu", F::template kernel<T>(), int64_t(l.groups) * l.segments * l.tiles,
             l.columns << l.log_planes, size_t(typename F::Memory(l).end) * sizeof(float), l.a.stream, l);
      return true;
    });
}

template <class T>
void run_spilled(const FilteredLreluArgs& a, const Plan& plan) {
  using A = Accumulate<T>;
  SpilledLaunch l;
  l.a = a;
  l.middle = static_cast<A*>(a.workspace) + plan.sums();
  l.blocks = plan.parts;
  const int64_t words = a.axis_y.middle * filtered_mask_row(a.axis_x.middle, filtered_classes(a.up, a.down)) / 4;
  for (; l.first < planes_of(a); l.first += l.planes) {
    l.planes = std::min(spilled_planes(a), planes_of(a) - l.first);
    launch("filtered_lrelu", filtered_lrelu_spilled_up_kernel<T>, divide_up(l.planes * words, kThreads), kThreads, 0,
           a.stream, l);
    launch("filtered_lrelu", filtered_lrelu_spilled_down_kernel<T>, l.planes * l.blocks, kThreads, 32 * sizeof(A),
           a.stream, l);
  }
}

template <class T>
void run(const FilteredLreluArgs& a) {
  using A = Accumulate<T>;
  if (planes_of(a) * a.axis_y.out * a.axis_x.out == 0) return;
  const Plan plan(a);
  if (plan.streamed)
    run_stream<T>(plan.stream);
  else if (plan.tiled)
    launch("filtered_lrelu", filtered_lrelu_tile_kernel<T>, planes_of(a) * plan.parts, kThreads,
           size_t(TileMemory(plan.tile).end) * sizeof(A), a.stream, plan.tile);
  else
    run_spilled<T>(a, plan);
  if (a.db)
    launch("filtered_lrelu", filtered_lrelu_sum_kernel<T>, a.channels, kThreads, 16 * sizeof(A), a.stream, a, plan.parts);
}

void list_kernels(KernelList& list) {
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      const auto add = [&](const char* form, auto* kernel) {
        list.push_back({std::string("filtered_lrelu ") + form + " " + type_name<T>(), reinterpret_cast<const void*>(kernel)});
      };
      if constexpr (sizeof(T) <= 4)
        any_form([&](auto form) {
          using F = decltype(form);
          const std::string name = std::string("stream up ") + std::to_string(F::Taps::up) + (F::up_full ? " full" : "") +
                                   " down " + std::to_string(F::Taps::down) + (F::down_full ? " full" : "") +
                                   (F::masked ? " masked" : "");
          add(name.c_str(), F::template kernel<T>());
          return false;
        });
      add("tile", filtered_lrelu_tile_kernel<T>);
      add("spilled up", filtered_lrelu_spilled_up_kernel<T>);
      add("spilled down", filtered_lrelu_spilled_down_kernel<T>);
      add("sum", filtered_lrelu_sum_kernel<T>);
    });
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

void filtered_lrelu(const FilteredLreluArgs& a) {
  dispatch_dtype(a.dtype, [&](auto t) { run<decltype(t)>(a); });
}

int64_t filtered_lrelu_workspace(const FilteredLreluArgs& a) {
  return planes_of(a) == 0 ? 0 : Plan(a).numbers() * (a.dtype == DType::f64 ? 8 : 4);
}

}  // namespace cuda
}  // namespace fastgan

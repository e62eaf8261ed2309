// filtered_lrelu on the GPU: bias, FIR at the up-sampled rate, leaky ReLU, clamp, FIR and decimation; the masked pass is the
// same with the mask for the non-linearity, and sums its result to db.
//  tile     any factors and filters: a tile of a plane in at most 48 KiB of shared memory, or 96 where filters are long.
//  spilled  what does not fit there: the middle goes through the GPU's memory.
#include "filtered_lrelu/filtered_lrelu_spilled.cuh"
#include "filtered_lrelu/filtered_lrelu_tile.cuh"

#include <algorithm>

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

// Sums of parts of a plane, in the workspace.
struct Plan {
  TileLaunch tile;
  bool tiled;
  int64_t parts;
  explicit Plan(const FilteredLreluArgs& a) {
    tile.a = a;
    tiled = find_tile(tile);
    parts = tiled ? int64_t(tile.y.tiles) * tile.x.tiles : divide_up(a.axis_y.out * a.axis_x.out, kThreads);
  }
  int64_t sums() const { return tile.a.db ? planes_of(tile.a) * parts : 0; }
  int64_t numbers() const {
    return sums() + (tiled ? 0 : spilled_planes(tile.a) * tile.a.axis_y.middle * tile.a.axis_x.middle);
  }
};

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
  if (plan.tiled)
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

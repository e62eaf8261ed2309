// Weight gradients of 3x3 convolutions by Winograd's filtering.
#pragma once
#include "common/parallel.h"
#include "conv2d_layer/winograd.h"
#include "conv2d_layer/winograd_gemm.h"
#include "conv2d_layer/winograd_tiles.h"

namespace fastgan {
namespace FASTGAN_ISA {

// dU = sum over tiles of (A dy A^T) (B^T d B), dw = G^T dU G. Few tiles: those of x are transformed first and shared,
// and each task makes some rows of dU. Many: each task takes a slice of them, chunk after chunk, and has its own dU.
// So few regions are parallel: where others load the machine, threads wait long for each other.
template <class F>
class WeightGradient {
  static constexpr int L = Vec<float>::size, kProducts = F::size * F::size, kFilters = F::filters * F::filters;
  static constexpr int64_t kFewTiles = 256;

 public:
  explicit WeightGradient(const WinogradArgs& args)
      : a(args), tiling(a.n, a.out_height, a.out_width, F::out), groups(divide_up(a.in, L)),
        panels(divide_up(groups, kVectors)), lanes(divide_up(groups, panels) * L),
        few_tiles(tiling.total <= kFewTiles), rows(rows_of(few_tiles, a.out)), du_row(groups * L),
        du_stride(rows * du_row + L), slice(slice_of(few_tiles, tiling.total, kFilters * du_stride)),
        chunk(few_tiles ? slice : chunk_of(slice, panels * lanes, rows)), panel_size(chunk * lanes),
        x_stride(panels * panel_size + L), dy_row(chunk + L), dy_stride(rows * dy_row + L),
        threads(thread_count(tiling.total * a.in * a.out)) {}

  void run() const {
    const int64_t x_size = kProducts * x_stride, dy_size = kProducts * dy_stride, du_size = kFilters * du_stride;
    const Scratch<float> dy(threads * dy_size), squares(threads * kProducts * L * L);
    if (few_tiles) {
      const Scratch<float> x(x_size), du(threads * du_size);
      const int64_t steps = chunk / L;
      parallel_tasks(groups * steps, threads, [&](int64_t task, int thread) {
        float* const square = squares.get() + thread * kProducts * L * L;
        transform_x(task / steps, 0, task % steps * L, tiling.total, square, x.get());
      });
      parallel_long_tasks(divide_up(a.out, rows), threads, [&](int64_t task, int thread) {
        float* const own = du.get() + thread * du_size;
        transform_dy(task * rows, 0, tiling.total, dy.get() + thread * dy_size);
        multiply(dy.get() + thread * dy_size, x.get(), chunk, own, false);
        for (int64_t o = task * rows; o < smaller((task + 1) * rows, a.out); ++o) write_kernels(o, own, 1);
      });
    } else {
      const int64_t slices = divide_up(tiling.total, slice);
      const Scratch<float> x(threads * x_size), du(slices * du_size);
      parallel_long_tasks(slices, threads, [&](int64_t task, int thread) {
        float *const tiles = x.get() + thread * x_size, *const square = squares.get() + thread * kProducts * L * L;
        const int64_t end = smaller((task + 1) * slice, tiling.total);
        for (int64_t first = task * slice; first < end; first += chunk) {
          const int64_t count = smaller(chunk, end - first), steps = divide_up(count, L);
          for (int64_t i = 0; i < groups * steps; ++i)
            transform_x(i / steps, first, i % steps * L, count, square, tiles);
          transform_dy(0, first, count, dy.get() + thread * dy_size);
          multiply(dy.get() + thread * dy_size, tiles, steps * L, du.get() + task * du_size, first > task * slice);
        }
      });
      parallel_tasks(a.out, threads, [&](int64_t o, int) { write_kernels(o, du.get(), slices); });
    }
  }

 private:
  // Rows of dU that a task makes, a multiple of kRows.
  static int64_t rows_of(bool few_tiles, int64_t out) {
    const int64_t wanted = few_tiles ? smaller(divide_up(out, 4), 32) : out;
    return divide_up(wanted, kRows) * kRows;
  }

  // Tiles that a task sums, each of which has its own dU of du_size numbers.
  static int64_t slice_of(bool few_tiles, int64_t tiles, int64_t du_size) {
    const int64_t most = few_tiles ? 1 : du_size <= 1 << 20 ? 8 : du_size <= 1 << 22 ? 4 : 2;
    return divide_up(divide_up(tiles, most), L) * L;
  }

  // Tiles a chunk: so few that they stay in the cache, but every chunk reads and writes dU as well.
  static int64_t chunk_of(int64_t slice, int64_t ins, int64_t outs) {
    constexpr int64_t kLeast = 1 << 18, kMost = 1 << 21;  // numbers
    const int64_t wanted = 4 * kFilters * ins * outs;
    const int64_t numbers = wanted < kLeast ? kLeast : smaller(wanted, kMost);
    const int64_t fits = numbers / (kProducts * (ins + outs) * L);
    const int64_t chunks = divide_up(slice, L * (fits > 4 ? fits : 4));
    return divide_up(divide_up(slice, chunks), L) * L;
  }

  // Panel p has the vectors of channels from here on: as many as others, or one less.
  int64_t first_group(int64_t panel) const {
    const int64_t most = groups % panels;
    return panel * (groups / panels) + smaller(panel, most);
  }
  int64_t panel_of(int64_t group) const {
    int64_t panel = group / (groups / panels + 1);  // or one of the next few
    while (first_group(panel + 1) <= group) ++panel;
    return panel;
  }

  // x [kProducts, panels, chunk, lanes], of one vector of channels and of tiles
  void transform_x(int64_t group, int64_t first, int64_t at, int64_t count, float* square, float* x) const {
    const Source source{a.x, a.in_scale, a.in, a.height, a.width, a.pad_y, a.pad_x};
    Piece pieces[L];
    const Piece* const end = pieces + tiling.pieces_of(first + at, int(smaller(L, count - at)), pieces);
    for (int i = 0; i < L; ++i) {
      const int64_t channel = group * L + i;
      if (channel + 1 < a.in) prefetch_patches<DataPatch<F>>(source, channel + 1, pieces, end);
      if (channel < a.in)
        transform_patches<DataPatch<F>>(source, channel, pieces, end, square + i * L, L * L);
      else
        for (int k = 0; k < kProducts; ++k) store(Vec<float>(0.0f), square + k * L * L + i * L);
    }
    const int64_t panel = panel_of(group);
    float* const to = x + panel * panel_size + at * lanes + (group - first_group(panel)) * L;
    for (int k = 0; k < kProducts; ++k) transpose(square + k * L * L, L, L, L, to + k * x_stride, lanes);
  }

  // dy [kProducts, rows, dy_row], of the channels from first_o on
  void transform_dy(int64_t first_o, int64_t first, int64_t count, float* dy) const {
    const Source source{a.dy, nullptr, a.out, a.out_height, a.out_width, 0, 0};
    Piece pieces[2][L];
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t channel = first_o + row;
      const auto vector = [&](int64_t at) {  // of tiles; end of its pieces
        return tiling.pieces_of(first + at, int(smaller(L, count - at)), pieces[at / L % 2]);
      };
      int length = vector(0);
      for (int64_t at = 0; at < count; at += L) {
        const Piece *const now = pieces[at / L % 2], *const next = pieces[(at / L + 1) % 2];
        const int next_length = at + L < count ? vector(at + L) : 0;
        float* const to = dy + row * dy_row + at;
        if (channel < a.out) {
          prefetch_patches<GradientPatch<F>>(source, channel, next, next + next_length);
          transform_patches<GradientPatch<F>>(source, channel, now, now + length, to, dy_stride);
        } else {
          for (int k = 0; k < kProducts; ++k) store(Vec<float>(0.0f), to + k * dy_stride);
        }
        length = next_length;
      }
    }
  }

  void multiply(const float* dy, const float* x, int64_t depth, float* du, bool add) const {
    bool filled[kFilters] = {};
    for (int k = 0; k < kProducts; ++k) {
      const int filter = filter_of<F>(k);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t group = first_group(panel), width = first_group(panel + 1) - group;
        const float *const u = dy + k * dy_stride, *const v = x + k * x_stride + panel * panel_size;
        float* const m = du + filter * du_stride + group * L;
        width == 3   ? multiply_panel<3>(u, v, depth, m, add || filled[filter])
        : width == 2 ? multiply_panel<2>(u, v, depth, m, add || filled[filter])
                     : multiply_panel<1>(u, v, depth, m, add || filled[filter]);
      }
      filled[filter] = true;
    }
  }

  template <int width>
  void multiply_panel(const float* u, const float* v, int64_t depth, float* m, bool add) const {
    for (int64_t row = 0; row < rows; row += kRows)
      multiply_rows<width>(u + row * dy_row, dy_row, 1, v, lanes, depth, m + row * du_row, du_row, add);
  }

  // The kernels of one output channel, from the sum of the slices: du [slices, kFilters, rows, du_row]
  void write_kernels(int64_t o, const float* du, int64_t slices) const {
    for (int64_t i = 0; i < a.in; i += L) {
      constexpr int row = (9 + L - 1) / L * L;
      alignas(64) float taps[row * L], kernels[L * row];
      transform_filter_gradients<F>(du + o % rows * du_row + i, du_stride, slices, a.turned, taps);
      for (int k = 0; k < 9; k += L) transpose(taps + k * L, L, 9 - k, L, kernels + k, row);
      for (int64_t lane = 0; lane < smaller(L, a.in - i); ++lane)
        __builtin_memcpy(a.dw + (o * a.in + i + lane) * 9, kernels + lane * row, 9 * sizeof(float));
    }
  }

  const WinogradArgs a;
  const Tiling tiling;
  const int64_t groups, panels;  // vectors of input channels, and how many panels they are divided into
  const int64_t lanes;           // of a panel; some use a vector less
  const bool few_tiles;
  const int64_t rows, du_row, du_stride, slice, chunk, panel_size, x_stride, dy_row, dy_stride;
  const int threads;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

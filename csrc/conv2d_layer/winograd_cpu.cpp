// 3x3 convolutions on the CPU by Winograd's filtering. The smaller of the transformed filters U and the transformed
// tiles V is made first and shared; tasks over blocks of tiles, or over panels of output channels, then make their part
// of the other one in a buffer that stays in the L2 cache, multiply, and transform, finish and write the output once.
#include "conv2d_layer/winograd.h"

#include "common/parallel.h"
#include "conv2d_layer/winograd_epilogue.h"
#include "conv2d_layer/winograd_gemm.h"
#include "conv2d_layer/winograd_tiles.h"
#include "conv2d_layer/winograd_weight_gradient.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int L = Vec<float>::size;
constexpr int kPanel = L;  // output channels whose transformed filters lie together
constexpr int64_t kDepth = 64;  // input channels that are summed in one go
constexpr int64_t kTogether = 2;
constexpr int64_t kCacheNumbers = 5 << 16;  // of a buffer that stays in the L2 cache beside others

// Tiles a block: fewer of them where that divides the work better.
int vectors_for(int64_t tiles, int threads) {
  int best = kVectors;
  int64_t least = 0;
  for (int vectors = kVectors; vectors > 1; --vectors) {
    const int64_t lanes = vectors * L, time = divide_up(divide_up(tiles, lanes), threads) * (lanes + 4);
    if (vectors == kVectors || time < least) best = vectors, least = time;
  }
  return best;
}

template <class F>
class Convolution {
  static constexpr int kProducts = F::size * F::size, kFilters = F::filters * F::filters;

 public:
  explicit Convolution(const WinogradArgs& args)
      : a(args), tiling(a.n, a.out_height, a.out_width, F::out),
        source{a.x, a.in_scale, a.in, a.height, a.width, a.pad_y, a.pad_x},
        epilogue(a, tiling.columns * F::out), threads(thread_count(tiling.total * a.in * a.out)),
        lanes(vectors_for(tiling.total, threads) * L), blocks(divide_up(tiling.total, lanes)), panels(divide_up(a.out, kPanel)), u_stride(a.in * kPanel + L),
        v_stride(a.in * lanes + L), m_stride(kPanel * lanes + L) {}

  void run() const {
    const int64_t u_size = kFilters * u_stride, v_size = kProducts * v_stride, m_size = kProducts * m_stride;
    const bool few_tiles = tiling.total < a.out;
    // Panels that are multiplied in one go: their filters have to fit the cache where they are not shared.
    const bool single = few_tiles && (2 * u_size > kCacheNumbers || panels < 4 * threads);
    const int64_t together = smaller(single ? 1 : kTogether, panels);
    const Scratch<float> u((few_tiles ? threads * together : panels) * u_size);
    const Scratch<float> v((few_tiles ? blocks : threads) * v_size), m(threads * together * m_size);
    const auto finish_panels = [&](int64_t block, int64_t first, const float* filters, const float* tiles, int thread) {
      finish(block, first, smaller(together, panels - first), filters, tiles, m.get() + thread * together * m_size);
    };
    if (few_tiles) {
      constexpr int64_t kChannels = 16;
      const int64_t parts = divide_up(a.in, kChannels);
      parallel_tasks(blocks * parts, threads, [&](int64_t task, int) {
        const int64_t block = task / parts, first = task % parts * kChannels;
        transform_block(block, first, smaller(first + kChannels, a.in), v.get() + block * v_size);
      });
      parallel_long_tasks(divide_up(panels, together), threads, [&](int64_t task, int thread) {
        float* const filters = u.get() + thread * together * u_size;
        const int64_t first = task * together;
        for (int64_t panel = first; panel < smaller(first + together, panels); ++panel)
          transform_panel(panel, filters + (panel - first) * u_size);
        for (int64_t block = 0; block < blocks; ++block)
          finish_panels(block, first, filters, v.get() + block * v_size, thread);
      });
    } else {
      parallel_tasks(panels, threads, [&](int64_t panel, int) { transform_panel(panel, u.get() + panel * u_size); });
      parallel_long_tasks(blocks, threads, [&](int64_t block, int thread) {
        float* const tiles = v.get() + thread * v_size;
        transform_block(block, 0, a.in, tiles);
        for (int64_t first = 0; first < panels; first += together)
          finish_panels(block, first, u.get() + first * u_size, tiles, thread);
      });
    }
    if (!epilogue.finishes_rows()) epilogue.all();
  }

 private:
  int tiles_of(int64_t block) const { return int(smaller(lanes, tiling.total - block * lanes)); }

  // u [kFilters, in, kPanel]
  void transform_panel(int64_t panel, float* u) const {
    const int64_t in_step = a.exchanged ? a.out * 9 : 9, out_step = a.exchanged ? 9 : a.in * 9;
    const int count = int(smaller(kPanel, a.out - panel * kPanel));
    const int64_t run = a.exchanged ? 1 : L;  // input channels whose taps are neighbours
    alignas(64) float taps[9 * L * L];
    for (int64_t first = 0; first < a.in; first += run) {
      const float* const from = a.w + panel * kPanel * out_step + first * in_step;
      const int64_t channels = smaller(run, a.in - first);
      for (int64_t k = 0; k < 9 * channels; k += L)
        transpose(from + k, out_step, count, 9 * channels - k, taps + k * L, L);
      for (int64_t i = 0; i < channels; ++i)
        transform_filters<F>(taps + i * 9 * L, a.turned, u + (first + i) * kPanel, u_stride);
    }
  }

  // v [kProducts, in, lanes], of input channels [first, last)
  void transform_block(int64_t block, int64_t first, int64_t last, float* v) const {
    Piece pieces[kVectors * L];
    const Piece* const end = pieces + tiling.pieces_of(block * lanes, tiles_of(block), pieces);
    for (int64_t i = first; i < last; ++i) {
      for (const Piece* piece = pieces; piece < end;) {
        const Piece* next = piece;
        while (next < end && next->lane / L == piece->lane / L) ++next;
        if (i + 1 < last) prefetch_patches<DataPatch<F>>(source, i + 1, piece, next);
        transform_patches<DataPatch<F>>(source, i, piece, next, v + i * lanes + piece->lane, v_stride);
        piece = next;
      }
    }
  }

  // m [count, kProducts, kPanel, lanes] of `count` panels
  template <int vectors>
  void multiply(int64_t count, const float* u, const float* v, float* m) const {
    for (int k = 0; k < kProducts; ++k)
      for (int64_t first = 0; first < a.in; first += kDepth)  // of which the tiles stay in the L1 cache for all rows
        for (int64_t row = 0; row < count * kPanel; row += kRows) {
          const int64_t panel = row / kPanel, r = row % kPanel;
          multiply_rows<vectors>(u + (panel * kFilters + filter_of<F>(k)) * u_stride + first * kPanel + r, 1, kPanel,
                                 v + k * v_stride + first * lanes, lanes, smaller(kDepth, a.in - first),
                                 m + (panel * kProducts + k) * m_stride + r * lanes, lanes, first > 0);
        }
  }

  // `count` panels of u from the first one on
  void finish(int64_t block, int64_t first, int64_t count, const float* u, const float* v, float* m) const {
    const int tiles = tiles_of(block), vectors = (tiles + L - 1) / L;
    vectors == 3   ? multiply<3>(count, u, v, m)
    : vectors == 2 ? multiply<2>(count, u, v, m)
                   : multiply<1>(count, u, v, m);
    Piece pieces[kVectors * L];
    const Piece* const end = pieces + tiling.pieces_of(block * lanes, tiles, pieces);
    for (int64_t o = first * kPanel; o < smaller((first + count) * kPanel, a.out); ++o) {
      const int64_t panel = o / kPanel - first;
      write_tiles(o, pieces, end, vectors, m + panel * kProducts * m_stride + o % kPanel * lanes);
    }
  }

  void write_tiles(int64_t o, const Piece* piece, const Piece* end, int vectors, const float* m) const {
    constexpr int line = kVectors * L * F::out + kGroup;
    alignas(64) float rows[F::out * line];
    for (int j = 0; j < vectors; ++j) transform_output<F>(m + j * L, m_stride, rows + j * L * F::out, line);
    for (; piece < end; ++piece) {
      const int64_t y = piece->row * F::out, x = piece->column * F::out;
      const int64_t width = smaller(piece->count * F::out, a.out_width - x), height = smaller(F::out, a.out_height - y);
      for (int64_t r = 0; r < height; ++r)
        epilogue.row(rows + r * line + piece->lane * F::out, piece->image, o, (y + r) * a.out_width + x, width);
    }
  }

  const WinogradArgs a;
  const Tiling tiling;
  const Source source;
  const Epilogue epilogue;
  const int threads;
  const int64_t lanes, blocks, panels, u_stride, v_stride, m_stride;
};

template <template <class> class Of>
void run(const WinogradArgs& a) {
  switch (a.form) {
    case WinogradForm::same2: return Of<Winograd2>(a).run();
    case WinogradForm::same4: return Of<Winograd4>(a).run();
    case WinogradForm::down4: return Of<WinogradDown4>(a).run();
    case WinogradForm::up3: return Of<WinogradUp3>(a).run();
  }
}

}  // namespace

const WinogradKernels& winograd_kernels() {
  static constexpr WinogradKernels kernels{run<Convolution>, run<WeightGradient>};
  return kernels;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

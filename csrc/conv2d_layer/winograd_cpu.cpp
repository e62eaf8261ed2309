// 3x3 convolutions on the CPU by Winograd's filtering. The smaller of the transformed filters U and the transformed
// tiles V is made first and shared; tasks over blocks of tiles, or over panels of output channels, then make their part
// of the other one in a buffer that stays in the L2 cache, multiply, and transform, finish and write the output once.
#include "conv2d_layer/winograd.h"

#include "common/parallel.h"
#include "conv2d_layer/winograd_epilogue.h"
#include "conv2d_layer/winograd_gemm.h"
#include "conv2d_layer/winograd_tiles.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int L = Vec<float>::size;
constexpr int kPanel = L;  // output channels whose transformed filters lie together

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
  static constexpr int kProducts = F::size * F::size;

 public:
  explicit Convolution(const WinogradArgs& args)
      : a(args), tiling(a.n, a.out_height, a.out_width, F::m),
        source{a.x, a.in_scale, a.in, a.height, a.width, a.pad_y, a.pad_x},
        epilogue(a), threads(thread_count(tiling.total * a.in * a.out)), lanes(vectors_for(tiling.total, threads) * L),
        blocks(divide_up(tiling.total, lanes)), panels(divide_up(a.out, kPanel)), u_stride(a.in * kPanel + L),
        v_stride(a.in * lanes + L), m_stride(kPanel * lanes + L) {}

  void run() const {
    const int64_t u_size = kProducts * u_stride, v_size = kProducts * v_stride, m_size = kProducts * m_stride;
    const bool few_tiles = tiling.total < a.out;
    const Scratch<float> u((few_tiles ? threads : panels) * u_size), v((few_tiles ? blocks : threads) * v_size);
    const Scratch<float> m(threads * m_size);
    if (few_tiles) {
      constexpr int64_t kChannels = 16;
      const int64_t parts = divide_up(a.in, kChannels);
      parallel_tasks(blocks * parts, threads, [&](int64_t task, int) {
        const int64_t block = task / parts, first = task % parts * kChannels;
        transform_block(block, first, smaller(first + kChannels, a.in), v.get() + block * v_size);
      });
      parallel_tasks(panels, threads, [&](int64_t panel, int thread) {
        float* const filters = u.get() + thread * u_size;
        transform_panel(panel, filters);
        for (int64_t block = 0; block < blocks; ++block)
          finish(block, panel, filters, v.get() + block * v_size, m.get() + thread * m_size);
      });
    } else {
      parallel_tasks(panels, threads, [&](int64_t panel, int) { transform_panel(panel, u.get() + panel * u_size); });
      parallel_tasks(blocks, threads, [&](int64_t block, int thread) {
        float* const tiles = v.get() + thread * v_size;
        transform_block(block, 0, a.in, tiles);
        for (int64_t panel = 0; panel < panels; ++panel)
          finish(block, panel, u.get() + panel * u_size, tiles, m.get() + thread * m_size);
      });
    }
    if (!epilogue.finishes_rows()) epilogue.all();
  }

 private:
  int tiles_of(int64_t block) const { return int(smaller(lanes, tiling.total - block * lanes)); }

  // u [kProducts, in, kPanel]
  void transform_panel(int64_t panel, float* u) const {
    const int64_t in_step = a.adjoint ? a.out * 9 : 9, out_step = a.adjoint ? 9 : a.in * 9;
    const int count = int(smaller(kPanel, a.out - panel * kPanel));
    for (int64_t i = 0; i < a.in; ++i)
      transform_filters<F>(a.w + panel * kPanel * out_step + i * in_step, out_step, a.adjoint, count, u + i * kPanel,
                           u_stride);
  }

  // v [kProducts, in, lanes], of input channels [first, last)
  void transform_block(int64_t block, int64_t first, int64_t last, float* v) const {
    Piece pieces[kVectors * L];
    const Piece* const end = pieces + tiling.pieces_of(block * lanes, tiles_of(block), pieces);
    for (int64_t i = first; i < last; ++i) {
      for (const Piece* piece = pieces; piece < end;) {
        const Piece* next = piece;
        while (next < end && next->lane / L == piece->lane / L) ++next;
        transform_patches<DataPatch<F>>(source, i, piece, next, v + i * lanes + piece->lane, v_stride);
        piece = next;
      }
    }
  }

  template <int vectors>
  void multiply(const float* u, const float* v, float* m) const {
    for (int k = 0; k < kProducts; ++k)
      for (int r = 0; r < kPanel; r += kRows)
        multiply_rows<vectors>(u + k * u_stride + r, 1, kPanel, v + k * v_stride, lanes, a.in,
                               m + k * m_stride + r * lanes, lanes, false);
  }

  void finish(int64_t block, int64_t panel, const float* u, const float* v, float* m) const {
    const int count = tiles_of(block), vectors = (count + L - 1) / L;
    vectors == 3 ? multiply<3>(u, v, m) : vectors == 2 ? multiply<2>(u, v, m) : multiply<1>(u, v, m);
    Piece pieces[kVectors * L];
    const Piece* const end = pieces + tiling.pieces_of(block * lanes, count, pieces);
    constexpr int line = kVectors * L * F::m + kGroup;
    alignas(64) float rows[F::m * line];
    const int64_t outs = smaller(kPanel, a.out - panel * kPanel);
    for (int64_t o = 0; o < outs; ++o) {
      for (int j = 0; j < vectors; ++j)
        transform_output<F>(m + o * lanes + j * L, m_stride, rows + j * L * F::m, line);
      for (const Piece* piece = pieces; piece < end; ++piece) {
        const int64_t y = piece->row * F::m, x = piece->column * F::m;
        const int64_t width = smaller(piece->count * F::m, a.out_width - x), height = smaller(F::m, a.out_height - y);
        for (int64_t r = 0; r < height; ++r)
          epilogue.row(rows + r * line + piece->lane * F::m, piece->image, panel * kPanel + o,
                       (y + r) * a.out_width + x, width);
      }
    }
  }

  const WinogradArgs a;
  const Tiling tiling;
  const Source source;
  const Epilogue epilogue;
  const int threads;
  const int64_t lanes, blocks, panels, u_stride, v_stride, m_stride;
};

// dU = sum over tiles of (A dy A^T) (B^T d B), dw = G^T dU G. Chunk after chunk of tiles is transformed, that of x with
// the channels as lanes, and multiplied into dU.
template <class F>
class WeightGradient {
  static constexpr int kProducts = F::size * F::size;
  static constexpr int64_t kChunkBytes = 16 << 20;  // of the transformed tiles of a chunk

 public:
  explicit WeightGradient(const WinogradArgs& args)
      : a(args), tiling(a.n, a.out_height, a.out_width, F::m), groups(divide_up(a.in, L)),
        panels(divide_up(groups, kVectors)), vectors(int(divide_up(groups, panels))), lanes(vectors * L),
        outs(divide_up(a.out, kRows) * kRows), chunk(chunk_of(tiling.total, panels * lanes + outs)),
        panel_size(chunk * lanes), x_stride(panels * panel_size + L), dy_row(chunk + L), dy_stride(outs * dy_row),
        du_row(groups * L), du_stride(outs * du_row + L), threads(thread_count(tiling.total * a.in * a.out)) {}

  void run() const {
    const Scratch<float> x(kProducts * x_stride), dy(kProducts * dy_stride), du(kProducts * du_stride);
    const Scratch<float> squares(threads * kProducts * L * L);
    for (int k = 0; k < kProducts; ++k)
      for (int64_t i = a.out * dy_row; i < outs * dy_row; ++i) dy.get()[k * dy_stride + i] = 0;
    int64_t first = 0;
    do {
      const int64_t count = smaller(chunk, tiling.total - first), steps = divide_up(count, L);
      parallel_tasks(groups * steps + a.out, threads, [&](int64_t task, int thread) {
        float* const square = squares.get() + thread * kProducts * L * L;
        if (task < groups * steps) return transform_x(task / steps, first, task % steps * L, count, square, x.get());
        transform_dy(task - groups * steps, first, count, dy.get());
      });
      parallel_tasks(kProducts * panels, threads, [&](int64_t task, int) {
        const int64_t k = task / panels, panel = task % panels;
        const int width = int(smaller(vectors, groups - panel * vectors));
        const float* const v = x.get() + k * x_stride + panel * panel_size;
        const float* const u = dy.get() + k * dy_stride;
        float* const m = du.get() + k * du_stride + panel * lanes;
        width == 3   ? multiply<3>(u, v, steps * L, m, first > 0)
        : width == 2 ? multiply<2>(u, v, steps * L, m, first > 0)
                     : multiply<1>(u, v, steps * L, m, first > 0);
      });
      first += chunk;
    } while (first < tiling.total);
    parallel_tasks(a.out, threads, [&](int64_t o, int) { write_kernels(o, du.get()); });
  }

 private:
  static int64_t chunk_of(int64_t tiles, int64_t channels) {
    const int64_t fits = kChunkBytes / (channels * kProducts * int64_t(sizeof(float)) * L) * L;
    return smaller(fits > 4 * L ? fits : 4 * L, divide_up(tiles, L) * L);
  }

  // x [kProducts, panels, chunk, lanes], of one vector of channels and of tiles
  void transform_x(int64_t group, int64_t first, int64_t at, int64_t count, float* square, float* x) const {
    const Source source{a.x, a.in_scale, a.in, a.height, a.width, a.pad_y, a.pad_x};
    Piece pieces[L];
    const Piece* const end = pieces + tiling.pieces_of(first + at, int(smaller(L, count - at)), pieces);
    for (int i = 0; i < L; ++i) {
      if (group * L + i < a.in)
        transform_patches<DataPatch<F>>(source, group * L + i, pieces, end, square + i * L, L * L);
      else
        for (int k = 0; k < kProducts; ++k) store(Vec<float>(0.0f), square + k * L * L + i * L);
    }
    float* const to = x + group / vectors * panel_size + at * lanes + group % vectors * L;
    for (int k = 0; k < kProducts; ++k) transpose(square + k * L * L, to + k * x_stride, lanes);
  }

  // dy [kProducts, outs, dy_row], of one channel
  void transform_dy(int64_t o, int64_t first, int64_t count, float* dy) const {
    const Source source{a.dy, nullptr, a.out, a.out_height, a.out_width, 0, 0};
    for (int64_t at = 0; at < count; at += L) {
      Piece pieces[L];
      const Piece* const end = pieces + tiling.pieces_of(first + at, int(smaller(L, count - at)), pieces);
      transform_patches<GradientPatch<F>>(source, o, pieces, end, dy + o * dy_row + at, dy_stride);
    }
  }

  template <int width>
  void multiply(const float* u, const float* v, int64_t depth, float* m, bool add) const {
    for (int64_t o = 0; o < outs; o += kRows)
      multiply_rows<width>(u + o * dy_row, dy_row, 1, v, lanes, depth, m + o * du_row, du_row, add);
  }

  // du [kProducts, outs, du_row]
  void write_kernels(int64_t o, const float* du) const {
    for (int64_t i = 0; i < a.in; i += L) {
      float taps[9 * L];
      transform_filter_gradients<F>(du + o * du_row + i, du_stride, taps);
      float* const dw = a.dw + (o * a.in + i) * 9;
      for (int64_t lane = 0; lane < smaller(L, a.in - i); ++lane)
        for (int k = 0; k < 9; ++k) dw[lane * 9 + k] = taps[k * L + lane];
    }
  }

  const WinogradArgs a;
  const Tiling tiling;
  const int64_t groups, panels;  // vectors of input channels, and how many panels they are divided into
  const int vectors;             // of a panel; fewer in the last one
  const int64_t lanes, outs, chunk, panel_size, x_stride, dy_row, dy_stride, du_row, du_stride;
  const int threads;
};

void forward(const WinogradArgs& a) {
  if (a.tile == 2) return Convolution<Winograd2>(a).run();
  Convolution<Winograd4>(a).run();
}

void weight_gradient(const WinogradArgs& a) {
  if (a.tile == 2) return WeightGradient<Winograd2>(a).run();
  WeightGradient<Winograd4>(a).run();
}

}  // namespace

const WinogradKernels& winograd_kernels() {
  static constexpr WinogradKernels kernels{forward, weight_gradient};
  return kernels;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

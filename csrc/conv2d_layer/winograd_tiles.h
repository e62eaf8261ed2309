// Tiles of an image batch, in raster order over images, tile rows and tile columns, and their transforms.
#pragma once
#include "conv2d_layer/winograd_transform.h"

namespace fastgan {
namespace FASTGAN_ISA {

FASTGAN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
FASTGAN_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The filter that product k = r * size + c of a tile is with.
template <class F>
constexpr int filter_of(int k) {
  return F::filter_of(k / F::size) * F::filters + F::filter_of(k % F::size);
}

// Neighbouring tiles of one tile row, `lane` the first one's place among the tiles of a block.
struct Piece {
  int64_t image, row, column;
  int lane, count;
};

struct Tiling {
  int64_t rows, columns, total;
  Tiling(int64_t images, int64_t height, int64_t width, int side)
      : rows((height + side - 1) / side), columns((width + side - 1) / side), total(images * rows * columns) {}

  // The pieces of tiles [first, first + count), none across two vectors; at most `count`.
  int pieces_of(int64_t first, int count, Piece* to) const {
    int pieces = 0;
    for (int lane = 0; lane < count; lane += to[pieces++].count) {
      const int64_t tile = first + lane, row = tile / columns, column = tile % columns;
      const int64_t in_row = columns - column, in_vector = Vec<float>::size - lane % Vec<float>::size;
      const int64_t left = in_row < in_vector ? in_row : in_vector;
      to[pieces] = {row / rows, row % rows, column, lane, int(left < count - lane ? left : count - lane)};
    }
    return pieces;
  }
};

// An image batch that patches are taken from. [images, channels, height, width]
struct Source {
  const float* data;
  const float* scale;  // [images, channels], or null
  int64_t channels, height, width, pad_y, pad_x;
};

// Transforms `count` columns of the rows from y on down, x the first column; what lies outside the image is 0.
template <class Patch, int line>
FASTGAN_INLINE void transform_columns(const Source& s, const float* plane, Vec<float> scale, int64_t y, int64_t x,
                                      int64_t count, float (&to)[Patch::Form::size][line], int64_t at) {
  constexpr int L = Vec<float>::size;
  for (int64_t k = 0; k < count; k += L) {
    const int64_t from = -(x + k), in_image = s.width - (x + k), end = in_image < count - k ? in_image : count - k;
    Vec<float> d[Patch::rows], out[Patch::Form::size];
    for (int r = 0; r < Patch::rows; ++r) {
      const bool inside = y + r >= 0 && y + r < s.height;
      d[r] = inside ? load_between(plane + (y + r) * s.width + x + k, from, end) * scale : Vec<float>(0.0f);
    }
    Patch::transform(d, out);
    for (int r = 0; r < Patch::Form::size; ++r) store(out[r], to[r] + at + k);
  }
}

// What transform_patches will read: patches lie in as many places as they have rows, which no processor foresees.
template <class Patch>
FASTGAN_INLINE void prefetch_patches(const Source& s, int64_t channel, const Piece* piece, const Piece* end) {
  constexpr int64_t kLine = 64 / sizeof(float);
  for (; piece < end; ++piece) {
    const int64_t plane = piece->image * s.channels + channel, y = piece->row * Patch::step - s.pad_y;
    const int64_t x = piece->column * Patch::step - s.pad_x, last = x + piece->count * Patch::step;
    for (int64_t row = y > 0 ? y : 0; row < s.height && row < y + Patch::rows; ++row)
      for (int64_t column = x > 0 ? x : 0; column < last && column < s.width; column += kLine)
        __builtin_prefetch(s.data + (plane * s.height + row) * s.width + column);
  }
}

// The patches of one vector of tiles, transformed: number (r, c) of each goes to to[(r * size + c) * stride ..]. Lanes
// without a tile become 0.
template <class Patch>
inline void transform_patches(const Source& s, int64_t channel, const Piece* piece, const Piece* end, float* to,
                              int64_t stride) {
  using F = typename Patch::Form;
  constexpr int L = Vec<float>::size, step = Patch::step, overlap = Patch::rows - step, line = (step + 1) * L;
  alignas(64) float lines[F::size][line], ahead[F::size][line];  // ahead: the columns one tile further right
  const bool whole = piece->count == L;
  const int filled = end[-1].lane % L + end[-1].count;
  if (filled < L)
    for (int r = 0; r < F::size; ++r)
      for (int k = 0; k < line; k += L) store(Vec<float>(0.0f), lines[r] + k), store(Vec<float>(0.0f), ahead[r] + k);
  for (; piece < end; ++piece) {
    const int64_t plane = piece->image * s.channels + channel, y = piece->row * step - s.pad_y;
    const int64_t x = piece->column * step - s.pad_x, at = piece->lane % L * step;
    const float* const from = s.data + plane * s.height * s.width;
    const Vec<float> scale(s.scale ? s.scale[plane] : 1.0f);
    transform_columns<Patch>(s, from, scale, y, x, piece->count * step + (whole ? overlap : 0), lines, at);
    if (overlap && !whole) transform_columns<Patch>(s, from, scale, y, x + step, piece->count * step, ahead, at);
  }
  for (int r = 0; r < F::size; ++r) {
    Vec<float> d[Patch::rows], next[step], out[F::size];
    load_phases<step>(lines[r], d);
    if constexpr (overlap > 0) {
      load_phases<step>(whole ? lines[r] + step : ahead[r], next);
      for (int c = 0; c < overlap; ++c) d[step + c] = next[c];
    }
    Patch::transform(d, out);
    for (int c = 0; c < F::size; ++c) store(out[c], to + (r * F::size + c) * stride);
  }
}

// The pixels of one vector of tiles from their products: row r of tile t goes to to[r * line + t * out ..].
template <class F>
inline void transform_output(const float* products, int64_t stride, float* to, int64_t line) {
  Vec<float> columns[F::out][F::size];
  for (int c = 0; c < F::size; ++c) {
    Vec<float> u[F::size], y[F::out];
    for (int r = 0; r < F::size; ++r) u[r] = load(products + (r * F::size + c) * stride);
    F::output(u, y);
    for (int r = 0; r < F::out; ++r) columns[r][c] = y[r];
  }
  for (int r = 0; r < F::out; ++r) {
    Vec<float> y[F::out];
    F::output(columns[r], y);
    store_phases(y, to + r * line);
  }
}

// The filters of one vector of output channels from their taps [9, L]: number (r, c) goes to
// to[(r * filters + c) * stride ..].
template <class F>
inline void transform_filters(const float* taps, bool turned, float* to, int64_t stride) {
  constexpr int L = Vec<float>::size;
  const auto tap = [&](int k) { return load(taps + (turned ? 8 - k : k) * L); };
  Vec<float> rows[F::filters][3];
  for (int c = 0; c < 3; ++c) {
    const Vec<float> g[3] = {tap(c), tap(3 + c), tap(6 + c)};
    Vec<float> u[F::filters];
    F::filter(g, u);
    for (int r = 0; r < F::filters; ++r) rows[r][c] = u[r];
  }
  for (int r = 0; r < F::filters; ++r) {
    Vec<float> u[F::filters];
    F::filter(rows[r], u);
    for (int c = 0; c < F::filters; ++c) store(u[c], to + (r * F::filters + c) * stride);
  }
}

// The kernels of one vector of input channels, to[k * L + lane], from the gradients of their filters, numbered as
// above: the sum of `slices` of them.
template <class F>
inline void transform_filter_gradients(const float* du, int64_t stride, int64_t slices, bool turned, float* to) {
  Vec<float> columns[3][F::filters];
  for (int c = 0; c < F::filters; ++c) {
    Vec<float> u[F::filters], g[3];
    for (int r = 0; r < F::filters; ++r) {
      const float* from = du + (r * F::filters + c) * stride;
      u[r] = load(from);
      for (int64_t slice = 1; slice < slices; ++slice) u[r] += load(from += F::filters * F::filters * stride);
    }
    F::filter_gradient(u, g);
    for (int r = 0; r < 3; ++r) columns[r][c] = g[r];
  }
  for (int r = 0; r < 3; ++r) {
    Vec<float> g[3];
    F::filter_gradient(columns[r], g);
    for (int c = 0; c < 3; ++c) store(g[c], to + (turned ? 8 - r * 3 - c : r * 3 + c) * Vec<float>::size);
  }
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

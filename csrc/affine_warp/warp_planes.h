// Images as the CPU kernels see them: planes of a sample, its colours, rows of pixels.
#pragma once
#include <cstddef>

#include "affine_warp/warp_taps.h"
#include "common/halves.h"

namespace fastgan {
namespace FASTGAN_ISA {

// The first channels of a group of four, of one sample.
template <class T>
struct Planes {
  T* data;
  int64_t channels, stride_c, stride_h, stride_w;

  Planes(const AffineWarpArgs& a, T* all, int64_t n, int64_t group)
      : data(all + n * a.stride_n + group * kLanes * a.stride_c), channels(a.c - group * kLanes < kLanes ? a.c - group * kLanes : kLanes),
        stride_c(a.stride_c), stride_h(a.stride_h), stride_w(a.stride_w) {}
};

template <class A>
struct ColorMatrix {
  Pixel<A> column[kLanes] = {}, constant = {};

  ColorMatrix(const A* color, int64_t channels, bool linear, bool transposed) {
    for (int64_t i = 0; color && i < channels; ++i) {
      for (int64_t j = 0; j < channels; ++j) column[transposed ? i : j][transposed ? j : i] = color[i * (channels + 1) + j];
      if (!linear) constant[i] = color[i * (channels + 1) + channels];
    }
  }
  FASTGAN_INLINE void apply(Pixel<A>& v) const {
    Pixel<A> sum = constant;
    for (int c = 0; c < kLanes; ++c) sum += column[c] * v[c];
    v = sum;
  }
};

// Pixels at offsets of one row, four channels each, zeros for those that are not there.
template <class T, class A>
void gather(const Planes<const T>& x, const T* row, const int64_t* offsets, int64_t count, A* out) {
  if (x.channels < kLanes) __builtin_memset(out, 0, size_t(count * kLanes) * sizeof(A));
  for (int64_t c = 0; c < x.channels; ++c)
    for (int64_t k = 0; k < count; ++k) out[k * kLanes + c] = A(widen(row[offsets[k] + c * x.stride_c]));
}

// A row of pixels under the colour matrix.
template <class A>
void apply_colors(const ColorMatrix<A>& color, A* row, int64_t count) {
  for (int64_t j = 0; j < count; ++j) {
    Pixel<A> v;
    get(v, row + j * kLanes);
    color.apply(v);
    put(v, row + j * kLanes);
  }
}

// A row of pixels -> `count` of row i of an image, from column j on.
template <class T, class A>
void write_pixels(const Planes<T>& y, int64_t i, int64_t j, int64_t count, const A* row) {
  for (int64_t c = 0; c < y.channels; ++c) {
    T* const to = y.data + i * y.stride_h + j * y.stride_w + c * y.stride_c;
    for (int64_t k = 0; k < count; ++k) narrow(row[k * kLanes + c], to[k * y.stride_w]);
  }
}

// sum += more, pixels.
template <class A>
FASTGAN_INLINE void add_pixel(A* sum, const A* more) {
  Pixel<A> a, b;
  get(a, sum);
  get(b, more);
  a += b;
  put(a, sum);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// Rows of several planes as vectors, a lane for each plane: read from images and written to them, in either layout.
#pragma once
#include <cstdint>

#include "common/halves.h"
#include "filtered_lrelu/row_sums.h"

namespace fastgan {
namespace FASTGAN_ISA {

// A row of planes of images, no more of them than a vector has lanes.
template <class T>
struct ImageRow {
  T* at;               // its first pixel in the first plane
  int64_t next_plane;  // from a plane to the next; from a pixel to the next it is 1, or that distance is
  int64_t next_pixel;
  int64_t width;
  int planes;
};

// Rows become columns: the numbers shuffled like a deck of cards, as often as brings their two indices to change places.
template <class A>
FASTGAN_INLINE void transpose(Vec<A> (&v)[Vec<A>::size]) {
  constexpr int L = Vec<A>::size;
  unrolled<L == 16 ? 4 : L == 8 ? 3 : L == 4 ? 2 : 1>(FASTGAN_EACH(round) {
    (void)round;
    Vec<A> next[L];
    unrolled<L / 2>(FASTGAN_EACH(i) { interleave(v[i], v[i + L / 2], next[2 * i], next[2 * i + 1]); });
    unrolled<L>(FASTGAN_EACH(i) { v[i] = next[i]; });
  });
}

// f(first) for blocks of a vector's columns, the last of which may overlap the one before. Returns how many columns f saw.
template <class A, class F>
FASTGAN_INLINE int64_t each_square(int64_t width, const F& f) {
  constexpr int64_t L = Vec<A>::size;
  if (width < L) return 0;
  for (int64_t i = 0; i < width; i += L) f(i + L <= width ? i : width - L);
  return width;
}

// Lanes without a plane repeat the last one, or are 0.
template <class A, class T>
inline void read_lanes(const ImageRow<const T>& row, Vec<A> bias, A* to) {
  constexpr int L = Vec<A>::size;
  int64_t x = 0;
  if (row.next_pixel == 1) {
    x = each_square<A>(row.width, [&](int64_t first) __attribute__((always_inline)) {
      Vec<A> v[L];
      unrolled<L>(FASTGAN_EACH(lane) {
        v[lane] = load(row.at + (lane < row.planes ? int(lane) : row.planes - 1) * row.next_plane + first);
      });
      transpose(v);
      unrolled<L>(FASTGAN_EACH(i) { store(v[i] + bias, to + (first + i) * L); });
    });
  } else if (row.planes == L && row.next_plane == 1) {
    for (; x < row.width; ++x) store(load(row.at + x * row.next_pixel) + bias, to + x * L);
  }
  for (; x < row.width; ++x) {
    A lanes[L] = {};
    for (int p = 0; p < row.planes; ++p) lanes[p] = widen(row.at[p * row.next_plane + x * row.next_pixel]);
    store(load(lanes) + bias, to + x * L);
  }
}

template <class A, class T>
inline void write_lanes(const A* from, const ImageRow<T>& row) {
  constexpr int L = Vec<A>::size;
  int64_t x = 0;
  if (row.next_pixel == 1) {
    x = each_square<A>(row.width, [&](int64_t first) __attribute__((always_inline)) {
      Vec<A> v[L];
      unrolled<L>(FASTGAN_EACH(i) { v[i] = load(from + (first + i) * L); });
      transpose(v);
      unrolled<L>(FASTGAN_EACH(lane) {
        if (lane < row.planes) store(v[lane], row.at + lane * row.next_plane + first);
      });
    });
  } else if (row.planes == L && row.next_plane == 1) {
    for (; x < row.width; ++x) store(load(from + x * L), row.at + x * row.next_pixel);
  }
  for (; x < row.width; ++x)
    for (int p = 0; p < row.planes; ++p) narrow(from[x * L + p], row.at[p * row.next_plane + x * row.next_pixel]);
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// Groups of 16 elements of an epilogue, whole or not, and what they take of its operands.
#pragma once
#include "conv2d_layer/conv2d_epilogue.h"
// after the arguments
#include "bias_act/groups.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

template <class A>
FASTGAN_INLINE Group<A> same(A value) {
  Group<A> g;
  for (Vec<A>& v : g.v) v = Vec<A>(value);
  return g;
}

template <class T>
__attribute__((noinline)) const T* padded(const T* p, int64_t count, T* copy) {
  for (int j = 0; j < kGroup; ++j) copy[j] = T{};
  __builtin_memcpy(copy, p, size_t(count) * sizeof(T));
  return copy;
}

// Where there are less than 16 elements, 0 stands behind them.
template <class T>
FASTGAN_INLINE Group<Accumulate<T>> load_some(const T* p, int64_t count) {
  T copy[kGroup];
  if (count < kGroup) p = padded(p, count, copy);
  Group<Accumulate<T>> g;
  for (int j = 0; j < Group<Accumulate<T>>::vectors; ++j) g.v[j] = load(p + j * Vec<Accumulate<T>>::size);
  return g;
}

template <class T>
FASTGAN_INLINE void store_some(const Group<Accumulate<T>>& g, T* p, int64_t count) {
  T copy[kGroup];
  T* const to = count < kGroup ? copy : p;
  for (int j = 0; j < Group<Accumulate<T>>::vectors; ++j) store(g.v[j], to + j * Vec<Accumulate<T>>::size);
  if (count < kGroup) __builtin_memcpy(p, copy, size_t(count) * sizeof(T));
}

template <class A>
FASTGAN_INLINE A sum_group(const Group<A>& g) {
  Vec<A> total = g.v[0];
  for (int j = 1; j < Group<A>::vectors; ++j) total += g.v[j];
  return sum_lanes(total);
}

// v = scale u + shift; shift is noise + b.
template <class A>
struct Terms {
  Group<A> scale, shift;
};

// What stays along a run of neighbouring elements, and what changes: the pixels of one channel of a sample, or, where
// channels are last, the channels of one pixel.
template <class T>
struct Run {
  using A = Accumulate<T>;
  A scale = 1, shift = 0;
  const A* scales = nullptr;
  const T* shifts = nullptr;

  FASTGAN_INLINE Run(const EpilogueArgs& a, int64_t run) {
    const LayerOperands& o = a.operands;
    const int64_t runs = a.channels_last ? a.pixels : a.channels, sample = run / runs, place = run - sample * runs;
    const A* const s = o.scale ? static_cast<const A*>(o.scale) + sample * a.channels : nullptr;
    const T* const noise = o.noise ? static_cast<const T*>(o.noise) + sample * o.noise_step : nullptr;
    const T* const b = static_cast<const T*>(o.b);
    if (a.channels_last) {
      scales = s;
      shifts = b;
      if (noise) shift = widen(noise[place]);
    } else {
      if (s) scale = s[place];
      if (b) shift = widen(b[place]);
      shifts = noise;
    }
  }
  FASTGAN_INLINE Terms<A> at(int64_t j, int64_t count) const {
    Terms<A> t{same(scale), same(shift)};
    if (scales) t.scale = load_some(scales + j, count);
    if (shifts) add_group(t.shift, load_some(shifts + j, count));
    return t;
  }
};

// Elements i to i + count, which may belong to several runs.
template <class T>
__attribute__((noinline)) Terms<Accumulate<T>> gather(const EpilogueArgs& a, int64_t inner, int64_t i, int64_t count) {
  using A = Accumulate<T>;
  A scale[kGroup] = {}, shift[kGroup] = {};
  int64_t r = i / inner, j = i - r * inner;
  Run<T> run(a, r);
  for (int64_t lane = 0; lane < count; ++lane, ++j) {
    if (j == inner) run = Run<T>(a, ++r), j = 0;
    scale[lane] = run.scales ? run.scales[j] : run.scale;
    shift[lane] = run.shifts ? run.shift + widen(run.shifts[j]) : run.shift;
  }
  return {load_group(scale), load_group(shift)};
}

}  // namespace
}  // namespace FASTGAN_ISA
}  // namespace fastgan

// What one GPU thread does with neighbouring elements of an epilogue: load, compute, store.
#pragma once
#include "conv2d_layer/conv2d_epilogue.h"
#include "conv2d_layer/finish_packet.cuh"

namespace fastgan {
namespace cuda {
namespace {

// What the kernels get by value.
struct EpilogueLaunch {
  EpilogueArgs a;
  bool aligned = false;  // every tensor begins at 16 bytes, so that whole packets move in wide accesses
  int64_t parts = 1;     // that the sums of a channel of a sample are made of
  int64_t slices = 1;    // of the channels, that the sum over them is made of
};

template <class T>
__device__ __forceinline__ void add_values(Values<T>& sum, const Values<T>& values) {
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) sum.v[k] = sum.v[k] + values.v[k];
}

// v = scale u + shift; shift is noise + b.
template <class T>
struct Terms {
  Held<Accumulate<T>, kPacket<T>> scale;
  Held<T, kPacket<T>> noise, b;

  __device__ __forceinline__ Values<T> shift() const {
    Values<T> sum = values_of<T>(noise);
    add_values(sum, values_of<T>(b));
    return sum;
  }
};

// Of elements of the flat tensor.
template <class T>
__device__ __forceinline__ Terms<T> load_terms(const EpilogueLaunch& l, const Place& at) {
  using A = Accumulate<T>;
  const EpilogueArgs& a = l.a;
  const LayerOperands& o = a.operands;
  const int64_t inner = a.channels_last ? a.channels : a.pixels, runs = a.channels_last ? a.pixels : a.channels;
  int64_t run = at.i / inner, inside = at.i - run * inner, sample = run / runs, place = run - sample * runs;
  const auto channel = [&] { return a.channels_last ? inside : place; };
  const auto pixel = [&] { return a.channels_last ? place : inside; };
  Terms<T> terms;
  if (inner % kPacket<T> == 0) {  // one channel, or one pixel
    const auto from = [&](int64_t i) { return Place{i, at.count, at.whole}; };
    terms.scale = load_operand<T, A>(o.scale, from(sample * a.channels + channel()), a.channels_last, A(1));
    terms.noise = load_operand<T, T>(o.noise, from(sample * o.noise_step + pixel()), !a.channels_last, A(0));
    terms.b = load_operand<T, T>(o.b, from(channel()), a.channels_last, A(0));
    return terms;
  }
  Packet<A, kPacket<T>> scale;
  Packet<T, kPacket<T>> noise = {}, b;
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) {
    const bool live = k < at.count;
    scale.v[k] = o.scale && live ? static_cast<const A*>(o.scale)[sample * a.channels + channel()] : A(1);
    if (o.noise && live) noise.v[k] = static_cast<const T*>(o.noise)[sample * o.noise_step + pixel()];
    narrow(A(-0.0), b.v[k]);  // leaves the noise as it is
    if (o.b && live) b.v[k] = static_cast<const T*>(o.b)[channel()];
    if (++inside == inner) {
      inside = 0;
      if (++place == runs) place = 0, ++sample;
    }
  }
  terms.scale = decltype(terms.scale)::of(scale), terms.noise = decltype(terms.noise)::of(noise);
  terms.b = decltype(terms.b)::of(b);
  return terms;
}

template <class T>
struct EpilogueForward {
  struct Inputs {
    Held<T, kPacket<T>> u, residual;
    Terms<T> terms;
  };
  const EpilogueLaunch& l;
  FinishPacket<T> formula;

  __device__ explicit EpilogueForward(const EpilogueLaunch& launch) : l(launch), formula(launch.a.operands) {}

  __device__ __forceinline__ Inputs load(const Place& at) const {
    return {load_values<T>(l.a.u, at), formula.load_residual(at), load_terms<T>(l, at)};
  }
  __device__ __forceinline__ void finish(const Inputs& in, const Place& at) const {
    unsigned mask = 0;
    const Values<T> y = formula(mask, values_of<T>(in.u), values_of<T>(in.terms.scale), values_of<T>(in.residual),
                                in.terms.shift());
    store_values<T>(y, l.a.out, at);
    if (l.a.operands.mask) store_mask<T>(mask, l.a.operands.mask, at);
  }
};

// g = slope dy, and its product with u; with scale u where u comes from y.
template <class T>
struct EpilogueBackward {
  using V = Number<Accumulate<T>>;
  struct Inputs {
    Held<T, kPacket<T>> dy, other;
    unsigned mask;
  };
  struct Result {
    Values<T> g, product;
  };
  const EpilogueLaunch& l;
  Slopes<V> slopes;

  __device__ explicit EpilogueBackward(const EpilogueLaunch& launch)
      : l(launch), slopes(launch.a.operands, launch.a.operands.negative_slope) {}

  __device__ __forceinline__ bool from_y() const { return l.a.dscale && !l.a.u; }

  __device__ __forceinline__ Inputs load(const Place& at) const {
    Inputs in = {};
    in.dy = load_values<T>(l.a.dy, at);
    if (l.a.dscale) in.other = load_values<T>(l.a.u ? l.a.u : l.a.y, at);
    if (l.a.operands.mask) in.mask = load_mask<T>(l.a.operands.mask, at);
    return in;
  }
  // Writes du.
  __device__ __forceinline__ Result finish(const Inputs& in, const Terms<T>& terms, const Place& at) const {
    const Values<T> dy = values_of<T>(in.dy), other = values_of<T>(in.other);
    const Values<T> scale = values_of<T>(terms.scale), shift = terms.shift();
    Result r;
    Values<T> du;
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k) {
      V slope = slopes.positive;
      if (l.a.operands.mask) {
        const unsigned code = in.mask >> (2 * k);
        slope = select(code & 2, V(0), select(code & 1, slopes.positive, slopes.negative));
      }
      const V g = times_slope(dy.v[k], slope);
      du.v[k] = scale.v[k] * g;
      r.g.v[k] = g;
      r.product.v[k] = g * other.v[k];
      if (from_y()) r.product.v[k] = product_from_y(slope, dy.v[k], other.v[k], g, shift.v[k]);
    }
    store_values<T>(du, l.a.out, at);
    return r;
  }
};

}  // namespace
}  // namespace cuda
}  // namespace fastgan

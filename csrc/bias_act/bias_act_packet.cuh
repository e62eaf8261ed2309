// What one GPU thread does with neighbouring elements of bias_act: load, compute, store.
#pragma once
#include "gpu/packet.h"
// after what they are written in terms of
#include "bias_act/activations.h"
#include "bias_act/formula.h"

namespace fastgan {
namespace cuda {

enum class Pass { forward, backward, double_backward };

// What the kernels get by value.
struct BiasActLaunch {
  BiasActArgs a;
  double negative_slope = 1;  // of a piecewise-linear activation
  bool aligned = false;       // every tensor begins at 16 bytes, so that whole packets move in wide accesses
  int64_t slices = 1;         // parts that the sum of a channel is made of
};

// The bias of each element of the flat tensor.
template <class T>
__device__ __forceinline__ Held<T, kPacket<T>> load_bias(const BiasActLaunch& l, const Place& at) {
  using Bias = Held<T, kPacket<T>>;
  const BiasActArgs& a = l.a;
  if (!a.b || at.count == 0) return {};
  const T* const b = static_cast<const T*>(a.b);
  int64_t run = at.i / a.inner, channel = run % a.channels;
  if (a.inner % kPacket<T> == 0) return Bias::all(b[channel]);
  if (a.inner == 1 && a.channels % kPacket<T> == 0)  // neighbouring channels
    return load_values<T>(b, {channel, kPacket<T>, l.aligned});
  int64_t inside = at.i - run * a.inner;
  Packet<T, kPacket<T>> bias;
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) {
    bias.v[k] = b[channel];
    if (++inside == a.inner) {
      inside = 0;
      if (++channel == a.channels) channel = 0;
    }
  }
  return Bias::of(bias);
}

// Calls f with the smooth activation of that number.
template <int number = 0, class F, class Act, class... Acts>
__device__ __forceinline__ void with_smooth(int act, const F& f, ActivationList<Act, Acts...>) {
  if constexpr (!Act::piecewise)
    if (act == number) return f(Act());
  if constexpr (sizeof...(Acts) > 0) with_smooth<number + 1>(act, f, ActivationList<Acts...>());
}

template <class T>
struct Inputs {
  Held<T, kPacket<T>> x, dy, ddx;
  unsigned mask;
};

template <class T, Pass pass, bool piecewise>
struct Formula {
  using V = Number<Accumulate<T>>;
  const BiasActLaunch& l;
  Limit<V> limit;
  Slopes<V> slopes;
  V gain;

  __device__ explicit Formula(const BiasActLaunch& launch)
      : l(launch), limit(launch.a), slopes(launch.a, launch.negative_slope), gain(Accumulate<T>(launch.a.gain)) {}

  __device__ __forceinline__ bool reads_x() const { return pass == Pass::forward || !piecewise || (l.a.x && !l.a.mask); }

  __device__ __forceinline__ Inputs<T> load(const Place& at) const {
    Inputs<T> in = {};
    if (reads_x()) in.x = load_values<T>(l.a.x, at);
    if constexpr (pass != Pass::forward) in.dy = load_values<T>(l.a.dy, at);
    if constexpr (pass == Pass::double_backward) in.ddx = load_values<T>(l.a.ddx, at);
    if constexpr (pass == Pass::backward && piecewise)
      if (l.a.mask) in.mask = load_mask<T>(l.a.mask, at);
    return in;
  }

  // The result; forward leaves the mask in in.mask.
  __device__ __forceinline__ Values<T> compute(Inputs<T>& in, const Held<T, kPacket<T>>& held_bias) const {
    const Values<T> x = values_of<T>(in.x), dy = values_of<T>(in.dy), ddx = values_of<T>(in.ddx);
    const Values<T> bias = values_of<T>(held_bias);
    Values<T> out;
    if constexpr (pass == Pass::forward && piecewise) {
      in.mask = 0;  // what lies beyond the end of the tensor may be anything
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) {
        const V v = x.v[k] + bias.v[k], y = slopes.value(v);
        in.mask |= (unsigned(slopes.rises(v)) | unsigned(limit.stops(y)) << 1) << (2 * k);
        out.v[k] = limit.clamp(y);
      }
    } else if constexpr (piecewise) {
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) {
        V slope = gain;  // of an unclamped linear, which keeps nothing
        if (l.a.mask) {
          const unsigned code = in.mask >> (2 * k);
          slope = select(code & 2, V(0), select(code & 1, slopes.positive, slopes.negative));
        } else if (l.a.x) {
          const V v = x.v[k] + bias.v[k];
          slope = select(limit.stops(slopes.value(v)), V(0), slopes.slope(v));
        }
        out.v[k] = times_slope(dy.v[k], slope);
      }
    } else {
      with_smooth(l.a.act, [&](auto act) {
        using Act = decltype(act);
#pragma unroll
        for (int k = 0; k < kPacket<T>; ++k) {
          const V v = x.v[k] + bias.v[k];
          if constexpr (pass == Pass::forward) out.v[k] = limit.clamp(Act::f(v) * gain);
          if constexpr (pass == Pass::backward) out.v[k] = dy.v[k] * (Act::df(v) * gain);
          if constexpr (pass == Pass::double_backward) out.v[k] = ddx.v[k] * (dy.v[k] * (Act::d2f(v) * gain));
          if (pass != Pass::forward && l.a.clamp >= 0)
            out.v[k] = select(limit.exceeded(Act::f(v) * gain), V(0), out.v[k]);
        }
      }, Activations());
    }
    return out;
  }

  __device__ __forceinline__ void store(const Values<T>& out, unsigned mask, const Place& at) const {
    store_values<T>(out, l.a.out, at);
    if constexpr (pass == Pass::forward && piecewise)
      if (l.a.mask) store_mask<T>(mask, l.a.mask, at);
  }
};

}  // namespace cuda
}  // namespace fastgan

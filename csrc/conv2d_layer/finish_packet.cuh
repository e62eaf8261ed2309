// Where finish.h stands in the GPU's kernels: neighbouring elements of one thread.
#pragma once
#include "gpu/packet.h"
// after what it is written in terms of
#include "conv2d_layer/finish.h"

namespace fastgan {
namespace cuda {

template <class T>
__device__ __forceinline__ Values<T> all_same(Accumulate<T> value) {
  Values<T> values;
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) values.v[k] = value;
  return values;
}

// What a packet takes of an operand: its elements from `at` on, or the same one for all.
template <class T, class Stored>
__device__ __forceinline__ Held<Stored, kPacket<T>> load_operand(const void* tensor, const Place& at, bool along,
                                                                 Accumulate<T> absent) {
  if (tensor && at.count > 0 && along) return load_values<T, Stored>(tensor, at);
  Stored number;
  narrow(absent, number);
  if (tensor && at.count > 0) number = static_cast<const Stored*>(tensor)[at.i];
  return Held<Stored, kPacket<T>>::all(number);
}

template <class T>
class FinishPacket {
  using V = Number<Accumulate<T>>;
  const LayerOperands& a_;
  Finish<V> finish_;

 public:
  __device__ __forceinline__ explicit FinishPacket(const LayerOperands& a) : a_(a), finish_(a) {}

  // The values to be stored, and their bits of the mask.
  template <class... Shifts>
  __device__ __forceinline__ Values<T> operator()(unsigned& mask, const Values<T>& u, const Values<T>& scale,
                                                  const Values<T>& residual, const Shifts&... shifts) const {
    Values<T> y;
    mask = 0;
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k) {
      const auto r = finish_(u.v[k], scale.v[k], residual.v[k], shifts.v[k]...);
      y.v[k] = r.y;
      mask |= (unsigned(r.positive) | unsigned(r.clamped) << 1) << (2 * k);
    }
    return y;
  }
  // What is added where an operand is absent.
  __device__ __forceinline__ static Accumulate<T> nothing() { return Finish<V>::nothing; }
  __device__ __forceinline__ Held<T, kPacket<T>> load_residual(const Place& at) const {
    return load_operand<T, T>(a_.residual, at, true, nothing());
  }
};

}  // namespace cuda
}  // namespace fastgan

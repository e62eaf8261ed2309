// What becomes of a convolution's result on its way to memory: y = residual + clamp(act(scale * u + noise + b) * gain).
#pragma once
#include "bias_act/formula.h"
#include "common/parallel.h"
#include "common/sign_mask.h"
#include "conv2d_layer/winograd.h"
#include "conv2d_layer/winograd_transform.h"

namespace fastgan {
namespace FASTGAN_ISA {

class Epilogue {
  using V = Vec<float>;
  static constexpr int L = V::size, kPart = kGroup / L;

 public:
  explicit Epilogue(const WinogradArgs& args)
      : a(args), pixels(args.out_height * args.out_width), slopes(settings(args), args.negative_slope),
        limit(settings(args)), bare(!a.scale && !a.noise && !a.b && !a.residual && !a.mask && a.negative_slope == 1 &&
                                    a.gain == 1 && a.clamp < 0),
        rows_apart(!a.mask || a.out_width % 4 == 0) {}

  // Mask bytes are not shared between rows: `row` may finish them. Else it only stores, and `all` has to follow.
  bool finishes_rows() const { return rows_apart; }

  // `count` neighbouring pixels of one row of y, from `pixel` on. u holds whole groups.
  FASTGAN_INLINE void row(const float* u, int64_t n, int64_t o, int64_t pixel, int64_t count) const {
    const int64_t plane = n * a.out + o, at = plane * pixels + pixel;
    if (bare || !rows_apart) {
      for (int64_t j = 0; j < count; j += L) store_first(load(u + j), a.y + at + j, count - j);
      return;
    }
    const V scale(a.scale ? a.scale[plane] : 1.0f), b(a.b ? a.b[o] : 0.0f);
    const float* const noise = a.noise ? a.noise + n * a.noise_image + pixel : nullptr;
    for (int64_t j = 0; j < count; j += kGroup) {
      V v[kPart];
      for (int i = 0; i < kPart; ++i) {
        const int64_t k = j + i * L;
        v[i] = load(u + k) * scale + (noise ? load_between(noise + k, 0, count - k) : V(0.0f)) + b;
      }
      group(v, at + j, count - j);
    }
  }

  // Every element of y, which holds u, in memory order.
  void all() const {
    const int64_t numel = a.n * a.out * pixels, task = 1024 * kGroup;
    parallel_tasks((numel + task - 1) / task, thread_count(numel), [&](int64_t t, int) {
      int64_t plane = t * task / pixels, pixel = t * task % pixels;
      for (int64_t at = t * task; at < numel && at < (t + 1) * task; at += kGroup) {
        float u[kGroup] = {};
        for (int64_t i = 0, end = numel - at < kGroup ? numel - at : kGroup; i < end;) {
          // Up to the end of the plane.
          const int64_t run = pixels - pixel < end - i ? pixels - pixel : end - i;
          const float scale = a.scale ? a.scale[plane] : 1.0f, b = a.b ? a.b[plane % a.out] : 0.0f;
          const float* const noise = a.noise ? a.noise + plane / a.out * a.noise_image + pixel : nullptr;
          for (int64_t k = 0; k < run; ++k) u[i + k] = a.y[at + i + k] * scale + (noise ? noise[k] : 0.0f) + b;
          i += run;
          pixel += run;
          if (pixel == pixels) pixel = 0, ++plane;
        }
        V v[kPart];
        for (int i = 0; i < kPart; ++i) v[i] = load(u + i * L);
        group(v, at, numel - at);
      }
    });
  }

 private:
  static BiasActArgs settings(const WinogradArgs& args) {
    BiasActArgs s;
    s.gain = args.gain;
    s.clamp = args.clamp;
    return s;
  }

  // Up to 16 elements, `count` or more, from element `at` of y on.
  FASTGAN_INLINE void group(const V (&v)[kPart], int64_t at, int64_t count) const {
    Mask<float> positive[kPart], clamped[kPart];
    for (int i = 0; i < kPart; ++i) {
      const V y = slopes.value(v[i]);
      positive[i] = slopes.rises(v[i]);
      clamped[i] = limit.stops(y);
      V out = limit.clamp(y);
      if (a.residual) out += load_between(a.residual + at + i * L, 0, count - i * L);
      if (count > i * L) store_first(out, a.y + at + i * L, count - i * L);
    }
    if (!a.mask) return;
    const uint32_t bits = pack_sign_mask(positive, clamped);
    const int64_t bytes = count < kGroup ? (count + 3) / 4 : 4;
    if (bytes == 4)
      __builtin_memcpy(a.mask + at / 4, &bits, 4);
    else
      for (int64_t i = 0; i < bytes; ++i) a.mask[at / 4 + i] = uint8_t(bits >> (8 * i));
  }

  const WinogradArgs a;
  const int64_t pixels;
  const Slopes<V> slopes;
  const Limit<V> limit;
  const bool bare, rows_apart;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

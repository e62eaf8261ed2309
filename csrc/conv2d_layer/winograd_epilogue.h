// Where finish.h stands in Winograd's convolutions: between the output transform and memory.
#pragma once
#include "common/parallel.h"
#include "common/sign_mask.h"
#include "conv2d_layer/finish.h"
#include "conv2d_layer/winograd.h"
#include "conv2d_layer/winograd_transform.h"

namespace fastgan {
namespace FASTGAN_ISA {

class Epilogue {
  using V = Vec<float>;
  static constexpr int L = V::size, kPart = kGroup / L;

 public:
  // tiled_width: of the tiles of one row, in pixels.
  Epilogue(const WinogradArgs& args, int64_t tiled_width)
      : a(args), o(args.operands), scales(static_cast<const float*>(o.scale)),
        noises(static_cast<const float*>(o.noise)), biases(static_cast<const float*>(o.b)),
        residual(static_cast<const float*>(o.residual)), pixels(args.out_height * args.out_width), finish(o),
        bare(!o.scale && !o.noise && !o.b && !o.residual && !o.mask && o.negative_slope == 1 && o.gain == 1 &&
             o.clamp < 0),
        rows_apart(!o.mask || (a.out_width % 4 == 0 && tiled_width % 4 == 0)) {}

  // Mask bytes are shared neither between rows nor between tiles that are written apart: `row` may finish them. Else it
  // only stores, and `all` has to follow.
  bool finishes_rows() const { return rows_apart; }

  // `count` neighbouring pixels of one row of y, from `pixel` on. u holds whole groups.
  FASTGAN_INLINE void row(const float* u, int64_t n, int64_t channel, int64_t pixel, int64_t count) const {
    const int64_t plane = n * a.out + channel, at = plane * pixels + pixel;
    if (bare || !rows_apart) {
      for (int64_t j = 0; j < count; j += L) store_first(load(u + j), a.y + at + j, count - j);
      return;
    }
    const V scale(scales ? scales[plane] : 1.0f), b(biases ? biases[channel] : 0.0f);
    const float* const noise = noises ? noises + n * o.noise_step + pixel : nullptr;
    for (int64_t j = 0; j < count; j += kGroup)
      group(at + j, count - j, [&](int i, V added) {
        const int64_t k = j + i * L;
        return finish(load(u + k), scale, added, noise ? load_between(noise + k, 0, count - k) : V(0.0f), b);
      });
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
          const float scale = scales ? scales[plane] : 1.0f, b = biases ? biases[plane % a.out] : 0.0f;
          const float* const noise = noises ? noises + plane / a.out * o.noise_step + pixel : nullptr;
          for (int64_t k = 0; k < run; ++k) u[i + k] = a.y[at + i + k] * scale + (noise ? noise[k] : 0.0f) + b;
          i += run;
          pixel += run;
          if (pixel == pixels) pixel = 0, ++plane;
        }
        group(at, numel - at, [&](int i, V added) { return finish(load(u + i * L), V(1.0f), added); });
      }
    });
  }

 private:
  // Up to 16 elements, `count` or more, from element `at` of y on: what finished(vector, residual) makes of each vector.
  template <class F>
  FASTGAN_INLINE void group(int64_t at, int64_t count, const F& finished) const {
    Mask<float> positive[kPart], clamped[kPart];
    for (int i = 0; i < kPart; ++i) {
      const auto r = finished(i, residual ? load_between(residual + at + i * L, 0, count - i * L) : V(finish.nothing));
      positive[i] = r.positive, clamped[i] = r.clamped;
      if (count > i * L) store_first(r.y, a.y + at + i * L, count - i * L);
    }
    if (!o.mask) return;
    const uint32_t bits = pack_sign_mask(positive, clamped);
    const int64_t bytes = count < kGroup ? mask_bytes(count) : 4;
    if (bytes == 4)
      __builtin_memcpy(o.mask + at / 4, &bits, 4);
    else
      for (int64_t i = 0; i < bytes; ++i) o.mask[at / 4 + i] = uint8_t(bits >> (8 * i));
  }

  const WinogradArgs a;
  const LayerOperands o;
  const float *const scales, *const noises, *const biases, *const residual;
  const int64_t pixels;
  const Finish<V> finish;
  const bool bare, rows_apart;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

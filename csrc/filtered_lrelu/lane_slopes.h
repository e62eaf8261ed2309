// What happens between the FIRs of filtered_lrelu on a CPU, to a row that holds a vector at each column, a lane of it for
// each plane; and the planes' masks (FilteredLreluArgs::mask).
#pragma once
#include "bias_act/formula.h"
#include "filtered_lrelu/filtered_lrelu.h"
#include "filtered_lrelu/row_sums.h"

namespace fastgan {
namespace FASTGAN_ISA {

template <class A>
class LaneSlopes {
 public:
  LaneSlopes(const FilteredLreluArgs& args, int64_t classes)
      : a(args), classes(classes), class_bytes(filtered_columns(a.axis_x.middle, classes) / 4),
        plane_bytes(a.axis_y.middle * classes * class_bytes), formula_{Limit<Vec<A>>(a), Slopes<Vec<A>>(a, a.slope)} {}

  uint8_t* mask_of(int64_t plane, int64_t row) const {
    return a.mask + plane * plane_bytes + row * classes * class_bytes;
  }

  // A row of the middle, and its mask in the first of the planes, null where none is read or kept.
  void operator()(A* row, uint8_t* mask, int planes) const {
    if (a.masked) each_word<true, false>(row, mask, planes);
    else if (mask) each_word<false, true>(row, mask, planes);
    else each_word<false, false>(row, mask, planes);
  }

 private:
  static constexpr int L = Vec<A>::size, kWord = 16;  // elements
  using Bits = typename Mask<A>::Raw;
  using Int = typename Mask<A>::Int;

  struct Formula {
    Limit<Vec<A>> limit;
    Slopes<Vec<A>> slopes;
  };

  template <bool masked, bool keep>
  void each_word(A* row, uint8_t* mask, int planes) const {
    const int64_t width = a.axis_x.middle, step = classes * L;
    const Formula formula = formula_;  // where no store of a row can change it
    for (int64_t s = 0; s < classes; ++s, mask += masked || keep ? class_bytes : 0)
      for (int64_t word = 0; word < class_bytes / 4; ++word) {
        const int64_t first = word * kWord * classes + s, count = (width - first + classes - 1) / classes;
        Int bits_of[L] = {};
        if constexpr (masked)
          for (int p = 0; p < planes; ++p) {
            uint32_t bits;
            __builtin_memcpy(&bits, mask + p * plane_bytes + word * 4, 4);
            bits_of[p] = Int(bits);
          }
        Bits bits;
        __builtin_memcpy(&bits, bits_of, sizeof(bits));
        A* const at = row + first * L;
        if (count >= kWord) {
          unrolled<kWord>(FASTGAN_EACH(i) { element<masked, keep>(formula, at + i * step, bits, 2 * i); });
        } else {
          for (int64_t i = 0; i < count; ++i) element<masked, keep>(formula, at + i * step, bits, int(2 * i));
        }
        if constexpr (keep) {
          __builtin_memcpy(bits_of, &bits, sizeof(bits));
          for (int p = 0; p < planes; ++p) {
            const uint32_t some = uint32_t(bits_of[p]);
            __builtin_memcpy(mask + p * plane_bytes + word * 4, &some, 4);
          }
        }
      }
  }

  template <bool masked, bool keep>
  static FASTGAN_INLINE void element(const Formula& f, A* at, Bits& bits, int shift) {
    const Bits positive = Int(uint32_t(1) << shift) - Bits{}, clamped = Int(uint32_t(2) << shift) - Bits{};
    const Vec<A> v = load(at);
    if constexpr (masked) {
      const Vec<A> slope = select(Mask<A>{(bits & positive) != 0}, f.slopes.positive, f.slopes.negative);
      store(times_slope(v, select(Mask<A>{(bits & clamped) != 0}, Vec<A>(A(0)), slope)), at);
    } else {
      const Vec<A> y = f.slopes.value(v);
      if constexpr (keep) bits |= (f.slopes.rises(v).m & positive) | (f.limit.stops(y).m & clamped);
      store(f.limit.clamp(y), at);  // infinite where there is none
    }
  }

  const FilteredLreluArgs& a;
  const int64_t classes, class_bytes, plane_bytes;
  const Formula formula_;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// What happens between the FIRs of filtered_lrelu on a CPU, to a row that holds a vector at each column, a lane of it for
// each plane; and the planes' masks (FilteredLreluArgs::mask).
#pragma once
#include <type_traits>

#include "bias_act/formula.h"
#include "filtered_lrelu/filtered_lrelu.h"
#include "filtered_lrelu/row_sums.h"

namespace fastgan {
namespace FASTGAN_ISA {

template <class A>
class LaneSlopes {
 public:
  explicit LaneSlopes(const FilteredLreluArgs& args)
      : a(args), classes(filtered_classes(a.up, a.down)), columns(filtered_columns(a.axis_x.middle, classes)),
        plane_bytes(a.axis_y.middle * row_words() * 4), limit(a), slopes(a, a.slope) {}
  using Int = std::make_unsigned_t<typename Mask<A>::Int>;

  int64_t row_words() const { return classes * columns / kWord; }

  uint8_t* mask_of(int64_t plane, int64_t row) const {
    return a.mask + plane * plane_bytes + row * row_words() * 4;
  }

  // A row of the middle, and its mask in the first of the planes, null where none is read or kept. With room for
  // row_words() vectors.
  void operator()(A* row, uint8_t* mask, int planes, Int* words) const {
    if (a.masked) {
      // Words are gathered first: a vector cannot be read at once from numbers just stored.
      each_plane_word(mask, planes, [&](uint8_t* at, Int* word) {
        uint32_t bits;
        __builtin_memcpy(&bits, at, 4);
        *word = bits;
      }, words);
      each_element(row, words, Masked{slopes.positive, slopes.negative});
    } else if (a.slope == 0) {
      forward(row, mask, planes, words, slopes);
    } else {
      forward(row, mask, planes, words, Leaky{slopes.positive, slopes.negative});
    }
  }

 private:
  using V = Vec<A>;
  typedef Int Bits __attribute__((vector_size(kVectorBytes)));  // of each plane
  static constexpr int L = V::size, kWord = 16;                 // elements

  // Slopes without care for a 0 times infinity.
  struct Leaky {
    V positive, negative;
    FASTGAN_INLINE Mask<A> rises(V v) const { return v > A(0); }
    FASTGAN_INLINE V value(V v) const { return v * select(rises(v), positive, negative); }
  };

  // An element finds its bits lowest and leaves them highest, or moves on what is there.
  struct Plain {
    FASTGAN_INLINE void begin(Bits&) const {}
  };
  static FASTGAN_INLINE Bits turned(Bits bits) { return bits >> 2 | (bits & 3) << 30; }

  template <class S>
  struct Value : Plain {
    S slopes;
    Limit<V> limit;
    FASTGAN_INLINE void operator()(A* at, Bits&) { store(limit.clamp(slopes.value(load(at))), at); }
  };

  // Before the clamp, which stops hardly any: whether it is needed at all is seen from the largest magnitude, or NaN.
  template <class S>
  struct KeptValue : Plain {
    S slopes;
    Bits largest;
    FASTGAN_INLINE void operator()(A* at, Bits& bits) {
      const V v = load(at), y = slopes.value(v);
      const Bits magnitude = Bits(abs(y).v), none = {};
      largest = largest > magnitude ? largest : magnitude;
      bits = bits >> 2 | (slopes.rises(v).m ? none + Int(1u << 30) : none);
      store(y, at);
    }
  };

  struct Clamp : Plain {
    Limit<V> limit;
    FASTGAN_INLINE void operator()(A* at, Bits& bits) {
      const V y = load(at);
      const Bits none = {};
      bits = turned(bits) | (limit.stops(y).m ? none + Int(2u << 30) : none);
      store(limit.clamp(y), at);
    }
  };

  struct Masked {
    V positive, negative;
    // Where the slope is 0 it is as if clamped: 0 times infinity is 0 too.
    FASTGAN_INLINE void begin(Bits& bits) const {
      const Bits sides = bits & Int(0x55555555u);
      if (negative.v[0] == 0) bits |= (sides ^ Int(0x55555555u)) << 1;
      if (positive.v[0] == 0) bits |= sides << 1;
    }
    FASTGAN_INLINE void operator()(A* at, Bits& bits) const {
      const V y = load(at) * select(Mask<A>{(bits & 1) != 0}, positive, negative);
      store(select(Mask<A>{(bits & 2) != 0}, V(A(0)), y), at);
      bits >>= 2;
    }
  };

  template <class S>
  void forward(A* row, uint8_t* mask, int planes, Int* words, const S& own) const {
    if (!mask) {
      each_element(row, words, Value<S>{{}, own, limit});
      return;
    }
    for (int64_t i = 0; i < row_words() * L; ++i) words[i] = 0;
    const Bits largest = each_element(row, words, KeptValue<S>{{}, own, {}}).largest;
    bool stops = false;
    for (int lane = 0; lane < L; ++lane) stops = stops || !(Raw(largest)[lane] <= limit.limit.v[lane]);
    if (stops && a.clamp >= 0) each_element(row, words, Clamp{{}, limit});
    each_plane_word(mask, planes, [](uint8_t* at, const Int* word) {
      const uint32_t bits = uint32_t(*word);
      __builtin_memcpy(at, &bits, 4);
    }, words);
  }
  using Raw = typename V::Raw;

  // By classes, a word of each plane at a time.
  template <class Element>
  Element each_element(A* row, Int* words, Element element) const {
    const int64_t step = classes * L;
    for (int64_t s = 0; s < classes; ++s) {
      int64_t left = (a.axis_x.middle - s + classes - 1) / classes;
      A* at = row + s * L;
      for (int64_t w = 0; w < columns / kWord; ++w, words += L, left -= kWord) {
        Bits bits;
        __builtin_memcpy(&bits, words, sizeof(bits));
        element.begin(bits);
        if (left >= kWord) {
          unrolled<kWord>(FASTGAN_EACH(i) { element(at + i * step, bits); });
          at += kWord * step;
        } else {
          for (int64_t i = 0; i < kWord; ++i, at += step) i < left ? element(at, bits) : void(bits = turned(bits));
        }
        __builtin_memcpy(words, &bits, sizeof(bits));
      }
    }
    return element;
  }

  template <class F>
  FASTGAN_INLINE void each_plane_word(uint8_t* mask, int planes, const F& f, Int* words) const {
    for (int p = 0; p < planes; ++p)
      for (int64_t word = 0; word < row_words(); ++word) f(mask + p * plane_bytes + word * 4, words + word * L + p);
  }

  const FilteredLreluArgs& a;
  const int64_t classes, columns, plane_bytes;
  const Limit<V> limit;
  const Slopes<V> slopes;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

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
    if (a.masked) each_word(row, mask, planes, words, Masked{slopes.positive, slopes.negative});
    else if (a.slope == 0) plain(row, mask, planes, words, slopes);
    else plain(row, mask, planes, words, Leaky{slopes.positive, slopes.negative});
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

  template <class S>
  void plain(A* row, uint8_t* mask, int planes, Int* words, const S& own) const {
    mask ? each_word(row, mask, planes, words, Plain<true, S>{own, limit})
         : each_word(row, mask, planes, words, Plain<false, S>{own, limit});
  }

  // An element takes the lowest two bits, or puts in the highest two.
  template <bool keep, class S>
  struct Plain {
    static constexpr bool reads = false, keeps = keep;
    S slopes;
    Limit<V> limit;
    FASTGAN_INLINE void prepare(Bits&) const {}
    FASTGAN_INLINE void operator()(A* at, Bits& bits) const {
      const V v = load(at), y = slopes.value(v);
      if constexpr (keep) {
        const Bits sides = Bits(slopes.rises(v).m) & Int(1u << 30), stops = Bits(limit.stops(y).m) & Int(2u << 30);
        bits = bits >> 2 | sides | stops;
      }
      store(limit.clamp(y), at);  // infinite where there is none
    }
  };

  struct Masked {
    static constexpr bool reads = true, keeps = false;
    V positive, negative;
    // Where the slope is 0 it is as if clamped: 0 times infinity is 0 too.
    FASTGAN_INLINE void prepare(Bits& bits) const {
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

  // A word of each plane at a time. They go through `words`: a vector cannot be read at once from numbers just stored.
  template <class Element>
  void each_word(A* row, uint8_t* mask, int planes, Int* words, const Element element) const {
    const int64_t step = classes * L, class_words = columns / kWord;
    if constexpr (Element::reads) each_plane_word(planes, [&](int p, int64_t word) {
      uint32_t bits;
      __builtin_memcpy(&bits, mask + p * plane_bytes + word * 4, 4);
      words[word * L + p] = bits;
    });
    for (int64_t s = 0; s < classes; ++s) {
      const int64_t class_width = (a.axis_x.middle - s + classes - 1) / classes;
      for (int64_t w = 0; w < class_words; ++w) {
        Int* const word = words + (s * class_words + w) * L;
        A* const at = row + (w * kWord * classes + s) * L;
        const int64_t count = class_width - w * kWord;
        Bits bits = {};
        if constexpr (Element::reads) __builtin_memcpy(&bits, word, sizeof(bits));
        element.prepare(bits);
        if (count >= kWord) {
          unrolled<kWord>(FASTGAN_EACH(i) { element(at + i * step, bits); });
        } else {
          for (int64_t i = 0; i < count; ++i) element(at + i * step, bits);
          for (int64_t i = count < 0 ? 0 : count; i < kWord; ++i) bits >>= 2;
        }
        if constexpr (Element::keeps) __builtin_memcpy(word, &bits, sizeof(bits));
      }
    }
    if constexpr (Element::keeps) each_plane_word(planes, [&](int p, int64_t word) {
      const uint32_t bits = uint32_t(words[word * L + p]);
      __builtin_memcpy(mask + p * plane_bytes + word * 4, &bits, 4);
    });
  }

  template <class F>
  FASTGAN_INLINE void each_plane_word(int planes, const F& f) const {
    for (int p = 0; p < planes; ++p)
      for (int64_t word = 0; word < row_words(); ++word) f(p, word);
  }

  const FilteredLreluArgs& a;
  const int64_t classes, columns, plane_bytes;
  const Limit<V> limit;
  const Slopes<V> slopes;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

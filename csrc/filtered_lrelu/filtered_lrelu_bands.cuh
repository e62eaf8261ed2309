// A full FIR of halves on tensor cores: what comes of a row are its columns times a banded matrix of taps.
#pragma once
#include "filtered_lrelu/filtered_lrelu_strip.cuh"

namespace fastgan {
namespace cuda {

// Column k of 16 times band (k, n) is what result n of 8 has of it: tap(k - n), 0 where there is none. Words 2 * lane and
// 2 * lane + 1 of a band are b0 and b1 of tensor_multiply. Also clears the ring, `count` numbers: bands have zeros for columns
// that were never written, which must not be NaN.
template <class T, int bands, class F>
__device__ __forceinline__ void prepare_bands(int count, uint32_t* words, uint32_t* ring, const F& tap) {
  for (int i = int(threadIdx.x); i < count / 2; i += int(blockDim.x)) ring[i] = 0;
  for (int i = int(threadIdx.x); i < bands * 64; i += int(blockDim.x)) {
    const int lane = i / 2 % 32, first = 2 * (lane % 4) + 8 * (i % 2) - lane / 4;  // k - n of the word's first number
    Packet<T, 2> taps;
#pragma unroll
    for (int e = 0; e < 2; ++e) narrow(tap(i / 64, first + e), taps.v[e]);
    memcpy(words + i, &taps, 4);
  }
}

// Band (row of taps, class of columns) of a second FIR.
template <class T, class S>
__device__ __forceinline__ void prepare_output_bands(const FilteredLreluArgs& a, int count, uint32_t* words, uint32_t* ring) {
  static_assert(8 + S::reach - 1 <= 16, "columns of a class that 8 outputs read");
  prepare_bands<T, S::down_taps * S::down>(count, words, ring, [&](int band, int t) {
    const int x = band % S::down + S::down * t;
    return t < 0 || t >= S::reach ? 0.f : tap_of<float>(a, a.down_filter, band / S::down * S::down_taps + x, S::down_taps * S::down_taps);
  });
}

// Band (row of taps, class of the samples that it makes) of a first FIR: class c reads from its c-th column on.
template <class T, class S>
__device__ __forceinline__ void prepare_input_bands(const FilteredLreluArgs& a, int count, uint32_t* words, uint32_t* ring) {
  static_assert(S::up == 2 && 8 + 1 + S::window - 1 <= 16, "columns that 8 samples of both classes read");
  prepare_bands<T, S::up_taps * S::up>(count, words, ring, [&](int band, int distance) {
    const int c = band % S::up, u = distance - c;
    return u < 0 || u >= S::window ? 0.f : tap_of<float>(a, a.up_filter, band / S::up * S::up_taps + c + S::up * u, S::up_taps * S::up_taps);
  });
}

// Rows of the middle of a chunk, at the up-sampled rate, from a ring of rows of inputs, the last S::in of which begin with
// ring row `newest`. A warp has 16 blocks of 8 columns of a row of inputs at a time, and makes two rows of 16 samples of each.
template <class T, class S>
__device__ __forceinline__ void widen_bands(const StreamLaunch& l, const StreamMemory<S, true, false>& memory, int newest,
                                            const uint32_t* bands, const T* ring, float* rows) {
  constexpr int ring_rows = StreamMemory<S, true, false>::input_ring;
  const int lane = int(threadIdx.x) % 32, blocks = memory.input_blocks(l), count = (S::in * blocks) << l.log_planes;
  for (int i = int(threadIdx.x) / 32 * 16; i < count; i += int(blockDim.x) / 32 * 16) {
    int line[2], block[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int own = i + lane / 4 + 8 * h, item = own < count ? own : count - 1;
      line[h] = item / blocks, block[h] = item - line[h] * blocks;
    }
    float sum[S::up][S::up][4] = {};
#pragma unroll
    for (int v = 0; v < S::window; ++v) {
      uint32_t columns[4];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const int h = w % 2, row = (newest + line[h] % S::in + v + ring_rows - (S::window - 1)) & (ring_rows - 1);
        const Packet<T, 2> word = load_packet<2>(ring + (line[h] / S::in * ring_rows + row) * memory.input_pitch + 8 * block[h] +
                                                 2 * (lane % 4) + w / 2 * 8);
        memcpy(&columns[w], &word, 4);
      }
#pragma unroll
      for (int r = 0; r < S::up; ++r)
#pragma unroll
        for (int c = 0; c < S::up; ++c) {
          const auto band = load_packet<2>(bands + (((S::up - 1 - r + S::up * v) * S::up + c) * 32 + lane) * 2);
          tensor_multiply<T>(sum[r][c], columns, band.v[0], band.v[1]);
        }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int r = 0; r < S::up; ++r)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (i + lane / 4 + 8 * h >= count) continue;
          const Packet<float, 2> samples{sum[r][0][2 * h + e], sum[r][1][2 * h + e]};
          store_shared_packet(rows + (line[h] * S::up + r) * memory.up_pitch + S::up * (8 * block[h] + 2 * (lane % 4) + e), samples);
        }
  }
}

// Outputs of a chunk as finish_full computes them. A warp has 16 blocks of 8 columns of 2 rows at a time, blocks of several
// rows and planes in one line, so that few warps lack work. What the second row reads for a tap, the first reads for the
// tap a row of outputs below.
template <class T, class S>
__device__ __forceinline__ void finish_bands(const StreamLaunch& l, const Strip<S>& strip, int row, int top,
                                             const uint32_t* bands, const T* ring) {
  static_assert(kWord * S::classes % (8 * S::down) == 0, "a tile has whole blocks");
  constexpr int ring_rows = StreamMemory<S, false, true>::ring, pair = 2, pairs = S::out / pair;
  const FilteredLreluArgs& a = l.a;
  const int64_t height = a.axis_y.out, width = a.axis_x.out, step = a.channels_last ? a.channels : 1;
  const int lane = int(threadIdx.x) % 32, pitch = S::down * l.down_length;
  const int blocks = l.own / (8 * S::down), count = (pairs * blocks) << l.log_planes;
  for (int i = int(threadIdx.x) / 32 * 16; i < count; i += int(blockDim.x) / 32 * 16) {
    const auto find = [&](int h, int& line, int& x) {  // of item h of a lane: the rows, and the column
      const int own = i + lane / 4 + 8 * h, item = own < count ? own : count - 1;
      line = divided(2 * item, l.per_out);
      x = 8 * (item - line * blocks) + 2 * (lane % 4);
    };
    int from[2], first[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      int line, x;
      find(h, line, x);
      from[h] = line / pairs * ring_rows * pitch + x;
      first[h] = top + line % pairs * pair * S::down;
    }
    float sum[pair][4] = {};
#pragma unroll 1
    for (int phase = 0; phase < S::down; ++phase)
#pragma unroll 1
      for (int c = 0; c < S::down; ++c) {
        uint32_t columns[2][4];
        const auto load = [&](int k, uint32_t (&to)[4]) {
#pragma unroll
          for (int w = 0; w < 4; ++w) {
            const int at = ((first[w % 2] + k) & (ring_rows - 1)) * pitch + c * l.down_length + w / 2 * 8;
            const Packet<T, 2> word = load_packet<2>(ring + from[w % 2] + at);
            memcpy(&to[w], &word, 4);
          }
        };
        load(phase, columns[0]);
#pragma unroll
        for (int k = 0; k < S::reach; ++k) {
          load(phase + S::down * (k + 1), columns[(k + 1) % 2]);
          const auto band = load_packet<2>(bands + (((phase + S::down * k) * S::down + c) * 32 + lane) * 2);
          tensor_multiply<T>(sum[0], columns[k % 2], band.v[0], band.v[1]);
          tensor_multiply<T>(sum[1], columns[(k + 1) % 2], band.v[0], band.v[1]);
        }
      }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      int line, across;
      find(h, line, across);
      const int64_t plane = strip.c + line / pairs, x = strip.out_x + across;
      if (i + lane / 4 + 8 * h >= count || plane >= a.channels) continue;
#pragma unroll
      for (int o = 0; o < pair; ++o) {
        const int y = row + line % pairs * pair + o;
        if (y < strip.out_begin || y >= strip.out_end) continue;
        T* const to = static_cast<T*>(a.y) + place_of(a, strip.n, plane, height, width, y, x);
        Packet<T, 2> outputs;
#pragma unroll
        for (int e = 0; e < 2; ++e) narrow(sum[o][2 * h + e], outputs.v[e]);
        if (l.packets) {
          if (x >= 0 && x < width) store_packet(to, outputs);
        } else {
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (x + e >= 0 && x + e < width) to[e * step] = outputs.v[e];
        }
      }
    }
  }
}

}  // namespace cuda
}  // namespace fastgan

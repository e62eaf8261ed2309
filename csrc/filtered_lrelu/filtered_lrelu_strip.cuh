// Where a block that walks down a strip of an image is, and what of its shared memory lies where.
#pragma once
#include "filtered_lrelu/filtered_lrelu_middle.cuh"

namespace fastgan {
namespace cuda {

// Factors and taps that kernels are compiled for, of both axes.
template <int up_, int down_, int up_taps_, int down_taps_>
struct Sampler {
  static constexpr int up = up_, down = down_, up_taps = up_taps_, down_taps = down_taps_;
  static constexpr int classes = int(filtered_classes(up, down)), common = up * down / classes;
  static constexpr int window = up_taps / up, reach = down_taps / down;  // inputs of a sample, outputs that one is for
  static constexpr int rows = 16, in = rows / up, out = rows / down;     // of the middle at a time, and what goes with them
  static_assert(up_taps % up == 0 && down_taps % down == 0 && rows % up == 0 && rows % down == 0, "whole windows");
  static_assert(common <= 2, "phases that Column is compiled for");
};

// A tile has whole words of columns of the middle, one a thread. Where there are several tiles, the last of them are another
// tile's too, and here for the outputs alone.
struct StreamLaunch {
  FilteredLreluArgs a;
  Middle<float> formula;  // as it stands here threads need no registers for it
  int columns = 0, own = 0, log_planes = 0;  // threads of a plane; columns that are this tile's; planes of a block
  int first = 0, skip = 0, first_out = 0;    // column and output of the first tile; columns before what its output reads
  unsigned tiles = 1, segments = 1, groups = 1;  // across, down, of planes
  int segment = 0;                               // rows of outputs in one
  int up_length = 0, down_length = 0;            // numbers of a class in shared memory, multiples of 4
  uint32_t per_quad = 0, per_out = 0;            // 2^32 / quads of a row, rounded up
  bool packets = false;
  bool tensor = false;  // a full FIR of halves, on tensor cores
};

// i / count of what per = 2^32 / count rounded up stands for.
__device__ __forceinline__ int divided(int i, uint32_t per) { return int(uint64_t(unsigned(i)) * per >> 32); }

// A 16 x 16 matrix of 2 bits: element e of lane l to element l of lane e, in each half of a warp.
__device__ __forceinline__ uint32_t transpose_bits(uint32_t bits) {
  constexpr uint32_t kept[4] = {0x33333333u, 0x0F0F0F0Fu, 0x00FF00FFu, 0x0000FFFFu};
#pragma unroll
  for (int step = 3; step >= 0; --step) {
    const int lane = 1 << step, shift = 2 << step;
    const uint32_t low = kept[step], other = __shfl_xor_sync(0xFFFFFFFFu, bits, lane);
    bits = threadIdx.x & lane ? (bits & ~low) | (other & ~low) >> shift : (bits & low) | (other & low) << shift;
  }
  return bits;
}

// Of which type samples are kept for a FIR, and the words that the taps of a full one take for tensor cores: two a lane, row
// and class of columns.
template <class T, bool full>
using Kept = std::conditional_t<full && sizeof(T) == 2, T, Accumulate<T>>;
template <class S, bool up_full>
constexpr int kBandWords = (up_full ? S::up_taps * S::up : S::down_taps * S::down) * 64;

// What of a block's shared memory lies where, in numbers: of each plane.
template <class S, bool up_full, bool down_full>
struct StreamMemory {
  static constexpr int ring = 32;  // rows of the middle that a full filter reads and those that are written next
  static_assert(!down_full || S::rows + S::down_taps - S::down <= ring, "a chunk and what it needs of those before");
  static constexpr int row_count = down_full ? ring : S::out;
  static constexpr int input_ring = 2 * S::in;  // rows of inputs for tensor cores: those of a chunk and of the one before
  static_assert(!up_full || S::window - 1 <= S::in, "a chunk reads no further back");
  int input_pitch, up_pitch, down_pitch, bias, weights, inputs, rows, columns, end;
  __host__ __device__ explicit StreamMemory(const StreamLaunch& l) {
    const int planes = 1 << l.log_planes;
    const bool inputs_tensor = l.tensor && up_full;
    input_pitch = inputs_tensor ? 8 * input_blocks(l) + 8 : l.up_length + (S::window + 4) / 4 * 4;
    up_pitch = inputs_tensor ? 8 * S::up * input_blocks(l) : S::up * l.up_length;
    down_pitch = S::down * l.down_length;
    bias = 64;  // before it the sums of warps
    weights = bias + 16;
    inputs = weights + (l.tensor ? kBandWords<S, up_full> : down_full ? S::down_taps * S::down_taps : 0);
    rows = inputs + planes * (inputs_tensor ? input_ring / 2 : S::in) * input_pitch;
    columns = rows + (inputs_tensor ? planes * S::rows * up_pitch : up_full ? 0 : planes * S::in * up_pitch);
    end = columns + planes * row_count * down_pitch / (l.tensor && down_full ? 2 : 1);
  }
  // Of 8 columns of inputs, from which tensor cores make 8 samples of each class.
  static __host__ __device__ int input_blocks(const StreamLaunch& l) { return l.columns / S::up / 8 + 1; }
};

// Where a block is: its planes, its columns, its rows.
template <class S>
struct Strip {
  int64_t n, c;
  int out_x, out_begin, out_end, own_begin, own_end, first_x, first_y, first_in, first_row, chunks;
  int delta;  // rows of a chunk before the first that is tap 0 of an output
  __device__ explicit Strip(const StreamLaunch& l) {
    const FilteredLreluArgs& a = l.a;
    const FilteredAxis& ay = a.axis_y;
    const unsigned above = blockIdx.x / l.tiles, tile = blockIdx.x - above * l.tiles;
    const unsigned group = above / l.segments, segment = above - group * l.segments;
    const int64_t plane = int64_t(group) << l.log_planes;
    const int64_t groups = divide_up(a.channels, int64_t(1) << l.log_planes);
    n = l.log_planes ? group / groups : plane / a.channels;
    c = l.log_planes ? (group - n * groups) << l.log_planes : plane - n * a.channels;
    first_x = l.first + int(tile) * l.own;
    const int inner = int(ay.inner), pad = int(ay.pad);
    out_x = l.first_out + int(tile) * (l.own / S::down);
    out_begin = int(segment) * l.segment;
    out_end = out_begin + l.segment < ay.out ? out_begin + l.segment : int(ay.out);
    const int begin = out_begin * S::down - inner;  // what the first output reads
    // Of a chunk's first row tap up - 1 meets the first input; then the outputs' phase has few values.
    int before = (begin - pad - 1) % S::up;
    before += before < 0 ? S::up : 0;
    first_y = begin - before;
    delta = before % S::down;
    first_in = (first_y - pad - 1) / S::up + S::window;
    const int last = (delta + S::down - 1) % S::down;  // row of a chunk where its first output ends
    first_row = (first_y + last - (S::down_taps - 1) + inner) / S::down;
    own_begin = segment == 0 ? 0 : begin;
    own_end = segment + 1 == l.segments ? int(ay.middle) : out_end * S::down - inner;
    const int of_outputs = (out_end - first_row + S::out - 1) / S::out, of_mask = (own_end - first_y + S::rows - 1) / S::rows;
    chunks = a.masked || !a.mask || of_outputs > of_mask ? of_outputs : of_mask;
  }
};

// Threads of a block at most: two of them have a multiprocessor's registers, and each thread what its weights take.
template <class S, bool up_full>
constexpr int kStreamThreads = up_full ? 192 : S::up_taps + S::down_taps > 24 ? 320 : 384;

}  // namespace cuda
}  // namespace fastgan

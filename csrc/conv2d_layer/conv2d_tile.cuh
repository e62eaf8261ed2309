// The product of a block's tile of two matrices, from shared memory into registers. A block has 4 warps, and each a part
// of the tile of its own. What it multiplies at a time, a chunk, is 64 bytes of numbers along the sum; chunks are fetched
// ahead into further stages.
#pragma once
#include "gpu/gpu.h"

namespace fastgan {
namespace cuda {

constexpr int kThreads = 128, kWarps = kThreads / 32, kStages = 4;

// Shared memory of a block of which a multiprocessor takes two, where it has 100 KiB in all: 1 KiB is the system's.
constexpr int kHalfOfLittleShared = 49 << 10;

// Stages of a tile: one less there, where else no second block had room. `asked`: how many are wanted, or 0.
template <int stage_bytes>
constexpr int kFewestStages = kStages * stage_bytes > kHalfOfLittleShared ? kStages - 1 : kStages;
template <int stage_bytes>
int stages_for(const GpuStream& stream, int asked) {
  constexpr int fewest = kFewestStages<stage_bytes>;
  return fewest == kStages ? kStages : asked ? asked : has_little_shared(stream) ? fewest : kStages;
}

// Numbers of 16 bytes, and of a chunk.
template <class T>
constexpr int kLanes = 16 / int(sizeof(T));
template <class T>
constexpr int kChunk = 4 * kLanes<T>;

// A stage holds rows of 64 bytes, a chunk of each row of a matrix. Their packets are permuted so that 8 neighbouring rows
// have a packet in 8 different banks of 16 bytes.
constexpr int kRowBytes = 64;
__device__ __forceinline__ int row_offset(int row, int packet) {
  return row * kRowBytes + ((packet ^ (row >> 1 & 3)) << 4);
}

// What multiply_chunks asks of sums whose products are done when multiply() returns.
struct Immediate {
  static constexpr int in_flight = 0;  // chunks whose products may be still going on
  static constexpr bool tf32 = false;  // whether they take floats as tensor cores do
  __device__ __forceinline__ static void publish() {}
  __device__ __forceinline__ static void settle() {}
};

// Sums of rows x columns, a warp's, in the tensor cores' order.
template <class T, int rows, int columns>
struct TensorSums : Immediate {
  using A = float;
  static constexpr bool tf32 = sizeof(T) == 4;
  float sum[rows / 16][columns / 8][4] = {};

  // Columns of a step of a chunk, from rows of a stage whose numbers are multiples of 8.
  __device__ __forceinline__ static void load_columns(uint32_t (&b)[columns / 16][4], const unsigned char* stage, int step) {
    const int lane = int(threadIdx.x) % 32, row = lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int n = 0; n < columns / 16; ++n)
      load_matrices<false>(b[n], stage + n * 16 * kRowBytes + row_offset(row, 2 * step + (lane >> 3 & 1)));
  }

  // a[rows][16 numbers or 8 of tf32] times b[columns][the same], both rounded.
  __device__ __forceinline__ void add(const uint32_t (&a)[rows / 16][4], const uint32_t (&b)[columns / 16][4]) {
#pragma unroll
    for (int m = 0; m < rows / 16; ++m)
#pragma unroll
      for (int n = 0; n < columns / 16; ++n) {
        tensor_multiply<T>(sum[m][2 * n], a[m], b[n][0], b[n][1]);
        tensor_multiply<T>(sum[m][2 * n + 1], a[m], b[n][2], b[n][3]);
      }
  }

  // Rows `first` to `first` + count, multiples of 16.
  template <int first = 0, int count = rows>
  __device__ __forceinline__ void store(float* to, int64_t pitch) const {
    const int row = int(threadIdx.x) % 32 / 4, column = int(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int m = first / 16; m < (first + count) / 16; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float* const at = to + (m * 16 - first + half * 8 + row) * pitch + column;
#pragma unroll
        for (int n = 0; n < columns / 8; ++n)
          *reinterpret_cast<float2*>(at + n * 8) = make_float2(sum[m][n][2 * half], sum[m][n][2 * half + 1]);
      }
  }
};

// The same of both matrices' rows in shared memory.
template <class T, int rows, int columns>
struct TensorRows : TensorSums<T, rows, columns> {
  // The stage's rows of this warp; their numbers are multiples of 16.
  __device__ __forceinline__ void multiply(const unsigned char* a, const unsigned char* b) {
    const int lane = int(threadIdx.x) % 32, turn = lane >> 1 & 3;
    const unsigned char* const own_a = a + lane % 16 * kRowBytes;
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      uint32_t part_a[rows / 16][4], part_b[columns / 16][4];
#pragma unroll
      for (int m = 0; m < rows / 16; ++m)
        load_matrices<false>(part_a[m], own_a + m * 16 * kRowBytes + (((2 * step + lane / 16) ^ turn) << 4));
      this->load_columns(part_b, b, step);
      this->add(part_a, part_b);
    }
  }
};

// The same without tensor cores: lanes have every fourth row and every eighth column.
template <class T, int rows, int columns>
struct PlainSums : Immediate {
  using A = Accumulate<T>;
  A sum[rows / 4][columns / 8] = {};

  // A packet of the lane's rows times that of a stage's rows b.
  __device__ __forceinline__ void add(const Packet<T, kLanes<T>> (&part)[rows / 4], const unsigned char* b, int packet) {
    const int column = int(threadIdx.x) % 8;
#pragma unroll
    for (int j = 0; j < columns / 8; ++j) {
      const auto other = load_packet<kLanes<T>>(reinterpret_cast<const T*>(b + row_offset(column + 8 * j, packet)));
#pragma unroll
      for (int k = 0; k < kLanes<T>; ++k)
#pragma unroll
        for (int i = 0; i < rows / 4; ++i) sum[i][j] += part[i].v[k] * other.v[k];
    }
  }

  __device__ __forceinline__ void store(A* to, int64_t pitch) const {
    A* const at = to + int(threadIdx.x) % 32 / 8 * pitch + int(threadIdx.x) % 8;
#pragma unroll
    for (int i = 0; i < rows / 4; ++i)
#pragma unroll
      for (int j = 0; j < columns / 8; ++j) at[4 * i * pitch + 8 * j] = sum[i][j];
  }
};

// The same of both matrices' rows in shared memory.
template <class T, int rows, int columns>
struct PlainRows : PlainSums<T, rows, columns> {
  __device__ __forceinline__ void multiply(const unsigned char* a, const unsigned char* b) {
    const int row = int(threadIdx.x) % 32 / 8;
#pragma unroll 1
    for (int packet = 0; packet < 4; ++packet) {
      Packet<T, kLanes<T>> part[rows / 4];
#pragma unroll
      for (int i = 0; i < rows / 4; ++i)
        part[i] = load_packet<kLanes<T>>(reinterpret_cast<const T*>(a + row_offset(row + 4 * i, packet)));
      this->add(part, b, packet);
    }
  }
};

// 128 x `columns` by the block's four warps together: each has rows 16w to 16w + 15 of both halves.
template <class T, int columns>
struct WarpgroupRows {
  using A = float;
  static constexpr int in_flight = 1;
  static constexpr bool tf32 = false;
  float sum[2][columns / 2] = {};

  __device__ __forceinline__ void multiply(const unsigned char* a, const unsigned char* b) {
    begin_products();
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int offset = 0; offset < kRowBytes; offset += 32)
        warpgroup_multiply<T>(sum[half], rows_in_shared(a + half * 64 * kRowBytes, offset), rows_in_shared(b, offset));
    commit_products();
    wait_products<in_flight>();
  }
  __device__ __forceinline__ static void publish() { publish_to_warpgroups(); }
  __device__ __forceinline__ void settle() {
    wait_products<0>();
#pragma unroll
    for (int half = 0; half < 2; ++half) settle_products(sum[half]);
  }

  // The 16 rows of the first half, then those of the second.
  __device__ __forceinline__ void store(float* to, int64_t pitch) const {
    const int row = int(threadIdx.x) % 32 / 4, column = int(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* const at = to + (i * 8 + row) * pitch + column;
#pragma unroll
      for (int n = 0; n < columns / 8; ++n)
        *reinterpret_cast<float2*>(at + n * 8) =
            make_float2(sum[i / 2][4 * n + i % 2 * 2], sum[i / 2][4 * n + i % 2 * 2 + 1]);
    }
  }
};

// Runs loader and sums over the chunks: the loader fetches a chunk into a stage, may leave what it has in registers until
// store(), and rounds what it has copied for sums in tf32. A stage is written again when all products of it are done. There
// are all the loader's stages, or one less.
template <class Loader, class Sums, class Multiply>
__device__ __forceinline__ void multiply_chunks(int chunks, Loader& loader, Sums& sums, const Multiply& multiply,
                                                int stages = Loader::stages) {
  constexpr int most = Loader::stages - 1 - Sums::in_flight;  // chunks that are fetched ahead
  const int lead = stages - 1 - Sums::in_flight;
#pragma unroll 1
  for (int stage = 0; stage < lead; ++stage) {
    loader.fetch(stage);
    commit_copies();
    loader.store(stage);
  }
  int stage = 0;
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
    if (most == 1 || lead == most)
      wait_copies<most - 1>();
    else
      wait_copies<(most > 1 ? most - 2 : 0)>();
    loader.round(stage);
    sums.publish();
    __syncthreads();  // the chunk is there for all, and all are done with the stage to come
    const int ahead = stage > Sums::in_flight ? stage - 1 - Sums::in_flight : stage + lead;
    loader.fetch(ahead);
    commit_copies();
    multiply(stage);
    loader.store(ahead);
    stage = stage + 1 == stages ? 0 : stage + 1;
  }
  sums.settle();
  wait_copies<0>();
  __syncthreads();  // the stages are free
}

}  // namespace cuda
}  // namespace fastgan

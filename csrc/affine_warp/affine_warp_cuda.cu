// affine_warp and its adjoint on the GPU, one launch each: doubles the rate, takes samples where the map leads, halves it,
// and mixes colours, a tile of 16 x 16 pixels and up to four channels a block, a thread a pixel. Bytes: what the tile's box
// covers of x, at least (21 / 16)^2 times x, most of it from L2, and y written once. What a map asks for is found by each
// block from theta, so that nothing is read by the host:
//  copy    pixels are copied, in the adjoint all of y's copies of a pixel are added.
//  window  the box of pixels that a window of samples is made of, doubled along rows and then columns, sampled, halved along
//          both; one channel after the other, in 48 KiB of shared memory. Where a box does not fit, tiles are 8 x 8 or 4 x 4.
//          Forward, four of the box's samples make one of the window's; in the adjoint the few around its inverse place do.
//  direct  forward: every sample from 7 x 7 pixels. The adjoint: every pixel from all samples of y that may read it.
// Sums are made by one thread each, in their order; there are no atomics.
// Registers: at most 80 forward and 98 in the adjoint, of float64 139, none spilled (nvcc 13.0, sm_80, sm_90a, sm_100,
// sm_120). In the machine code (sm_90a) taps are immediates of FFMA: shared memory, read once for each of the 7 or 12 taps of
// a sum, is what bounds it, and the places of a window's samples are found once for all channels.
// Share of the copy rate: not yet measured on a GPU.
#include "affine_warp/warp_pixels.cuh"

namespace fastgan {
namespace cuda {
namespace {

constexpr int kWindowSamples = samples_of(kSide) * samples_of(kSide), kRounds = (kWindowSamples + kThreads - 1) / kThreads;
template <class T, bool adjoint>
constexpr int kLeastBlocks = sizeof(T) == 8 ? 1 : adjoint ? 2 : 3;

struct WarpLaunch {
  AffineWarpArgs a;
  unsigned tiles_x = 1, tiles_y = 1, groups = 1;
};

// f(r, k) for all rows and columns, shared between threads.
template <class F>
__device__ __forceinline__ void for_all(int rows, int columns, const F& f) {
  const int self = int(threadIdx.x), down = kThreads / columns, across = kThreads - down * columns;
  int r = self / columns, k = self - r * columns;
  while (r < rows) {
    f(r, k);
    r += down;
    k += across;
    if (k >= columns) k -= columns, ++r;
  }
}

// The samples 2e and 2e + 1 from the pixels around pixel e.
template <class A>
__device__ __forceinline__ Packet<A, 2> doubled(const A* pixel) {
  Packet<A, 2> pair = {};
#pragma unroll
  for (int t = 0; t < kPhaseTaps; ++t)
#pragma unroll
    for (int phase = 0; phase < 2; ++phase)
      if (up_tap(phase, t) != 0) pair.v[phase] += A(up_tap(phase, t)) * pixel[t];
  return pair;
}

template <class T, bool adjoint>
class WarpBlock {
  using A = Accumulate<T>;
  using Plan = WarpPlan<A, adjoint>;
  using Sums = PixelSums<T, adjoint>;

 public:
  __device__ WarpBlock(const AffineWarpArgs& a, const Channels<T>& all, unsigned char* shared)
      : a_(a), all_(all), shared_(shared), plan_(*reinterpret_cast<Plan*>(shared)) {}

  // What a thread's pixel is the sum of; by windows.
  __device__ void take_windows(int tile_column, int tile_row, Sums& sums) {
    const int side = plan_.side, parts = kSide / side;
    for (int part = 0; part < parts * parts; ++part) {
      const Tile tile = Tile::of(a_, tile_column + part % parts * side, tile_row + part / parts * side, side);
      if (tile.empty()) continue;
      if (adjoint && threadIdx.x == 0) plan_.find_mirrors(tile);
      __syncthreads();
      const int windows = plan_.windows_along(0) * plan_.windows_along(1);
      for (int number = 0; number < windows; ++number) {
        if (threadIdx.x == 0) plan_.find_window(tile, number);
        __syncthreads();
        const Window<A>& window = plan_.windows[number % 2];
        if (!window.empty) take_window(tile, window, tile_column, tile_row, sums);
      }
      __syncthreads();  // all know how many windows there were
    }
  }

  // Where no box fits: each sample of y from 7 x 7 pixels of x.
  __device__ void take_all(int tile_column, int tile_row, Sums& sums) {
    const Tile tile = Tile::of(a_, tile_column, tile_row, kSide);
    const int samples[2] = {samples_of(tile.count[0]), samples_of(tile.count[1])}, none[2] = {kPhaseTaps - 1, kPhaseTaps - 1};
    const WarpMemory<A> memory(none, samples);
    A* const window = at(memory.second);
    for (int c = 0; c < all_.count; ++c) {
      for_all(samples[1], samples[0], [&](int r, int k) {
        const double column = 2 * tile.begin[0] - kWarpCentre + k, row = 2 * tile.begin[1] - kWarpCentre + r;
        window[r * samples[0] + k] = take_directly<adjoint>(a_, all_, c, plan_.map.place(0, column, row), plan_.map.place(1, column, row));
      });
      __syncthreads();
      const bool not_mirrored[2] = {false, false};
      halve(tile, not_mirrored, at(memory.first), window, c, tile_column, tile_row, sums);
    }
  }

 private:
  __device__ A* at(int offset) const { return reinterpret_cast<A*>(shared_ + offset); }

  __device__ void take_window(const Tile& tile, const Window<A>& window, int tile_column, int tile_row, Sums& sums) {
    const int samples[2] = {samples_of(tile.count[0]), samples_of(tile.count[1])};
    const WarpMemory<A> memory(window.pixels, samples);
    int* const columns = reinterpret_cast<int*>(shared_ + memory.columns);
    int* const rows = reinterpret_cast<int*>(shared_ + memory.rows);
    for (int k = int(threadIdx.x); k < window.pixels[0]; k += kThreads)
      columns[k] = pixel_at<adjoint>(window.pixel[0] + k, int(a_.w));
    for (int k = int(threadIdx.x); k < window.pixels[1]; k += kThreads)
      rows[k] = pixel_at<adjoint>(window.pixel[1] + k, int(a_.h));
    A x[kRounds], y[kRounds];  // forward: where in the box a thread's samples lie
    const int width = 2 * (window.pixels[0] - kPhaseTaps + 1), height = 2 * (window.pixels[1] - kPhaseTaps + 1);
#pragma unroll
    for (int round = 0; round < kRounds && !adjoint; ++round) {
      const int e = int(threadIdx.x) + round * kThreads, r = e / samples[0], k = e - r * samples[0];
      x[round] = window.place[0] + A(k) * plan_.turn[0][0] + A(r) * plan_.turn[0][1];
      y[round] = window.place[1] + A(k) * plan_.turn[1][0] + A(r) * plan_.turn[1][1];
    }
    __syncthreads();
    A* const first = at(memory.first);
    A* const second = at(memory.second);
    for (int c = 0; c < all_.count; ++c) {
      for_all(window.pixels[1], window.pixels[0], [&](int r, int k) {
        const int row = rows[r], column = columns[k];
        first[r * window.pixels[0] + k] = adjoint && (row < 0 || column < 0) ? A(0) : all_.read(c, column, row);
      });
      __syncthreads();
      for_all(window.pixels[1], width / 2, [&](int r, int k) {
        store_shared_packet(second + r * width + 2 * k, doubled(first + r * window.pixels[0] + k));
      });
      __syncthreads();
      for_all(height / 4, width, [&](int r, int k) {
        A pixel[kPhaseTaps + 1];
#pragma unroll
        for (int t = 0; t <= kPhaseTaps; ++t) pixel[t] = second[(2 * r + t) * width + k];
#pragma unroll
        for (int next = 0; next < 2; ++next) {
          const Packet<A, 2> pair = doubled(pixel + next);
          first[(4 * r + 2 * next) * width + k] = pair.v[0];
          first[(4 * r + 2 * next + 1) * width + k] = pair.v[1];
        }
      });
      __syncthreads();
      if constexpr (adjoint) {
        for_all(samples[1], samples[0], [&](int r, int k) {
          second[r * samples[0] + k] = gather(window, first, width, height, k, r);
        });
      } else {
#pragma unroll
        for (int round = 0; round < kRounds; ++round)
          if (const int e = int(threadIdx.x) + round * kThreads; e < samples[0] * samples[1])
            second[e] = interpolate(first, width, x[round], y[round]);
      }
      __syncthreads();
      halve(tile, window.mirrored, first, second, c, tile_column, tile_row, sums);
    }
  }

  __device__ static A interpolate(const A* box, int width, A x, A y) {
    const int left = int(x), above = int(y);  // neither is below 0
    const A right = x - A(left), below = y - A(above);
    const A* const at = box + above * width + left;
    const A left_one = at[0] + (at[width] - at[0]) * below, right_one = at[1] + (at[width + 1] - at[1]) * below;
    return left_one + (right_one - left_one) * right;
  }

  // A sample of dx's window: the samples of y that read it, weighed as they do.
  __device__ A gather(const Window<A>& window, const A* box, int width, int height, int k, int r) const {
    const A column = window.centre[0] + A(k) * plan_.back[0][0] + A(r) * plan_.back[0][1];
    const A row = window.centre[1] + A(k) * plan_.back[1][0] + A(r) * plan_.back[1][1];
    const int from = larger(0, ceiling_of(column - plan_.reach[0])), to = smaller(width - 1, floor_of(column + plan_.reach[0]));
    const int top = larger(0, ceiling_of(row - plan_.reach[1])), bottom = smaller(height - 1, floor_of(row + plan_.reach[1]));
    A sum = 0;
#pragma unroll 1
    for (int i = top; i <= bottom; ++i)
#pragma unroll 1
      for (int j = from; j <= to; ++j) {
        const A x = window.place[0] + A(j) * plan_.turn[0][0] + A(i) * plan_.turn[0][1] - A(k);
        const A y = window.place[1] + A(j) * plan_.turn[1][0] + A(i) * plan_.turn[1][1] - A(r);
        const A across = 1 - (x < 0 ? -x : x), down = 1 - (y < 0 ? -y : y);
        if (across > 0 && down > 0) sum += across * down * box[i * width + j];
      }
    return sum;
  }

  // The window's samples -> what they add to the tile's pixels.
  __device__ void halve(const Tile& tile, const bool (&mirrored)[2], A* rows, const A* window, int c, int tile_column,
                        int tile_row, Sums& sums) {
    const int width = samples_of(tile.count[0]);
    for_all(samples_of(tile.count[1]), tile.count[0], [&](int r, int k) {
      A sum = 0;
#pragma unroll
      for (int tap = 0; tap < kWarpTaps; tap += 2) {
        const Packet<A, 2> pair = load_packet<2>(window + r * width + 2 * k + tap);
        sum += A(sym6(tap)) * pair.v[0] + A(sym6(tap + 1)) * pair.v[1];
      }
      rows[r * tile.count[0] + k] = sum;
    });
    __syncthreads();
    const int pixel[2] = {tile_column + int(threadIdx.x) % kSide, tile_row + int(threadIdx.x) / kSide};
    const int size[2] = {int(a_.w), int(a_.h)};
    int own[2];
    bool inside = true;
#pragma unroll
    for (int axis = 0; axis < 2; ++axis) {
      own[axis] = pixel[axis] - tile.begin[axis];
      inside = inside && own[axis] >= 0 && own[axis] < tile.count[axis];
      if (!mirrored[axis]) continue;
      own[axis] = tile.count[axis] - 1 - own[axis];
      inside = inside && pixel[axis] > 0 && pixel[axis] < size[axis] - 1;  // the outer ones are their own mirror images
    }
    if (inside) {
      A sum = 0;
#pragma unroll
      for (int tap = 0; tap < kWarpTaps; ++tap) sum += A(sym6(tap)) * rows[(2 * own[1] + tap) * tile.count[0] + own[0]];
      sums.add(all_, c, sum);
    }
    __syncthreads();
  }

  const AffineWarpArgs& a_;
  const Channels<T>& all_;
  unsigned char* const shared_;
  Plan& plan_;
};

// A block has a tile of one sample, and up to four channels.
template <class T, bool adjoint>
__global__ void __launch_bounds__(kThreads, (kLeastBlocks<T, adjoint>)) affine_warp_kernel(WarpLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(unsigned char, shared);
  const AffineWarpArgs& a = l.a;
  const unsigned row_of_tiles = blockIdx.x / l.tiles_x, image = row_of_tiles / l.tiles_y, n = image / l.groups;
  const unsigned tile_x = blockIdx.x - row_of_tiles * l.tiles_x, tile_y = row_of_tiles - image * l.tiles_y;
  auto& plan = *reinterpret_cast<WarpPlan<A, adjoint>*>(shared);
  if (threadIdx.x == 0) plan.make(a, n);
  __syncthreads();
  const Channels<T> all(a, n, image - n * l.groups);
  const int tile_column = int(tile_x) * kSide, tile_row = int(tile_y) * kSide;  // of images that are reachable
  PixelSums<T, adjoint> sums;
  WarpBlock<T, adjoint> block(a, all, shared);
  const Way way = plan.way;
  if (way == Way::unreachable) {
    for (A& sum : sums.sum) sum = A(NAN);
  } else if (way == Way::copy) {
    const int column = tile_column + int(threadIdx.x) % kSide, row = tile_row + int(threadIdx.x) / kSide;
    if (column < a.w && row < a.h) take_copies(a, plan.map, all, column, row, sums);
  } else if (way == Way::window) {
    block.take_windows(tile_column, tile_row, sums);
  } else if constexpr (adjoint) {
    const Tile tile = Tile::of(a, tile_column, tile_row, kSide);
    Spread<T>(a, plan.map, all, tile, reinterpret_cast<A*>(shared + kPlanBytes)).add_to(sums);
  } else {
    block.take_all(tile_column, tile_row, sums);
  }
  const int self = recomputed(int(threadIdx.x));  // and with it the pixel, which is not kept so long
  const int64_t column = int64_t(tile_x) * kSide + self % kSide, row = int64_t(tile_y) * kSide + self / kSide;
  if (column < a.w && row < a.h) sums.write(a, all, adjoint || a.linear, column, row);
}

template <bool adjoint>
void run(const AffineWarpArgs& a) {
  WarpLaunch l;
  l.a = a;
  l.tiles_x = unsigned(divide_up(a.w, kSide));
  l.tiles_y = unsigned(divide_up(a.h, kSide));
  l.groups = unsigned(divide_up(a.c, kWarpColors));
  const int64_t blocks = a.n * l.groups * l.tiles_y * l.tiles_x;
  dispatch_dtype(a.dtype, [&](auto t) {
    launch("affine_warp", affine_warp_kernel<decltype(t), adjoint>, blocks, kThreads, kSharedBytes, a.stream, l);
  });
}

void list_kernels(KernelList& list) {
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      list.push_back({std::string("affine_warp forward ") + type_name<T>(),
                      reinterpret_cast<const void*>(affine_warp_kernel<T, false>)});
      list.push_back({std::string("affine_warp backward ") + type_name<T>(),
                      reinterpret_cast<const void*>(affine_warp_kernel<T, true>)});
    });
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

const AffineWarpKernels& affine_warp_kernels() {
  static constexpr AffineWarpKernels kernels{run<false>, run<true>};
  return kernels;
}

}  // namespace cuda
}  // namespace fastgan

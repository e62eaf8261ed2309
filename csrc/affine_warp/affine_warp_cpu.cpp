// affine_warp and its adjoint on the CPU. Images are divided into tiles of 64 x 64; a tile doubles the box of x that it reads,
// into a buffer of L2's size, takes its own samples from there row by row, and halves them. Four channels are worked on side
// by side. The adjoint goes the same way back, a thread an image, so that every sum has its order. Bytes: x read once and as
// much again for tiles' borders, y written once.
#include "affine_warp/affine_warp.h"
#include "affine_warp/warp_box.h"

namespace fastgan {
namespace FASTGAN_ISA {
namespace {

constexpr int kMargin = 6;  // pixels of zeros on either side of a row of dy

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How the image is cut into tiles.
struct Tiling {
  int64_t down, across, h, w;

  explicit Tiling(const AffineWarpArgs& a) : down(divide_up(a.h, kTile)), across(divide_up(a.w, kTile)), h(a.h), w(a.w) {}
  int64_t count() const { return down * across; }
  Tile tile(int64_t number) const {
    const int64_t i = number / across * kTile, j = number % across * kTile;
    return {i, j, smaller(kTile, h - i), smaller(kTile, w - j)};
  }
};

// What the tiles of a call need room for.
struct Room {
  int64_t samples = 0, columns = kTile + 2 * kMargin;

  void fit(const Box& box) {
    if (box.samples() > kMostSamples) return;
    samples = box.samples() > samples ? box.samples() : samples;
    columns = box.columns > columns ? box.columns : columns;
  }
};

// One thread's work on the samples and groups of channels that come to it.
template <class T, bool adjoint>
class Worker {
  using A = Accumulate<T>;

 public:
  Worker(const AffineWarpArgs& a, const Room& room)
      : a_(a), image_(adjoint ? a.h * a.w * kLanes : 1), samples_(2 * kEdge + (2 * kTile + 16) * kLanes),
        tile_(kTile * (kTile + 2 * kMargin) * kLanes), row_(row_room(kTile)), offsets_(2 * kTile),
        box_(a, room.samples, room.columns, image_.get()) {}

  // A tile of y.
  void forward(const WarpMap& map, int64_t n, int64_t group, const Tile& tile) {
    const Planes<const T> x(a_, static_cast<const T*>(a_.x), n, group);
    const Planes<T> y(a_, static_cast<T*>(a_.out), n, group);
    if (!map.reachable) return fill_nan(y, tile);
    if (map.copies) return copy(map, x, y, n, tile);
    const ColorMatrix<A> color(color_of(n), x.channels, a_.linear, false);
    const WarpTaps<A>& taps = box_.taps();
    const Box box = Box::of(map, tile);
    const bool direct = box.samples() > kMostSamples;
    if (!direct) box_.fill(x, box);
    A* const samples = samples_.get() + kEdge;
    const auto halved = [&](int64_t r) { return tile_.get() + r % kRing * kTile * kLanes; };
    for (int64_t r = 0, i = 0; r < tile.sample_rows(); ++r) {
      if (direct)
        box_.take_directly(x, map, tile, r, samples);
      else
        box_.take(map, box, tile, r, samples);
      halve_row(taps, samples, tile.columns, halved(r));
      if (r < 2 * i + kWarpTaps - 1) continue;
      const A* from[kWarpTaps];
      for (int k = 0; k < kWarpTaps; ++k) from[k] = halved(2 * i + k);
      add_rows(from, taps.down, kWarpTaps, divide_up(tile.columns, 4) * 4 * kLanes, row_.get());
      if (a_.color) apply_colors(color, row_.get(), tile.columns);
      write_pixels(y, tile.i + i, tile.j, tile.columns, row_.get());
      ++i;
    }
  }

  // dx of an image, from all tiles of dy.
  void backward(const WarpMap& map, int64_t n, int64_t group, const Tiling& tiling) {
    const Planes<const T> dy(a_, static_cast<const T*>(a_.x), n, group);
    const Planes<T> dx(a_, static_cast<T*>(a_.out), n, group);
    if (!map.reachable) return fill_nan(dx, {0, 0, a_.h, a_.w});
    __builtin_memset(image_.get(), 0, size_t(a_.h * a_.w * kLanes) * sizeof(A));
    for (int64_t number = 0; number < tiling.count(); ++number) {
      const Tile tile = tiling.tile(number);
      read_tile(dy, n, tile);
      if (map.copies)
        add_copies(map, tile);
      else
        spread_tile(map, tile);
    }
    for (int64_t i = 0; i < a_.h; ++i) write_pixels(dx, i, 0, a_.w, image_.get() + i * a_.w * kLanes);
  }

 private:
  const A* color_of(int64_t n) const { return a_.color ? static_cast<const A*>(a_.color) + n * a_.c * (a_.c + 1) : nullptr; }

  static void fill_nan(const Planes<T>& y, const Tile& tile) {
    for (int64_t c = 0; c < y.channels; ++c)
      for (int64_t i = tile.i; i < tile.i + tile.rows; ++i)
        for (int64_t j = tile.j; j < tile.j + tile.columns; ++j)
          narrow(A(__builtin_nan("")), y.data[c * y.stride_c + i * y.stride_h + j * y.stride_w]);
  }

  // Where the pixels of x are that a tile's columns and rows show, in elements: the sum of both is a pixel's place.
  void find_copies(const WarpMap& map, const Tile& tile, int64_t stride_h, int64_t stride_w) {
    const int across = map.turn[0][0] != 0 ? 0 : 1;  // which of x's axes follows y's columns
    for (int axis = 0; axis < 2; ++axis) {
      const bool columns = axis == across;
      const int64_t begin = columns ? tile.j : tile.i, count = columns ? tile.columns : tile.rows;
      const int64_t step = int64_t(map.turn[axis][columns ? 0 : 1]);
      int64_t* const offsets = offsets_.get() + (columns ? 0 : kTile);
      for (int64_t k = 0; k < count; ++k)
        offsets[k] = reflected(map.first[axis] + step * (begin + k), axis ? a_.h : a_.w) * (axis ? stride_h : stride_w);
    }
  }

  void copy(const WarpMap& map, const Planes<const T>& x, const Planes<T>& y, int64_t n, const Tile& tile) {
    const ColorMatrix<A> color(color_of(n), x.channels, a_.linear, false);
    find_copies(map, tile, x.stride_h, x.stride_w);
    const int64_t* const across = offsets_.get();
    const int64_t* const down = offsets_.get() + kTile;
    for (int64_t i = 0; i < tile.rows; ++i) {
      if (a_.color) {
        gather(x, x.data + down[i], across, tile.columns, row_.get());
        apply_colors(color, row_.get(), tile.columns);
        write_pixels(y, tile.i + i, tile.j, tile.columns, row_.get());
        continue;
      }
      for (int64_t c = 0; c < x.channels; ++c) {
        const T* const from = x.data + down[i] + c * x.stride_c;
        T* const to = y.data + (tile.i + i) * y.stride_h + tile.j * y.stride_w + c * y.stride_c;
        for (int64_t j = 0; j < tile.columns; ++j) to[j * y.stride_w] = from[across[j]];
      }
    }
  }

  void add_copies(const WarpMap& map, const Tile& tile) {
    find_copies(map, tile, a_.w * kLanes, kLanes);
    const int64_t* const across = offsets_.get();
    const int64_t* const down = offsets_.get() + kTile;
    for (int64_t i = 0; i < tile.rows; ++i)
      for (int64_t j = 0; j < tile.columns; ++j)
        add_pixel(image_.get() + down[i] + across[j], tile_row(i) + (kMargin + j) * kLanes);
  }

  // Row i of a tile of dy, which begins with its margin.
  A* tile_row(int64_t i) { return tile_.get() + i * (kTile + 2 * kMargin) * kLanes; }

  void read_tile(const Planes<const T>& dy, int64_t n, const Tile& tile) {
    const ColorMatrix<A> color(color_of(n), dy.channels, true, true);
    for (int64_t j = 0; j < tile.columns; ++j) offsets_.get()[j] = (tile.j + j) * dy.stride_w;
    for (int64_t i = 0; i < tile.rows; ++i) {
      A* const row = tile_row(i);
      __builtin_memset(row, 0, size_t((kTile + 2 * kMargin) * kLanes) * sizeof(A));
      gather(dy, dy.data + (tile.i + i) * dy.stride_h, offsets_.get(), tile.columns, row + kMargin * kLanes);
      if (a_.color) apply_colors(color, row + kMargin * kLanes, tile.columns);
    }
  }

  // The adjoint of `forward`, of the tile that has been read.
  void spread_tile(const WarpMap& map, const Tile& tile) {
    const Box box = Box::of(map, tile);
    const bool direct = box.samples() > kMostSamples;
    if (!direct) box_.clear(box);
    A* const samples = samples_.get() + kEdge;
    for (int64_t r = 0; r < tile.sample_rows(); ++r) {
      const int64_t first = r < kWarpTaps ? 0 : divide_up(r - (kWarpTaps - 1), 2), last = smaller(r / 2, tile.rows - 1);
      const A* from[kWarpTaps];
      A weight[kWarpTaps];
      int count = 0;
      for (int64_t i = first; i <= last; ++i) {
        from[count] = tile_row(i);
        weight[count++] = box_.taps().down[r - 2 * i];
      }
      add_rows(from, weight, count, divide_up(tile.columns + 2 * kMargin, 4) * 4 * kLanes, row_.get());
      halve_row_transposed(box_.taps(), row_.get() + kMargin * kLanes, tile.sample_columns(), samples);
      if (direct)
        box_.give_directly(map, tile, r, samples);
      else
        box_.give(map, box, tile, r, samples);
    }
    if (!direct) box_.empty(box);
  }

  const AffineWarpArgs& a_;
  const Scratch<A> image_, samples_, tile_, row_;
  const Scratch<int64_t> offsets_;
  BoxSampler<T> box_;
};

template <class T, bool adjoint>
void run(const AffineWarpArgs& a) {
  using A = Accumulate<T>;
  const Tiling tiling(a);
  const int64_t groups = divide_up(a.c, kLanes), tiles = tiling.count();
  const Scratch<WarpMap> maps(a.n);
  Room room;
  for (int64_t n = 0; n < a.n; ++n) {
    const WarpMap map = maps.get()[n] = WarpMap::of(static_cast<const A*>(a.theta) + 6 * n, a.h, a.w);
    for (int64_t number = 0; map.reachable && !map.copies && number < tiles; ++number)
      room.fit(Box::of(map, tiling.tile(number)));
  }
  const int64_t tasks = a.n * groups * (adjoint ? 1 : tiles);
  const int threads = int(smaller(thread_count(16 * a.n * a.c * a.h * a.w), tasks));
  int64_t next = 0;
  parallel_tasks(threads, threads, [&](int64_t, int) {
    Worker<T, adjoint> worker(a, room);
    for (int64_t task; (task = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < tasks;) {
      const int64_t image = adjoint ? task : task / tiles, n = image / groups;
      if constexpr (adjoint)
        worker.backward(maps.get()[n], n, image % groups, tiling);
      else
        worker.forward(maps.get()[n], n, image % groups, tiling.tile(task % tiles));
    }
  });
}

template <bool adjoint>
void dispatch_dtype(const AffineWarpArgs& a) {
  switch (a.dtype) {
    case DType::f32: return run<float, adjoint>(a);
    case DType::f64: return run<double, adjoint>(a);
    case DType::f16: return run<Half, adjoint>(a);
    case DType::bf16: return run<BFloat16, adjoint>(a);
  }
}

}  // namespace

const AffineWarpKernels& affine_warp_kernels() {
  static constexpr AffineWarpKernels kernels{dispatch_dtype<false>, dispatch_dtype<true>};
  return kernels;
}

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// The gradient of a convolution for its weights, on the GPU: dw[o, i, tap] = sum over pixels of dy[o] in_scale[i] x[i] at
// the tap. A product of matrices that are never written down (conv2d_weight_gradient.cuh), cut into slices of the pixels; each
// slice's sums are written in float32 (float64), and a small second kernel adds them in order. Bytes: dy once a column of
// tiles, x once a tap and row of tiles, from the L2 cache for the most part; slices x dw in float32 written and read.
//  tensor  halves: mma m16n8k16, float32 where tf32 is allowed: m16n8k8. Sums in float32.
//  plain   float32 and float64, in FMA of their own.
// Tiles of 128 threads: wide 128 x 128 (halves), small 64 x 64 (float64: 32 x 32). Shared memory, 4 stages of a chunk of
// pixels: 64 KiB, 32 (float64: 16); wide 3 of them where a multiprocessor has 100 KiB, so that two blocks fit. Registers: at most 255 (wide), 160, none spilled (nvcc 13.0, sm_80, sm_90a, sm_120).
// `streamed`: both operands come by asynchronous copies. Else, where x is scaled or they are not whole packets, they go
// through registers. For tf32 they are rounded on their way into shared memory, or there, once. Share of the matrix rate: not
// yet run on a GPU.
#include "conv2d_layer/conv2d_weight_gradient.cuh"

namespace fastgan {
namespace cuda {
namespace {

template <class T_, bool tensor, int side_>
struct GradientTile {
  using T = T_;
  static constexpr int side = side_, warp_side = side / 2;  // of a warp's part
  using Sums = std::conditional_t<tensor, TensorColumns<T, side, warp_side, warp_side>,
                                  PlainColumns<T, side, warp_side, warp_side>>;
  static constexpr int stage_bytes = 2 * side * int(sizeof(T)) * kChunk<T>;
};

template <class Tile, bool streamed>
__global__ void __launch_bounds__(kThreads, 2) conv2d_weight_gradient_kernel(GradientLaunch l, int stages) {
  FASTGAN_SHARED(unsigned char, memory);
  const unsigned row_of_tiles = blockIdx.x / l.tiles_n, tile_n = blockIdx.x - row_of_tiles * l.tiles_n;
  const unsigned slice = row_of_tiles / l.tiles_m, tile_m = row_of_tiles - slice * l.tiles_m;
  const int64_t pixels = l.a.conv.images * l.fixed.height * l.fixed.width, first = slice * l.chunks;
  const int64_t all = (pixels + kChunk<typename Tile::T> - 1) / kChunk<typename Tile::T>;
  const int64_t chunks = first + l.chunks < all ? l.chunks : all - first;
  const int warp = int(threadIdx.x) / 32, row = warp / 2 * Tile::warp_side, column = warp % 2 * Tile::warp_side;
  typename Tile::Sums sums;
  GradientLoader<Tile, streamed> loader(l, memory, int(tile_m) * Tile::side, int64_t(tile_n) * Tile::side,
                                        first * kChunk<typename Tile::T>);
  multiply_chunks(int(chunks), loader, sums, [&](int stage) {
    const unsigned char* const fixed = memory + stage * Tile::stage_bytes;
    sums.template multiply<streamed>(fixed, row, fixed + Tile::stage_bytes / 2, column);
  }, kFewestStages<Tile::stage_bytes> < kStages ? stages : kStages);
  const int64_t pitch = int64_t(l.tiles_n) * Tile::side;
  const int64_t first_row = (int64_t(slice) * l.tiles_m + tile_m) * Tile::side + row;
  auto* const workspace = static_cast<typename Tile::Sums::A*>(l.a.conv.workspace);
  sums.store(workspace + first_row * pitch + int64_t(tile_n) * Tile::side + column, pitch);
}

// dw from the slices, in the order of their numbers.
template <class T>
__global__ void __launch_bounds__(kThreads) conv2d_weight_gradient_sum_kernel(GradientLaunch l, int side) {
  using A = Accumulate<T>;
  const Conv2dArgs& conv = l.a.conv;
  const int64_t taps = conv.axis_y.taps * conv.axis_x.taps, columns = taps * l.moved_channels;
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x, row = i / columns, column = i - row * columns;
  const int64_t tap = column / l.moved_channels, channel = column - tap * l.moved_channels;
  if (row >= l.fixed.channels || channel >= l.moved.channels) return;
  const int64_t pitch = int64_t(l.tiles_n) * side, slice_size = pitch * l.tiles_m * side;
  const A* const from = static_cast<const A*>(conv.workspace) + row * pitch + column;
  A sum = 0;
#pragma unroll 4
  for (unsigned slice = 0; slice < l.slices; ++slice) sum += from[slice * slice_size];
  const int64_t out = conv.transposed ? channel : row, in = conv.transposed ? row : channel;
  narrow(sum, static_cast<T*>(l.a.dw)[(out * conv.in_channels + in) * taps + tap]);
}

template <class T, bool tensor, bool wide>
using TileOf = GradientTile<T, tensor, sizeof(T) == 8 ? 32 : wide ? 128 : 64>;

// Calls f with a tile of the type and form that the arguments ask for.
template <class F>
void with_tile(const GradientLaunch& l, const F& f) {
  const Conv2dArgs& conv = l.a.conv;
  const bool wide = l.fixed.channels > 64 && conv.axis_y.taps * conv.axis_x.taps * l.moved_channels > 64;
  dispatch_dtype(conv.dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(T) == 2)
      wide ? f(TileOf<T, true, true>()) : f(TileOf<T, true, false>());
    else if constexpr (sizeof(T) == 4)
      conv.tf32 ? f(TileOf<T, true, false>()) : f(TileOf<T, false, false>());
    else
      f(TileOf<T, false, false>());
  });
}

// Everything but the tensors, of a tile.
template <class Tile>
void set_tiles(GradientLaunch& l) {
  constexpr int64_t kBlocks = 512, kLeastChunks = 8;  // about four blocks for every multiprocessor of a large GPU
  const Conv2dArgs& conv = l.a.conv;
  const int64_t columns = conv.axis_y.taps * conv.axis_x.taps * l.moved_channels;
  const int64_t all = divide_up(conv.images * l.fixed.height * l.fixed.width, kChunk<typename Tile::T>);
  l.tiles_m = unsigned(divide_up(l.fixed.channels, Tile::side));
  l.tiles_n = unsigned(divide_up(columns, Tile::side));
  const int64_t tiles = int64_t(l.tiles_m) * l.tiles_n;
  const int64_t slices = std::max<int64_t>(1, std::min(kBlocks / tiles, divide_up(all, kLeastChunks)));
  l.chunks = std::max<int64_t>(1, divide_up(all, slices));
  l.slices = unsigned(std::max<int64_t>(1, divide_up(all, l.chunks)));
  l.chunk = l.fixed.pixel(kChunk<typename Tile::T>);
  l.apart = l.fixed.pixel(GradientLoader<Tile, true>::pixels_apart);
}

GradientLaunch launch_of(const ConvWeightGradientArgs& a) {
  const Conv2dArgs& conv = a.conv;
  GradientLaunch l;
  l.a = a;
  int lanes = 1;
  dispatch_dtype(conv.dtype, [&](auto t) { lanes = kLanes<decltype(t)>; });
  const auto operand = [&](const void* tensor, int64_t channels, int64_t height, int64_t width, bool scaled) {
    const bool packets = channels % lanes == 0 && is_aligned(tensor);
    return Operand{tensor, int(channels), int(height), int(width), packets, scaled};
  };
  const Operand x = operand(conv.x, conv.in_channels, conv.axis_y.in, conv.axis_x.in, conv.in_scale != nullptr);
  const Operand dy = operand(a.dy, conv.out_channels, conv.axis_y.out, conv.axis_x.out, false);
  l.fixed = conv.transposed ? x : dy;
  l.moved = conv.transposed ? dy : x;
  l.moved_channels = int(divide_up(l.moved.channels, lanes)) * lanes;
  l.packets_scale = conv.in_channels % lanes == 0 && is_aligned(conv.in_scale);
  return l;
}

template <class T, bool tensor, bool wide>
void list_tile(KernelList& list) {
  using Tile = TileOf<T, tensor, wide>;
  const std::string name =
      std::string("conv2d_weight_gradient ") + (tensor ? "tensor " : "plain ") + (wide ? "wide" : "small");
  list.push_back({name + " streamed " + type_name<T>(),
                  reinterpret_cast<const void*>(conv2d_weight_gradient_kernel<Tile, true>)});
  list.push_back({name + " " + type_name<T>(),
                  reinterpret_cast<const void*>(conv2d_weight_gradient_kernel<Tile, false>)});
}

void list_kernels(KernelList& list) {
  list_tile<__half, true, true>(list);
  list_tile<__half, true, false>(list);
  list_tile<__nv_bfloat16, true, true>(list);
  list_tile<__nv_bfloat16, true, false>(list);
  list_tile<float, true, false>(list);
  list_tile<float, false, false>(list);
  list_tile<double, false, false>(list);
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      list.push_back({std::string("conv2d_weight_gradient sum ") + type_name<T>(),
                      reinterpret_cast<const void*>(conv2d_weight_gradient_sum_kernel<T>)});
    });
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

int64_t conv2d_weight_gradient_workspace(const ConvWeightGradientArgs& a) {
  GradientLaunch l = launch_of(a);
  int64_t bytes = 0;
  with_tile(l, [&](auto tile) {
    using Tile = decltype(tile);
    set_tiles<Tile>(l);
    bytes = int64_t(l.slices) * l.tiles_m * l.tiles_n * Tile::side * Tile::side * int64_t(sizeof(typename Tile::Sums::A));
  });
  return bytes;
}

void conv2d_weight_gradient(const ConvWeightGradientArgs& a) {
  GradientLaunch l = launch_of(a);
  with_tile(l, [&](auto tile) {
    using Tile = decltype(tile);
    set_tiles<Tile>(l);
    const bool streamed = l.fixed.packets && l.moved.packets && !a.conv.in_scale;
    const int stages = stages_for<Tile::stage_bytes>(a.conv.stream, a.conv.plan.stages);
    const char* const op = "conv2d_weight_gradient";
    launch(op, streamed ? conv2d_weight_gradient_kernel<Tile, true> : conv2d_weight_gradient_kernel<Tile, false>,
           int64_t(l.slices) * l.tiles_m * l.tiles_n, kThreads, stages * Tile::stage_bytes, a.conv.stream, l,
           stages);
    const int64_t numel = int64_t(l.fixed.channels) * a.conv.axis_y.taps * a.conv.axis_x.taps * l.moved_channels;
    launch(op, conv2d_weight_gradient_sum_kernel<typename Tile::T>, divide_up(numel, kThreads), kThreads, 0,
           a.conv.stream, l, int(Tile::side));
  });
}

}  // namespace cuda
}  // namespace fastgan

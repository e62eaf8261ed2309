// A convolution and its epilogue on the GPU, in one pass over the images: y = residual + clamp(act(scale (w * (in_scale
// x)) + noise + b) gain), with the mask of act. The product has a row for every pixel of y, a column for every channel,
// and sums over taps and channels of x; none of its matrices is written down, and zeros that a transposed convolution
// would insert are never multiplied. Bytes: reads x once from memory and once a tap from the caches, w once a row of tiles,
// writes y and 2 bits an element. w is copied first (one pass that reads and writes it) where its memory is not [out,
// taps, taps, in] in whole packets of 16 bytes.
//  tensor  halves: mma m16n8k16; float32 where tf32 is allowed: m16n8k8. Sums in float32.
//  plain   float32 and float64, in FMA of their own.
// Tiles of 128 threads: wide 128 pixels x 128 channels (plain: 128 x 64), for much work; narrow 128 x 16, for up to 16
// channels; small 64 x 64 (plain: 64 x 32) for the rest. Shared memory: 4 stages of a chunk, or the tile's sums: 72, 36,
// 20 KiB (tensor), 48, 24, 36 KiB (plain).
// `streamed`: x comes by asynchronous copies. Else, where it is scaled or not in whole packets, it goes through
// registers.
// Share of the matrix rate: not yet run on a GPU.
#include "conv2d_layer/gemm_epilogue.cuh"

namespace fastgan {
namespace cuda {
namespace {

template <class T_, bool tensor, int rows_, int columns_, int warp_rows_, int warp_columns_>
struct ConvTile {
  using T = T_;
  using Sums = std::conditional_t<tensor, TensorRows<T, warp_rows_, warp_columns_>,
                                  PlainRows<T, warp_rows_, warp_columns_>>;
  static constexpr int rows = rows_, columns = columns_, warp_rows = warp_rows_, warp_columns = warp_columns_;
  static constexpr int warps_across = columns / warp_columns, stage_bytes = (rows + columns) * kRowBytes;
  static constexpr int pitch = warp_columns + 8;  // of the sums: neighbouring rows begin at other banks
  static constexpr int sum_bytes = kWarps * warp_rows * pitch * int(sizeof(Accumulate<T>));
  static constexpr int shared_bytes = std::max(kStages * stage_bytes, sum_bytes);
  static_assert(rows / warp_rows * warps_across == kWarps, "each warp has a part of the tile");
};

enum class Form { wide, small, narrow };
template <class T, bool tensor, Form form>
struct TileOf;
template <class T>
struct TileOf<T, true, Form::wide> : ConvTile<T, true, 128, 128, 64, 64> {};
template <class T>
struct TileOf<T, true, Form::small> : ConvTile<T, true, 64, 64, 32, 32> {};
template <class T>
struct TileOf<T, true, Form::narrow> : ConvTile<T, true, 128, 16, 32, 16> {};
template <class T>
struct TileOf<T, false, Form::wide> : ConvTile<T, false, 128, 64, 32, 64> {};
template <class T>
struct TileOf<T, false, Form::small> : ConvTile<T, false, 64, 32, 16, 32> {};
template <class T>
struct TileOf<T, false, Form::narrow> : ConvTile<T, false, 128, 16, 32, 16> {};

template <class Tile, bool streamed>
__global__ void __launch_bounds__(kThreads, 2) conv2d_kernel(ConvLaunch l) {
  using T = typename Tile::T;
  FASTGAN_SHARED(unsigned char, memory);
  const unsigned of_tile = blockIdx.x / l.tiles_n, tile_n = blockIdx.x - of_tile * l.tiles_n;
  const unsigned phase = of_tile / l.tiles_m, tile_m = of_tile - phase * l.tiles_m;  // the first phase has most taps
  const PhasePixels pixels(l.a, phase, int64_t(tile_m) * Tile::rows);
  if (pixels.left <= 0) return;  // a shorter phase

  const int first_column = int(tile_n) * Tile::columns;
  const int chunks = (pixels.y.taps * pixels.x.taps * l.channels + kChunk<T> - 1) / kChunk<T>;
  const int warp = int(threadIdx.x) / 32, warp_row = warp / Tile::warps_across * Tile::warp_rows;
  const int warp_column = warp % Tile::warps_across * Tile::warp_columns;
  typename Tile::Sums sums;
  ConvLoader<Tile, streamed> loader(l, pixels, memory, first_column);
  multiply_chunks(chunks, loader, [&](int stage) {
    const unsigned char* const rows = memory + stage * Tile::stage_bytes;
    sums.multiply(rows + warp_row * kRowBytes, rows + (Tile::rows + warp_column) * kRowBytes);
  });
  finish_tile<Tile>(l, pixels, sums, memory, warp_row, first_column + warp_column);
}

// w [out, in, taps] as [out, taps, channels], zeros beyond the last of `in`.
template <class T>
__global__ void __launch_bounds__(kThreads) conv2d_weights_kernel(ConvLaunch l) {
  const Conv2dArgs& a = l.a;
  const int64_t taps = a.axis_y.taps * a.axis_x.taps, i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = i / l.channels, channel = i - row * l.channels, out = row / taps, tap = row - out * taps;
  if (out >= a.out_channels) return;
  T value = {};
  if (channel < a.in_channels)
    value = static_cast<const T*>(a.w)[a.w_channels_last ? row * a.in_channels + channel
                                                         : (out * a.in_channels + channel) * taps + tap];
  static_cast<T*>(a.workspace)[i] = value;
}

// Four elements' codes to a byte of the mask.
__global__ void __launch_bounds__(kThreads) conv2d_mask_kernel(ConvLaunch l) {
  const int64_t numel = l.a.images * l.a.axis_y.out * l.a.axis_x.out * l.a.out_channels;
  const int64_t byte = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (byte * 4 >= numel) return;
  unsigned bits = 0;
  for (int k = 0; k < 4 && byte * 4 + k < numel; ++k) bits |= unsigned(l.codes[byte * 4 + k]) << (2 * k);
  l.a.mask[byte] = uint8_t(bits);
}

// Where the workspace's parts begin and end.
struct ConvMemory {
  int64_t channels, codes = 0, bytes = 0;
  bool copied;  // w
  explicit ConvMemory(const Conv2dArgs& a) {
    int64_t size = 1;
    dispatch_dtype(a.dtype, [&](auto t) { size = int64_t(sizeof t); });
    const int64_t lanes = 16 / size, taps = a.axis_y.taps * a.axis_x.taps;
    channels = divide_up(a.in_channels, lanes) * lanes;
    copied = !(a.w_channels_last || taps == 1) || channels != a.in_channels || !is_aligned(a.w);
    if (copied) codes = a.out_channels * taps * channels * size;  // whole packets
    bytes = codes;
    if (a.mask && a.out_channels % 4) bytes += a.images * a.axis_y.out * a.axis_x.out * a.out_channels;
  }
};

// The form for a shape. Results do not depend on it: the order of a sum is the same in all.
Form form_of(const Conv2dArgs& a) {
  constexpr int64_t kManyTiles = 256;  // about two for every multiprocessor of a large GPU
  const int64_t pixels = a.images * a.axis_y.out * a.axis_x.out;
  if (a.out_channels <= 16) return Form::narrow;
  const int64_t tiles = divide_up(pixels, 128) * divide_up(a.out_channels, 128);
  return a.dtype != DType::f64 && a.out_channels > 64 && tiles >= kManyTiles ? Form::wide : Form::small;
}

template <class T, bool tensor, Form form>
void run_form(ConvLaunch l) {
  using Tile = TileOf<T, tensor, form>;
  const Conv2dArgs& a = l.a;
  const int64_t phases = a.transposed ? a.stride : 1;
  const auto longest = [&](const ConvAxis& axis) { return divide_up(axis.out, phases); };
  const int64_t tiles_m = divide_up(a.images * longest(a.axis_y) * longest(a.axis_x), Tile::rows);
  l.tiles_m = unsigned(tiles_m);
  l.tiles_n = unsigned(divide_up(a.out_channels, Tile::columns));
  const int64_t blocks = tiles_m * l.tiles_n * phases * phases;
  const bool streamed = l.packets_in && !a.in_scale;
  launch("conv2d", streamed ? conv2d_kernel<Tile, true> : conv2d_kernel<Tile, false>, blocks, kThreads,
         Tile::shared_bytes, a.stream, l);
}

template <class T, bool tensor>
void run(const ConvLaunch& l) {
  switch (form_of(l.a)) {
    case Form::wide:
      if constexpr (sizeof(T) < 8) return run_form<T, tensor, Form::wide>(l);
    case Form::small: return run_form<T, tensor, Form::small>(l);
    case Form::narrow: return run_form<T, tensor, Form::narrow>(l);
  }
}

template <class T, bool tensor>
void list_forms(KernelList& list) {
  const auto add = [&](auto tile, const char* form) {
    using Tile = decltype(tile);
    const std::string name = std::string("conv2d ") + (tensor ? "tensor " : "plain ") + form;
    list.push_back({name + " streamed " + type_name<T>(), reinterpret_cast<const void*>(conv2d_kernel<Tile, true>)});
    list.push_back({name + " " + type_name<T>(), reinterpret_cast<const void*>(conv2d_kernel<Tile, false>)});
  };
  if constexpr (sizeof(T) < 8) add(TileOf<T, tensor, Form::wide>(), "wide");
  add(TileOf<T, tensor, Form::small>(), "small");
  add(TileOf<T, tensor, Form::narrow>(), "narrow");
}

}  // namespace

int64_t conv2d_workspace(const Conv2dArgs& a) { return ConvMemory(a).bytes; }

void conv2d(const Conv2dArgs& a) {
  const int64_t numel = a.images * a.axis_y.out * a.axis_x.out * a.out_channels;
  if (numel == 0) return;
  const ConvMemory memory(a);
  ConvLaunch l;
  l.a = a;
  l.channels = int(memory.channels);
  l.w = memory.copied ? a.workspace : a.w;
  l.packets_in = memory.channels == a.in_channels && is_aligned(a.x) && is_aligned(a.in_scale);
  if (a.mask && a.out_channels % 4) l.codes = static_cast<uint8_t*>(a.workspace) + memory.codes;
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    l.packets_out = a.out_channels % kOutputs<T> == 0 && is_aligned(a.y) && is_aligned(a.residual) &&
                    is_aligned(a.scale) && is_aligned(a.b) && is_aligned(a.mask);
    const int64_t weights = a.out_channels * a.axis_y.taps * a.axis_x.taps * l.channels;
    if (memory.copied)
      launch("conv2d", conv2d_weights_kernel<T>, divide_up(weights, kThreads), kThreads, 0, a.stream, l);
    if constexpr (sizeof(T) == 2)
      run<T, true>(l);
    else if constexpr (sizeof(T) == 4)
      a.tf32 ? run<T, true>(l) : run<T, false>(l);
    else
      run<T, false>(l);
  });
  if (l.codes)
    launch("conv2d", conv2d_mask_kernel, divide_up(divide_up(numel, 4), kThreads), kThreads, 0, a.stream, l);
}

void conv2d_kernel_list(KernelList& list) {
  list_forms<__half, true>(list);
  list_forms<__nv_bfloat16, true>(list);
  list_forms<float, true>(list);
  list_forms<float, false>(list);
  list_forms<double, false>(list);
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      list.push_back({std::string("conv2d weights ") + type_name<T>(),
                      reinterpret_cast<const void*>(conv2d_weights_kernel<T>)});
    });
  list.push_back({"conv2d mask uint8", reinterpret_cast<const void*>(conv2d_mask_kernel)});
}

}  // namespace cuda
}  // namespace fastgan

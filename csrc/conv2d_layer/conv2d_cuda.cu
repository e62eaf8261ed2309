// A convolution and its epilogue on the GPU, in one pass over the images: y = residual + clamp(act(scale (w * (in_scale
// x)) + noise + b) gain), with the mask of act. The product has a row for every pixel of y, a column for every channel,
// and sums over taps and channels of x; none of its matrices is written down, and zeros that a transposed convolution
// would insert are never multiplied. Bytes: reads x once from memory and once a tap from the caches, w once a row of tiles,
// writes y and 2 bits an element. w is copied first (one pass that reads and writes it) where its memory is not [out, kh,
// kw, in] in whole packets of 16 bytes.
//  tensor     halves: mma m16n8k16; float32 where tf32 is allowed: m16n8k8. Sums in float32.
//  plain      float32 and float64, in FMA of their own.
//  warpgroup  halves on compute capability 9.0, for much work: wgmma m64n128k16 (warpgroup64, for up to 64 channels:
//             m64n64k16) by all warps of a block together; a chunk's products go on while the next is waited for.
// Tiles of 128 threads, pixels x channels: wide 128 x 128 (plain, warpgroup64: 128 x 64), for much work; narrow 128 x 16,
// for up to 16 channels; small 64 x 64 (plain: 64 x 32) for the rest. Shared memory, which holds 4 stages of a chunk, and then the
// tile's sums (wide: half of them at a time): wide 64 KiB (plain: 48; warpgroup: 68, 48), narrow 36, small 32 (plain: 24).
// Where a multiprocessor has 100 KiB, wide has 3 stages, 48 KiB, so that two blocks fit. Registers: at most 255 (wide,
// warpgroup), 168, none spilled (nvcc 13.0, sm_80, sm_90a, sm_120).
// Splits: where tiles are few and sums long (512 channels at 4x4), blocks share a tile's sum, each a range of its chunks,
// and write their parts in float32 (float64), up to 264 tiles of them; a second kernel adds these in order and finishes.
// `streamed`: x comes by asynchronous copies. Else, where it is scaled or not in whole packets, it goes through
// registers. Share of the matrix rate: not yet run on a GPU.
#include "conv2d_layer/conv2d_finish.cuh"

namespace fastgan {
namespace cuda {
namespace {

// A warp has warp_rows x warp_columns of the sums, its rows in sixteens that are rows_apart apart.
template <class T_, class Sums_, int rows_, int columns_, int warp_rows_, int warp_columns_, int rows_apart_ = 16>
struct ConvTile {
  using T = T_;
  using Sums = Sums_;
  static constexpr int rows = rows_, columns = columns_, warp_rows = warp_rows_, warp_columns = warp_columns_;
  static constexpr int rows_apart = rows_apart_, warps_across = columns / warp_columns;
  static constexpr bool warpgroup = rows_apart > 16;  // all warps multiply all of the tile
  static constexpr int stage_bytes = (rows + columns) * kRowBytes;
  static constexpr int pitch = warp_columns + 8;  // of the sums: neighbouring rows begin at other banks
  static constexpr int parts = warp_rows * warp_columns > 32 * 64 && !warpgroup ? 2 : 1;  // finished one after the other
  static constexpr int sum_bytes = kWarps * warp_rows / parts * pitch * int(sizeof(Accumulate<T>));
  static constexpr bool few_stages = !warpgroup && kFewestStages<stage_bytes> < kStages;  // there may be
  static constexpr int shared_bytes(int stages) { return std::max(stages * stage_bytes, sum_bytes); }
  static_assert(rows / warp_rows * warps_across == kWarps, "each warp has a part of the tile");
};

using Form = ConvForm;
inline const char* const kFormNames[] = {"by shape", "warpgroup", "warpgroup64", "wide", "small", "narrow"};

template <class T, int rows, int columns, int warp_rows, int warp_columns>
using TensorTile = ConvTile<T, TensorRows<T, warp_rows, warp_columns>, rows, columns, warp_rows, warp_columns>;
template <class T, int rows, int columns, int warp_rows, int warp_columns>
using PlainTile = ConvTile<T, PlainRows<T, warp_rows, warp_columns>, rows, columns, warp_rows, warp_columns>;

// Calls f with the tile of a form.
template <class T, bool tensor, class F>
void with_form(Form form, const F& f) {
  if constexpr (sizeof(T) == 2) {
    if (form == Form::warpgroup) return f(ConvTile<T, WarpgroupRows<T, 128>, 128, 128, 32, 128, 64>());
    if (form == Form::warpgroup64) return f(ConvTile<T, WarpgroupRows<T, 64>, 128, 64, 32, 64, 64>());
  }
  if constexpr (tensor) {
    if (form == Form::wide) return f(TensorTile<T, 128, 128, 64, 64>());
    form == Form::narrow ? f(TensorTile<T, 128, 16, 32, 16>()) : f(TensorTile<T, 64, 64, 32, 32>());
  } else {
    if constexpr (sizeof(T) == 4)
      if (form == Form::wide) return f(PlainTile<T, 128, 64, 32, 64>());
    form == Form::narrow ? f(PlainTile<T, 128, 16, 32, 16>()) : f(PlainTile<T, 64, 32, 16, 32>());
  }
}

template <class Tile, bool streamed>
__global__ void __launch_bounds__(kThreads, 2) conv2d_kernel(ConvLaunch l, int stages) {
  using T = typename Tile::T;
  if constexpr (Tile::warpgroup && !kWarpgroups) return;
  FASTGAN_SHARED(unsigned char, memory);
  const unsigned split = blockIdx.x / l.tiles, tile = blockIdx.x - split * l.tiles;
  const unsigned of_tile = tile / l.tiles_n, tile_n = tile - of_tile * l.tiles_n;
  const unsigned phase = of_tile / l.tiles_m, tile_m = of_tile - phase * l.tiles_m;  // the first phase has most taps
  const PhasePixels pixels(l.a, phase, int64_t(tile_m) * Tile::rows);
  if (pixels.left <= 0) return;  // a shorter phase

  const int first_column = int(tile_n) * Tile::columns;
  const int all = (pixels.y.taps * pixels.x.taps * l.channels + kChunk<T> - 1) / kChunk<T>;
  const int each = (all + int(l.splits) - 1) / int(l.splits), first_chunk = int(split) * each;
  const int chunks = all - first_chunk < each ? all - first_chunk : each;  // of short sums, the last have none
  const int warp = int(threadIdx.x) / 32;
  const int warp_row = warp / Tile::warps_across * (Tile::warpgroup ? 16 : Tile::warp_rows);
  const int warp_column = warp % Tile::warps_across * Tile::warp_columns;
  typename Tile::Sums sums;
  ConvLoader<Tile, streamed> loader(l, pixels, memory, first_column, first_chunk);
  multiply_chunks(chunks, loader, sums, [&](int stage) {
    const unsigned char* const rows = memory + stage * Tile::stage_bytes;
    sums.multiply(rows + (Tile::warpgroup ? 0 : warp_row * kRowBytes), rows + (Tile::rows + warp_column) * kRowBytes);
  }, Tile::few_stages ? stages : kStages);
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

// Adds what the splits have of a packet, in order, and finishes it.
template <class T>
__global__ void __launch_bounds__(kThreads) conv2d_sum_kernel(ConvLaunch l) {
  constexpr int n = kPacket<T>;
  const Conv2dArgs& a = l.a;
  const PartialSums<T> sums(a, l.partial);
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * n;
  if (i >= sums.size) return;
  Accumulate<T> sum[n] = {};
#pragma unroll 2
  for (unsigned split = 0; split < l.splits; ++split) {
    const auto part = load_packet<n>(sums.partial + split * sums.size + i);
#pragma unroll
    for (int k = 0; k < n; ++k) sum[k] += part.v[k];
  }
  const int64_t pixel = i / sums.pitch, row = pixel / a.axis_x.out, image = row / a.axis_y.out;
  ConvFinish<T>(l).finish(sum, {int(image), int(row - image * a.axis_y.out), int(pixel - row * a.axis_x.out)},
                          int(i - pixel * sums.pitch));
}

// Four elements' codes to a byte of the mask.
__global__ void __launch_bounds__(kThreads) conv2d_mask_kernel(ConvLaunch l) {
  const int64_t numel = l.a.images * l.a.axis_y.out * l.a.axis_x.out * l.a.out_channels;
  const int64_t byte = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (byte * 4 >= numel) return;
  unsigned bits = 0;
  for (int k = 0; k < 4 && byte * 4 + k < numel; ++k) bits |= unsigned(l.codes[byte * 4 + k]) << (2 * k);
  l.a.operands.mask[byte] = uint8_t(bits);
}

// Where the workspace's parts begin and end: w, codes, sums of the splits.
struct ConvMemory {
  int64_t channels, codes = 0, partial = 0;
  bool copied;  // w
  explicit ConvMemory(const Conv2dArgs& a) {
    int64_t size = 1;
    dispatch_dtype(a.dtype, [&](auto t) { size = int64_t(sizeof t); });
    const int64_t lanes = 16 / size, taps = a.axis_y.taps * a.axis_x.taps;
    channels = divide_up(a.in_channels, lanes) * lanes;
    copied = !(a.w_channels_last || taps == 1) || channels != a.in_channels || !is_aligned(a.w);
    if (copied) codes = a.out_channels * taps * channels * size;  // whole packets
    partial = codes;
    if (a.operands.mask && a.out_channels % 4)
      partial += divide_up(a.images * a.axis_y.out * a.axis_x.out * a.out_channels, 16) * 16;
  }
};

// The form that is asked for, or that of the shape. Sums are made in the same order in all.
Form form_of(const Conv2dArgs& a) {
  const bool halves = a.dtype == DType::f16 || a.dtype == DType::bf16;
  const Form asked = a.plan.form;
  if (asked == Form::small || asked == Form::narrow || (asked == Form::wide && a.dtype != DType::f64)) return asked;
  const bool warpgroups = halves && has_warpgroups(a.stream);
  if ((asked == Form::warpgroup || asked == Form::warpgroup64) && warpgroups) return asked;
  if (a.out_channels <= 16) return Form::narrow;
  const int64_t pixels = a.images * a.axis_y.out * a.axis_x.out;
  const int64_t tiles = divide_up(pixels, 128) * divide_up(a.out_channels, 128);
  if (a.dtype == DType::f64 || tiles < kManyTiles) return Form::small;
  if (a.out_channels <= 64) return warpgroups ? Form::warpgroup64 : Form::small;
  return warpgroups ? Form::warpgroup : Form::wide;
}

// Calls f with the tile that the arguments ask for.
template <class F>
void with_tile(const Conv2dArgs& a, const F& f) {
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(T) == 2)
      with_form<T, true>(form_of(a), f);
    else if constexpr (sizeof(T) == 4)
      a.tf32 ? with_form<T, true>(form_of(a), f) : with_form<T, false>(form_of(a), f);
    else
      with_form<T, false>(form_of(a), f);
  });
}

// The blocks of a product. Where tiles are few and sums long, blocks share a tile's sum, so that there are about two for
// every multiprocessor of a large GPU. How many do is told by the sizes alone: numbers are the same on every GPU.
struct ConvGrid {
  int64_t tiles_m, tiles_n, tiles, splits, partial_bytes = 0;
};
template <class Tile>
ConvGrid grid_of(const Conv2dArgs& a) {
  constexpr int64_t kBlocks = 264, kLeastChunks = 12;
  using T = typename Tile::T;
  const int64_t phases = a.transposed ? a.stride : 1;
  const auto longest = [&](int64_t of_axis) { return divide_up(of_axis, phases); };
  ConvGrid grid;
  grid.tiles_m = divide_up(a.images * longest(a.axis_y.out) * longest(a.axis_x.out), Tile::rows);
  grid.tiles_n = divide_up(a.out_channels, Tile::columns);
  grid.tiles = grid.tiles_m * grid.tiles_n * phases * phases;
  const int64_t chunks = longest(a.axis_y.taps) * longest(a.axis_x.taps) * a.in_channels / kChunk<T>;
  grid.splits = std::max<int64_t>(1, std::min(kBlocks / grid.tiles, chunks / kLeastChunks));
  if (a.plan.splits) grid.splits = a.plan.splits;
  if (grid.splits > 1) grid.partial_bytes = grid.splits * PartialSums<T>(a, nullptr).size * sizeof(Accumulate<T>);
  return grid;
}

template <class Tile>
void run_tile(ConvLaunch l, int64_t partial) {
  using T = typename Tile::T;
  const Conv2dArgs& a = l.a;
  const ConvGrid grid = grid_of<Tile>(a);
  l.tiles_m = unsigned(grid.tiles_m), l.tiles_n = unsigned(grid.tiles_n), l.tiles = unsigned(grid.tiles);
  l.splits = unsigned(grid.splits);
  if (grid.splits > 1) l.partial = static_cast<unsigned char*>(a.workspace) + partial;
  const bool streamed = l.packets_in && !a.in_scale;
  const int stages = Tile::few_stages ? stages_for<Tile::stage_bytes>(a.stream, a.plan.stages) : kStages;
  launch("conv2d", streamed ? conv2d_kernel<Tile, true> : conv2d_kernel<Tile, false>, grid.tiles * grid.splits, kThreads,
         Tile::shared_bytes(stages), a.stream, l, stages);
  if (grid.splits > 1)
    launch("conv2d", conv2d_sum_kernel<T>, divide_up(PartialSums<T>(a, nullptr).size, kThreads * kPacket<T>), kThreads, 0,
           a.stream, l);
}

template <class T, bool tensor>
void list_forms(KernelList& list) {
  for (const Form form : {Form::warpgroup, Form::warpgroup64, Form::wide, Form::small, Form::narrow}) {
    if ((form <= Form::warpgroup64 && sizeof(T) > 2) || (form == Form::wide && sizeof(T) > 4)) continue;
    with_form<T, tensor>(form, [&](auto tile) {
      using Tile = decltype(tile);
      const std::string name = std::string("conv2d ") + (tensor ? "tensor " : "plain ") + kFormNames[int(form)];
      list.push_back({name + " streamed " + type_name<T>(), reinterpret_cast<const void*>(conv2d_kernel<Tile, true>)});
      list.push_back({name + " " + type_name<T>(), reinterpret_cast<const void*>(conv2d_kernel<Tile, false>)});
    });
  }
}

void list_kernels(KernelList& list) {
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
      list.push_back({std::string("conv2d sum ") + type_name<T>(), reinterpret_cast<const void*>(conv2d_sum_kernel<T>)});
    });
  list.push_back({"conv2d mask uint8", reinterpret_cast<const void*>(conv2d_mask_kernel)});
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

int64_t conv2d_workspace(const Conv2dArgs& a) {
  int64_t partial_bytes = 0;
  with_tile(a, [&](auto tile) { partial_bytes = grid_of<decltype(tile)>(a).partial_bytes; });
  return ConvMemory(a).partial + partial_bytes;
}
int64_t conv2d_up_workspace(const Conv2dUpArgs& a) { return ConvMemory(a.conv).partial; }

ConvLaunch prepare_conv2d(const Conv2dArgs& a) {
  const ConvMemory memory(a);
  ConvLaunch l;
  l.a = a;
  l.channels = int(memory.channels);
  l.w = memory.copied ? a.workspace : a.w;
  l.packets_in = memory.channels == a.in_channels && is_aligned(a.x) && is_aligned(a.in_scale);
  if (a.operands.mask && a.out_channels % 4) l.codes = static_cast<uint8_t*>(a.workspace) + memory.codes;
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    l.packets_out = a.out_channels % kPacket<T> == 0 && is_aligned(a.y) && is_aligned(a.operands.residual) &&
                    is_aligned(a.operands.scale) && is_aligned(a.operands.b) && is_aligned(a.operands.mask);
    const int64_t weights = a.out_channels * a.axis_y.taps * a.axis_x.taps * l.channels;
    if (memory.copied)
      launch("conv2d", conv2d_weights_kernel<T>, divide_up(weights, kThreads), kThreads, 0, a.stream, l);
  });
  return l;
}

void pack_mask(const ConvLaunch& l) {
  if (!l.codes) return;
  const int64_t numel = l.a.images * l.a.axis_y.out * l.a.axis_x.out * l.a.out_channels;
  launch("conv2d", conv2d_mask_kernel, divide_up(divide_up(numel, 4), kThreads), kThreads, 0, l.a.stream, l);
}

void conv2d(const Conv2dArgs& a) {
  if (a.images * a.axis_y.out * a.axis_x.out * a.out_channels == 0) return;
  const ConvLaunch l = prepare_conv2d(a);
  with_tile(a, [&](auto tile) { run_tile<decltype(tile)>(l, ConvMemory(a).partial); });
  pack_mask(l);
}

}  // namespace cuda
}  // namespace fastgan

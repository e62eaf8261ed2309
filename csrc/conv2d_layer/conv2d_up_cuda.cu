// The up-sampling layer of StyleGAN2 on the GPU, in one pass over its images: a 3x3 convolution transposed with stride 2, a
// separable FIR of 4 taps, then y = residual + clamp(act(scale u + noise + b) gain), with the mask of act. What the
// convolution gives, four times the size of x, stays on the chip, in float32. With no epilogue and the FIR turned round it is
// the gradient of a down-sampling layer for its input.
// Bytes: reads x once from memory, and its patches (1.8 and 2.25 times as many pixels, wide and small) once for every 32
// channels of y from the caches; w once a block; writes y and 2 bits an element. w is copied first as conv2d copies it.
// Where a multiprocessor has 100 KiB, tiles of tensor cores are small, so that two blocks fit.
//  tensor  halves: mma m16n8k16; float32 where tf32 is allowed: m16n8k8. Sums in float32.
//  plain   float32, in FMA of its own.
// Tiles of 128 threads and 32 channels (plain wide: 16): wide 12 x 28 pixels of y from 16 x 32 before the FIR, 1.52 times
// the products that are needed; small 12 x 12 from 16 x 16, 1.78 times. Shared memory: 2 stages of a chunk, or the sums of 16 channels: 56 and
// 47 KiB (plain wide: 48).
// `streamed`: x comes by asynchronous copies. Else, where it is scaled or not in whole packets, it goes through registers.
// Registers a thread (nvcc 13.0, sm_90a), streamed and not; none is spilled, nor for sm_80 and sm_120:
//  halves 226, 254 (wide), 164, 184 (small); tf32 226, 252, 164, 182; plain 220, 244, 156, 220.
// Share of the matrix rate: not yet run on a GPU.
#include "conv2d_layer/conv2d_up_tile.cuh"

namespace fastgan {
namespace cuda {
namespace {

template <class Tile, bool streamed>
__global__ void __launch_bounds__(kThreads, 2) conv2d_up_kernel(UpLaunch up) {
  FASTGAN_SHARED(unsigned char, memory);
  const UpPart<Tile> part(up, blockIdx.x);
  UpSums<Tile> sums;
  UpLoader<Tile, streamed> loader(up.l, part, memory);
  const int chunks = (up.l.channels + kChunk<typename Tile::T> - 1) / kChunk<typename Tile::T>;
  multiply_chunks(chunks, loader, sums, [&](int stage) { sums.multiply(memory + stage * Tile::stage_bytes); });
  finish_up(up, part, sums, reinterpret_cast<float*>(memory));
}

template <class T, bool tensor>
using WideUp = UpTile<T, tensor, 8, 16, tensor ? 32 : 16>;
template <class T, bool tensor>
using SmallUp = UpTile<T, tensor, 8, 8, 32>;

// Sets the launch's tiles; returns the number of blocks.
template <class Tile>
int64_t set_tiles(UpLaunch& up) {
  const Conv2dArgs& a = up.l.a;
  const int64_t y = divide_up(a.axis_y.out, Tile::out_down), x = divide_up(a.axis_x.out, Tile::out_across);
  up.tiles_y = unsigned(y), up.tiles_x = unsigned(x), up.l.tiles_n = unsigned(divide_up(a.out_channels, Tile::columns));
  return a.images * y * x * up.l.tiles_n;
}

template <class Tile>
void run_tile(UpLaunch up) {
  const int64_t blocks = set_tiles<Tile>(up);
  const bool streamed = up.l.packets_in && !up.l.a.in_scale;
  launch("conv2d_up", streamed ? conv2d_up_kernel<Tile, true> : conv2d_up_kernel<Tile, false>, blocks, kThreads,
         Tile::shared_bytes, up.l.a.stream, up);
}

template <class T, bool tensor>
void run(UpLaunch up) {
  using Wide = WideUp<T, tensor>;
  using Small = SmallUp<T, tensor>;
  const int64_t wide = set_tiles<Wide>(up), small = set_tiles<Small>(up);
  const bool wasteful = wide * Wide::pixels * Wide::columns > small * Small::pixels * Small::columns;
  const bool alone = Wide::shared_bytes > kHalfOfLittleShared && has_little_shared(up.l.a.stream);  // on a multiprocessor
  bool is_wide = wide >= kManyTiles && !wasteful && !alone;
  if (up.l.a.plan.form == ConvForm::wide) is_wide = true;
  if (up.l.a.plan.form == ConvForm::small) is_wide = false;
  is_wide ? run_tile<Wide>(up) : run_tile<Small>(up);
}

template <class Tile>
void list_tile(KernelList& list, const char* form) {
  const std::string name = std::string("conv2d_up ") + (Tile::tensor ? "tensor " : "plain ") + form;
  const std::string type = type_name<typename Tile::T>();
  list.push_back({name + " streamed " + type, reinterpret_cast<const void*>(conv2d_up_kernel<Tile, true>)});
  list.push_back({name + " " + type, reinterpret_cast<const void*>(conv2d_up_kernel<Tile, false>)});
}

template <class T, bool tensor>
void list_forms(KernelList& list) {
  list_tile<WideUp<T, tensor>>(list, "wide");
  list_tile<SmallUp<T, tensor>>(list, "small");
}

void list_kernels(KernelList& list) {
  list_forms<__half, true>(list);
  list_forms<__nv_bfloat16, true>(list);
  list_forms<float, true>(list);
  list_forms<float, false>(list);
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

void conv2d_up(const Conv2dUpArgs& a) {
  const Conv2dArgs& conv = a.conv;
  if (conv.images * conv.axis_y.out * conv.axis_x.out * conv.out_channels == 0) return;
  UpLaunch up;
  up.l = prepare_conv2d(conv);
  up.filter = a.filter, up.flip = a.flip, up.gain = a.fir_gain;
  switch (conv.dtype) {
    case DType::f16: run<__half, true>(up); break;
    case DType::bf16: run<__nv_bfloat16, true>(up); break;
    case DType::f32: conv.tf32 ? run<float, true>(up) : run<float, false>(up); break;
    case DType::f64: throw std::runtime_error("conv2d_up: x must not be float64");
  }
  pack_mask(up.l);
}

}  // namespace cuda
}  // namespace fastgan

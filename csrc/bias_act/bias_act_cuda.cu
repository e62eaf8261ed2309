// bias_act on the GPU. One pass forward: add the bias, activate, scale, clamp, pack the mask; one pass backward that also
// sums db, whose parts a small second kernel adds in order. Bytes per element: forward reads x, writes y and 2 bits;
// backward reads dy and 2 bits (or x) and writes dx; double backward reads ddx, dy and x and writes dx.
// Threads: 256 a block, each with up to 2 packets of 16 bytes (32 for float64) in flight. Shared memory: up to 64 bytes a block
// to sum rows, up to 8 KiB to sum columns. All loads of a thread are issued before the first is waited for. Share of the copy
// rate: not yet measured on a GPU.
#include "bias_act/bias_act_packet.cuh"

namespace fastgan {
namespace cuda {
namespace {

// Blocks a multiprocessor: said aloud, or ptxas spills a few registers for the sake of a rounder number.
constexpr int kThreads = 256, kLeastBlocks = 1;
// Packets of a thread that are loaded before the first is stored. Smooth activations are long enough with one.
constexpr int kInFlight = 2;
template <bool piecewise>
constexpr int in_flight = piecewise ? kInFlight : 1;
constexpr int64_t kMostBlocks = 4096, kMostSlices = 2048;

// `bias` gives that of a packet.
template <int count, class T, Pass pass, bool piecewise, class Bias>
__device__ __forceinline__ void process(const Formula<T, pass, piecewise>& formula, const Place (&at)[count],
                                        const Bias& bias_of, Values<T> (&out)[count]) {
  Inputs<T> in[count];
  Held<T, kPacket<T>> bias[count] = {};
#pragma unroll
  for (int u = 0; u < count; ++u) in[u] = formula.load(at[u]);
  if (formula.reads_x())
#pragma unroll
    for (int u = 0; u < count; ++u) bias[u] = bias_of(u);
#pragma unroll
  for (int u = 0; u < count; ++u) {
    out[u] = formula.compute(in[u], bias[u]);
    formula.store(out[u], in[u].mask, at[u]);
  }
}

// The tensor in memory order, without a sum.
template <class T, Pass pass, bool piecewise>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) bias_act_flat_kernel(BiasActLaunch l) {
  constexpr int count = in_flight<piecewise>;
  const Formula<T, pass, piecewise> formula(l);
  Place at[count];
  Values<T> out[count];
#pragma unroll
  for (int u = 0; u < count; ++u) {
    const int64_t packet = (int64_t(blockIdx.x) * count + u) * kThreads + threadIdx.x;
    at[u] = place_at<T>(l.aligned, packet * kPacket<T>, l.a.numel);
  }
  process(formula, at, [&](int u) { return load_bias<T>(l, at[u]); }, out);
}

// Partial sum of a channel, or all of it.
template <class T>
__device__ __forceinline__ void store_sum(const BiasActLaunch& l, int64_t slice, int64_t channel, Accumulate<T> sum) {
  if (l.slices > 1)
    static_cast<Accumulate<T>*>(l.a.workspace)[slice * l.a.channels + channel] = sum;
  else
    narrow(sum, static_cast<T*>(l.a.db)[channel]);
}

// Planes of one channel each, contiguous: a block has a slice of one channel's planes.
template <class T, Pass pass, bool piecewise>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) bias_act_rows_kernel(BiasActLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, warp_sums);
  constexpr int count = in_flight<piecewise>;
  const Formula<T, pass, piecewise> formula(l);
  const int64_t channel = blockIdx.x % l.a.channels, slice = blockIdx.x / l.a.channels;
  const int64_t row_packets = (l.a.inner + kPacket<T> - 1) / kPacket<T>;
  const int64_t packets = l.a.numel / (l.a.channels * l.a.inner) * row_packets;
  const int64_t share = (packets + l.slices - 1) / l.slices, begin = slice * share;
  const int64_t end = begin + share < packets ? begin + share : packets;
  using Bias = Held<T, kPacket<T>>;
  const Bias bias = l.a.b ? Bias::all(static_cast<const T*>(l.a.b)[channel]) : Bias{};
  A sum = 0;
  for (int64_t first = begin + threadIdx.x; first < end; first += count * kThreads) {
    Place at[count];
    Values<T> out[count];
#pragma unroll
    for (int u = 0; u < count; ++u) {
      const int64_t packet = first + u * kThreads, row = packet / row_packets;
      const int64_t row_begin = (row * l.a.channels + channel) * l.a.inner;
      const int64_t i = row_begin + (packet - row * row_packets) * kPacket<T>;
      at[u] = place_at<T>(l.aligned, i, packet < end ? row_begin + l.a.inner : i);
    }
    process(formula, at, [&](int) { return bias; }, out);
#pragma unroll
    for (int u = 0; u < count; ++u)
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) sum += out[u].v[k].v;  // 0 beyond the end, for dy is 0 there
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int warp = 1; warp < kThreads / 32; ++warp) sum += warp_sums[warp];
  store_sum<T>(l, slice, channel, sum);
}

// Packets of a row that a block of the columns kernel has: the least power of two for all channels, at most a warp.
template <class T>
__host__ __device__ int columns_width(const BiasActArgs& a) {
  int width = 1;
  while (width < 32 && width * kPacket<T> < a.channels) width *= 2;
  return width;
}

// Rows of all channels (channels_last, [N, C]): a block has some columns of a slice of the rows.
template <class T, Pass pass, bool piecewise>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) bias_act_columns_kernel(BiasActLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, sums);  // [rows of threads, width * packet]
  constexpr int count = in_flight<piecewise>;
  const Formula<T, pass, piecewise> formula(l);
  const int width = columns_width<T>(l.a), thread_rows = kThreads / width, columns = width * kPacket<T>;
  const int64_t groups = (l.a.channels + columns - 1) / columns;
  const int64_t slice = blockIdx.x / groups, group_begin = (blockIdx.x - slice * groups) * columns;
  const int64_t rows = l.a.numel / l.a.channels, share = (rows + l.slices - 1) / l.slices, begin = slice * share;
  const int64_t end = begin + share < rows ? begin + share : rows;
  const int row = int(threadIdx.x) / width, column = int(threadIdx.x) % width * kPacket<T>;
  const int64_t channel = group_begin + column;
  Held<T, kPacket<T>> bias = {};
  if (l.a.b) bias = hold<kPacket<T>>(static_cast<const T*>(l.a.b) + channel, false, int(l.a.channels - channel));
  Values<T> sum;
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) sum.v[k] = A(0);
  for (int64_t first = begin + row; first < end; first += count * thread_rows) {
    Place at[count];
    Values<T> out[count];
#pragma unroll
    for (int u = 0; u < count; ++u) {
      const int64_t r = first + u * thread_rows, i = r * l.a.channels + channel;
      at[u] = place_at<T>(l.aligned, i, r < end ? (r + 1) * l.a.channels : i);
    }
    process(formula, at, [&](int) { return bias; }, out);
#pragma unroll
    for (int u = 0; u < count; ++u)
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) sum.v[k] = sum.v[k] + out[u].v[k];
  }
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) sums[row * columns + column + k] = sum.v[k].v;
  __syncthreads();
  const int own = int(threadIdx.x);
  if (own >= columns || group_begin + own >= l.a.channels) return;
  A total = 0;
  for (int r = 0; r < thread_rows; ++r) total += sums[r * columns + own];
  store_sum<T>(l, slice, group_begin + own, total);
}

// db from the slices, a warp a channel.
template <class T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) bias_act_sum_kernel(BiasActLaunch l) {
  using A = Accumulate<T>;
  const int64_t channel = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / 32;
  if (channel >= l.a.channels) return;
  A sum = 0;
  for (int64_t slice = threadIdx.x % 32; slice < l.slices; slice += 32)
    sum += static_cast<const A*>(l.a.workspace)[slice * l.a.channels + channel];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) narrow(sum, static_cast<T*>(l.a.db)[channel]);
}

// Blocks that share the channels between them, and the slices that gives each; by the sizes alone, so that every GPU
// adds in the same order.
template <class T>
int64_t channel_groups(const BiasActArgs& a) {
  return a.inner == 1 ? divide_up(a.channels, columns_width<T>(a) * kPacket<T>) : a.channels;
}
template <class T>
int64_t slices_of(const BiasActArgs& a) {
  const int64_t images = a.numel / (a.channels * a.inner);
  const int64_t work = a.inner == 1 ? divide_up(images, kThreads / columns_width<T>(a))
                                    : divide_up(images * divide_up(a.inner, kPacket<T>), kThreads);
  const int64_t most = std::max<int64_t>(1, std::min(kMostSlices, kMostBlocks / channel_groups<T>(a)));
  return std::min(most, divide_up(work, 4 * kInFlight));
}

int64_t workspace(const BiasActArgs& a) {
  int64_t bytes = 0;
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t slices = slices_of<T>(a);
    bytes = slices > 1 ? slices * a.channels * int64_t(sizeof(Accumulate<T>)) : 0;
  });
  return bytes;
}

template <class T, Pass pass, bool piecewise>
void run(BiasActLaunch l) {
  const BiasActArgs& a = l.a;
  if (!a.db) {
    const int64_t blocks = divide_up(a.numel, int64_t(kPacket<T>) * kThreads * in_flight<piecewise>);
    return launch("bias_act", bias_act_flat_kernel<T, pass, piecewise>, blocks, kThreads, 0, a.stream, l);
  }
  if constexpr (pass != Pass::forward) {
    using A = Accumulate<T>;
    l.slices = slices_of<T>(a);
    const int64_t blocks = channel_groups<T>(a) * l.slices;
    if (a.inner == 1)
      launch("bias_act", bias_act_columns_kernel<T, pass, piecewise>, blocks, kThreads,
             kThreads * kPacket<T> * sizeof(A), a.stream, l);
    else
      launch("bias_act", bias_act_rows_kernel<T, pass, piecewise>, blocks, kThreads, kThreads / 32 * sizeof(A), a.stream,
             l);
    if (l.slices > 1)
      launch("bias_act", bias_act_sum_kernel<T>, divide_up(a.channels * 32, kThreads), kThreads, 0, a.stream, l);
  }
}

template <Pass pass>
void run_pass(const BiasActArgs& a) {
  BiasActLaunch l;
  l.a = a;
  l.aligned = is_aligned(a.x) && is_aligned(a.dy) && is_aligned(a.ddx) && is_aligned(a.out) && is_aligned(a.mask) &&
              is_aligned(a.b);
  l.negative_slope = negative_slope(a.act, a.alpha, Activations());
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (pass == Pass::double_backward)
      run<T, pass, false>(l);  // that of a piecewise-linear activation is 0, and is not asked for
    else if (Activations::piecewise[a.act])
      run<T, pass, true>(l);
    else
      run<T, pass, false>(l);
  });
}

template <class T, Pass pass, bool piecewise>
void list_pass(KernelList& list, const std::string& name) {
  const std::string suffix = " " + name + (piecewise ? " piecewise " : " smooth ") + type_name<T>();
  const auto add = [&](const char* form, auto* kernel) {
    list.push_back({std::string("bias_act ") + form + suffix, reinterpret_cast<const void*>(kernel)});
  };
  add("flat", bias_act_flat_kernel<T, pass, piecewise>);
  if constexpr (pass != Pass::forward) {
    add("rows", bias_act_rows_kernel<T, pass, piecewise>);
    add("columns", bias_act_columns_kernel<T, pass, piecewise>);
  }
}

void list_kernels(KernelList& list) {
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      list_pass<T, Pass::forward, true>(list, "forward");
      list_pass<T, Pass::forward, false>(list, "forward");
      list_pass<T, Pass::backward, true>(list, "backward");
      list_pass<T, Pass::backward, false>(list, "backward");
      list_pass<T, Pass::double_backward, false>(list, "double backward");
      list.push_back({std::string("bias_act sum ") + type_name<T>(),
                      reinterpret_cast<const void*>(bias_act_sum_kernel<T>)});
    });
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

const BiasActKernels& bias_act_kernels() {
  static const BiasActKernels kernels{run_pass<Pass::forward>, run_pass<Pass::backward>,
                                      run_pass<Pass::double_backward>, workspace};
  return kernels;
}

}  // namespace cuda
}  // namespace fastgan

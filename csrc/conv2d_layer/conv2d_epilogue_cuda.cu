// The epilogue of a convolution layer on the GPU: one pass forward; one pass backward that also makes parts of its sums,
// which small kernels add in order. Bytes per element: forward reads u and writes y and 2 bits, and reads the residual if
// there is one; backward reads dy and 2 bits, and y or u if dscale is wanted, and writes du. Sums over channels pass
// through memory too where the channels are split: 8 bytes for at least 8 elements. Threads: 256 a block, each with 2
// packets of 16 bytes (32 for float64) in flight. Shared memory: up to 16 KiB a block to sum columns. Share of the copy
// rate: not yet measured on a GPU. All loads of a thread are issued before the first is waited for. Registers: at most 128, 162
// for float64.
#include "conv2d_layer/conv2d_epilogue_sums.cuh"

namespace fastgan {
namespace cuda {
namespace {

constexpr int kInFlight = 2;  // packets of a thread that are loaded before the first is stored
constexpr int64_t kMostTasks = 4096;

// The tensor in memory order.
template <class T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) epilogue_forward_kernel(EpilogueLaunch l) {
  const EpilogueForward<T> formula(l);
  const int64_t numel = l.a.samples * l.a.channels * l.a.pixels;
  Place at[kInFlight];
  typename EpilogueForward<T>::Inputs in[kInFlight];
#pragma unroll
  for (int u = 0; u < kInFlight; ++u) {
    at[u] = place_at<T>(l.aligned, ((int64_t(blockIdx.x) * kInFlight + u) * kThreads + threadIdx.x) * kPacket<T>, numel);
    in[u] = formula.load(at[u]);
  }
#pragma unroll
  for (int u = 0; u < kInFlight; ++u) formula.finish(in[u], at[u]);
}

// The same backward, without a sum.
template <class T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) epilogue_backward_kernel(EpilogueLaunch l) {
  const EpilogueBackward<T> formula(l);
  const int64_t numel = l.a.samples * l.a.channels * l.a.pixels;
  Place at[kInFlight];
  Terms<T> terms[kInFlight];
  typename EpilogueBackward<T>::Inputs in[kInFlight];
#pragma unroll
  for (int u = 0; u < kInFlight; ++u) {
    at[u] = place_at<T>(l.aligned, ((int64_t(blockIdx.x) * kInFlight + u) * kThreads + threadIdx.x) * kPacket<T>, numel);
    in[u] = formula.load(at[u]);
    terms[u] = load_terms<T>(l, at[u]);
  }
#pragma unroll
  for (int u = 0; u < kInFlight; ++u) formula.finish(in[u], terms[u], at[u]);
}

// Lanes that a row of so many elements gets: the least power of two, at most a warp.
template <class T>
__host__ __device__ int lanes_of(int64_t elements) {
  int lanes = 1;
  while (lanes < 32 && lanes * kPacket<T> < elements) lanes *= 2;
  return lanes;
}

// Planes: a warp has a part of the pixels of a slice of a sample's channels, and goes from channel to channel, or, where
// planes are small, from some to the next ones.
template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 8 ? 1 : 2) epilogue_rows_kernel(EpilogueLaunch l) {
  using A = Accumulate<T>;
  const EpilogueBackward<T> formula(l);
  const EpilogueArgs& a = l.a;
  const int64_t task = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int64_t part = task % l.parts, slice = task / l.parts % l.slices, n = task / l.parts / l.slices;
  if (n >= a.samples) return;
  const int width = lanes_of<T>(a.pixels), rows = 32 / width, lane = threadIdx.x % 32, row = lane / width;
  const int64_t share = (a.channels + l.slices - 1) / l.slices, begin = slice * share;
  const int64_t end = begin + share < a.channels ? begin + share : a.channels;
  int64_t pixel[kInFlight];
  Values<T> noise_sum[kInFlight];
#pragma unroll
  for (int u = 0; u < kInFlight; ++u) {
    pixel[u] = ((part * kInFlight + u) * width + lane % width) * kPacket<T>;
    noise_sum[u] = all_same<T>(A(0));
  }
  const T* const noise = formula.from_y() && a.operands.noise ? static_cast<const T*>(a.operands.noise) + n * a.operands.noise_step : nullptr;
  const bool noise_aligned = l.aligned && a.operands.noise_step % kPacket<T> == 0;
  for (int64_t first = begin; first < end; first += rows) {
    const int64_t o = first + row, plane = (n * a.channels + o) * a.pixels;
    const bool live = o < end;
    Place at[kInFlight];
    typename EpilogueBackward<T>::Inputs in[kInFlight];
    Terms<T> terms[kInFlight];
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      at[u] = place_at<T>(l.aligned, plane + pixel[u], live ? plane + a.pixels : plane);
      in[u] = formula.load(at[u]);
      terms[u].noise = load_operand<T, T>(noise, place_at<T>(noise_aligned, pixel[u], a.pixels), true, A(-0.0));
    }
    const Place own{n * a.channels + o, live, false};
    const auto scale = load_operand<T, A>(a.operands.scale, own, false, A(1));
    const auto b = load_operand<T, T>(a.operands.b, {o, live, false}, false, A(0));
    A sum = 0, product = 0;
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      terms[u].scale = scale, terms[u].b = b;
      const typename EpilogueBackward<T>::Result r = formula.finish(in[u], terms[u], at[u]);
      add_values(noise_sum[u], r.g);
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) sum += r.g.v[k].v, product += r.product.v[k].v;  // 0 beyond the end, as dy
    }
    if (!a.dscale && !a.db) continue;
    sum = lane_sum(sum, 1, width);
    if (a.dscale) product = lane_sum(product, 1, width);
    if (lane % width || !live) continue;
    part_of<T>(l, n, o, part)[0] = sum;
    if (a.dscale) part_of<T>(l, n, o, part)[part_count(l)] = product;
  }
  if (!a.dnoise) return;
#pragma unroll
  for (int u = 0; u < kInFlight; ++u)
#pragma unroll
    for (int k = 0; k < kPacket<T>; ++k) {
      const A sum = lane_sum(noise_sum[u].v[k].v, width, 32);
      if (row == 0 && pixel[u] + k < a.pixels) store_noise<T>(l, n, slice, pixel[u] + k, sum);
    }
}

// Pixels of all channels (channels_last): a block has some columns of a part of a sample's pixels.
template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 8 ? 1 : 2) epilogue_columns_kernel(EpilogueLaunch l) {
  using A = Accumulate<T>;
  FASTGAN_SHARED(A, sums);  // [rows of threads, width * packet], of g and of the product
  const EpilogueBackward<T> formula(l);
  const EpilogueArgs& a = l.a;
  const int width = lanes_of<T>(a.channels), thread_rows = kThreads / width, columns = width * kPacket<T>;
  const int64_t slice = blockIdx.x % l.slices, part = blockIdx.x / l.slices % l.parts, n = blockIdx.x / l.slices / l.parts;
  const int64_t share = (a.pixels + l.parts - 1) / l.parts, begin = part * share;
  const int64_t end = begin + share < a.pixels ? begin + share : a.pixels;
  const int row = int(threadIdx.x) / width, column = int(threadIdx.x) % width * kPacket<T>;
  const int64_t channel = slice * columns + column;
  const Place own = place_at<T>(l.aligned && a.channels % kPacket<T> == 0, channel, a.channels);
  Terms<T> terms;
  terms.scale = load_operand<T, A>(
      a.operands.scale ? static_cast<const A*>(a.operands.scale) + n * a.channels : nullptr, own, true, A(1));
  terms.b = load_operand<T, T>(a.operands.b, own, true, A(0));
  const bool has_noise = formula.from_y() && a.operands.noise;
  Values<T> sum = all_same<T>(A(0)), product = all_same<T>(A(0));
  for (int64_t first = begin; first < end; first += kInFlight * thread_rows) {
    Place at[kInFlight];
    typename EpilogueBackward<T>::Inputs in[kInFlight];
    T noise[kInFlight];
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      const int64_t p = first + u * thread_rows + row, i = (n * a.pixels + p) * a.channels;
      at[u] = place_at<T>(l.aligned, i + channel, p < end ? i + a.channels : i);
      in[u] = formula.load(at[u]);
      narrow(A(-0.0), noise[u]);
      if (has_noise && p < end) noise[u] = static_cast<const T*>(a.operands.noise)[n * a.operands.noise_step + p];
    }
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      const int64_t p = first + u * thread_rows + row;
      terms.noise = Held<T, kPacket<T>>::all(noise[u]);
      const typename EpilogueBackward<T>::Result r = formula.finish(in[u], terms, at[u]);
      add_values(sum, r.g);
      add_values(product, r.product);
      if (!a.dnoise) continue;
      A of_pixel = 0;
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) of_pixel += r.g.v[k].v;
      of_pixel = lane_sum(of_pixel, 1, width);
      if (column == 0 && p < end) store_noise<T>(l, n, slice, p, of_pixel);
    }
  }
  if (!a.dscale && !a.db) return;
  A* const products = sums + kThreads * kPacket<T>;
#pragma unroll
  for (int k = 0; k < kPacket<T>; ++k) {
    sums[row * columns + column + k] = sum.v[k].v;
    products[row * columns + column + k] = product.v[k].v;
  }
  __syncthreads();
  const int mine = int(threadIdx.x);
  const int64_t o = slice * columns + mine;
  if (mine >= columns || o >= a.channels) return;
  A total = 0, product_total = 0;
  for (int r = 0; r < thread_rows; ++r) total += sums[r * columns + mine], product_total += products[r * columns + mine];
  part_of<T>(l, n, o, part)[0] = total;
  if (a.dscale) part_of<T>(l, n, o, part)[part_count(l)] = product_total;
}

// Splits the sums by the sizes alone, so that every GPU adds in the same order.
template <class T>
EpilogueLaunch launch_of(const EpilogueArgs& a) {
  EpilogueLaunch l;
  l.a = a;
  l.aligned = is_aligned(a.u) && is_aligned(a.y) && is_aligned(a.dy) && is_aligned(a.operands.residual) && is_aligned(a.out) &&
              is_aligned(a.operands.mask) && is_aligned(a.operands.scale) && is_aligned(a.operands.noise) && is_aligned(a.operands.b);
  const auto between = [](int64_t least, int64_t value, int64_t most) { return std::max(least, std::min(value, most)); };
  if (a.channels_last) {
    const int width = lanes_of<T>(a.channels);
    l.slices = divide_up(a.channels, width * kPacket<T>);
    l.parts = between(1, divide_up(a.pixels, kThreads / width * kInFlight * 4), kMostTasks / (a.samples * l.slices));
  } else {
    const int width = lanes_of<T>(a.pixels);
    l.parts = divide_up(a.pixels, int64_t(width) * kPacket<T> * kInFlight);
    l.slices = between(1, divide_up(a.channels, 8 * (32 / width)), kMostTasks / (a.samples * l.parts));
  }
  return l;
}

int64_t workspace(const EpilogueArgs& a) {
  int64_t bytes = 0;
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    const EpilogueLaunch l = launch_of<T>(a);
    const int64_t noise = a.dnoise && l.slices > 1 ? a.samples * l.slices * a.pixels : 0;
    bytes = (parts_elements(l) + noise) * int64_t(sizeof(Accumulate<T>));
  });
  return bytes;
}

template <class T, class Kernel>
void launch_flat(Kernel* kernel, const EpilogueLaunch& l) {
  const int64_t numel = l.a.samples * l.a.channels * l.a.pixels;
  const int64_t blocks = divide_up(numel, int64_t(kPacket<T>) * kThreads * kInFlight);
  launch("conv2d_epilogue", kernel, blocks, kThreads, 0, l.a.stream, l);
}

void forward(const EpilogueArgs& a) {
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    launch_flat<T>(epilogue_forward_kernel<T>, launch_of<T>(a));
  });
}

template <class T>
void run_backward(const EpilogueArgs& a) {
  const char* const op = "conv2d_epilogue_backward";
  const EpilogueLaunch l = launch_of<T>(a);
  if (!a.dscale && !a.dnoise && !a.db) return launch_flat<T>(epilogue_backward_kernel<T>, l);
  const int64_t tasks = a.samples * l.slices * l.parts, sum_bytes = sizeof(Accumulate<T>);
  if (a.channels_last)
    launch(op, epilogue_columns_kernel<T>, tasks, kThreads, 2 * kThreads * kPacket<T> * sum_bytes, a.stream, l);
  else
    launch(op, epilogue_rows_kernel<T>, divide_up(tasks, kWarps), kThreads, 0, a.stream, l);
  if (a.dscale || a.db) launch(op, epilogue_sum_kernel<T>, a.channels, kThreads, kWarps * sum_bytes, a.stream, l);
  if (a.dnoise && l.slices > 1)
    launch(op, epilogue_noise_kernel<T>, divide_up(a.samples * a.pixels, kThreads), kThreads, 0, a.stream, l);
}

void backward(const EpilogueArgs& a) {
  dispatch_dtype(a.dtype, [&](auto t) { run_backward<decltype(t)>(a); });
}

void list_kernels(KernelList& list) {
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      const auto add = [&](const char* form, auto* kernel) {
        const std::string name = std::string("conv2d_epilogue ") + form + " " + type_name<T>();
        list.push_back({name, reinterpret_cast<const void*>(kernel)});
      };
      add("forward", epilogue_forward_kernel<T>);
      add("backward flat", epilogue_backward_kernel<T>);
      add("backward rows", epilogue_rows_kernel<T>);
      add("backward columns", epilogue_columns_kernel<T>);
      add("sum", epilogue_sum_kernel<T>);
      add("sum over channels", epilogue_noise_kernel<T>);
    });
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

const EpilogueKernels& epilogue_kernels() {
  static const EpilogueKernels kernels{forward, backward, workspace};
  return kernels;
}

}  // namespace cuda
}  // namespace fastgan

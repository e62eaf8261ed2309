// squared_norm, its backward and double backward, and interpolate on the GPU, one pass over memory each. Bytes per element:
// norm reads x; backward reads x and writes dx; double backward reads x and ddx and writes dx where it is wanted; interpolate
// reads real and fake and writes. A sample is shared between several blocks, the more the fewer samples there are; a small
// second kernel adds their sums in order.
// Threads: 256 a block, each with 2 packets of 16 bytes (32 for float64) of each tensor in flight, 4 where it reads one tensor.
// Shared memory: up to 64 bytes a block. All loads of a thread are issued before the first is waited for. Share of the copy
// rate: not yet measured on a GPU.
#include "gpu/packet.h"
// after what it is written in terms of
#include "gradient_penalty/gradient_penalty.h"

#include <algorithm>

namespace fastgan {
namespace cuda {
namespace {

constexpr int kThreads = 256, kLeastBlocks = 1;
constexpr int64_t kMostBlocks = 4096;
constexpr int64_t kSharePackets = 4 * kThreads;  // of a block, where a sample has so many

// What the kernels get by value.
struct PenaltyLaunch {
  GradientPenaltyArgs a;
  bool aligned = false;  // every tensor begins at 16 bytes, so that whole packets move in wide accesses
  int64_t slices = 1;    // blocks that share a sample
};

// A block has a slice of one sample.
template <class T, PenaltyPass pass>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) gradient_penalty_kernel(PenaltyLaunch l) {
  using A = Accumulate<T>;
  using Formula = PenaltyFormula<pass>;
  FASTGAN_SHARED(A, warp_sums);
  constexpr int count = Formula::reads_other ? 2 : 4;
  const GradientPenaltyArgs& a = l.a;
  const int64_t sample = blockIdx.x / l.slices, slice = blockIdx.x - sample * l.slices;
  const int64_t packets = (a.inner + kPacket<T> - 1) / kPacket<T>, share = (packets + l.slices - 1) / l.slices;
  const int64_t begin = slice * share, end = begin + share < packets ? begin + share : packets;
  const Number<A> factor(a.factor ? static_cast<const A*>(a.factor)[sample] : A(0));
  A sum = 0;
  for (int64_t first = begin + threadIdx.x; first < end; first += count * kThreads) {
    Place at[count];
    Held<T, kPacket<T>> x[count], other[count];
#pragma unroll
    for (int u = 0; u < count; ++u) {
      const int64_t packet = first + u * kThreads, i = sample * a.inner + packet * kPacket<T>;
      at[u] = place_at<T>(l.aligned, i, packet < end ? (sample + 1) * a.inner : i);
    }
#pragma unroll
    for (int u = 0; u < count; ++u) {
      x[u] = load_values<T>(a.x, at[u]);
      if constexpr (Formula::reads_other) other[u] = load_values<T>(a.other, at[u]);
    }
#pragma unroll
    for (int u = 0; u < count; ++u) {
      const Values<T> of_x = values_of<T>(x[u]);
      Values<T> of_other = of_x, out;
      if constexpr (Formula::reads_other) of_other = values_of<T>(other[u]);
      A terms = 0;
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) {
        if constexpr (Formula::has_sums) terms += Formula::term(of_x.v[k], of_other.v[k]).v;  // 0 beyond the end
        if constexpr (Formula::has_out) out.v[k] = Formula::out(of_x.v[k], of_other.v[k], factor);
      }
      sum += terms;
      if constexpr (Formula::has_out)
        if (a.out) store_values<T>(out, a.out, at[u]);
    }
  }
  if constexpr (Formula::has_sums) {
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < kThreads / 32; ++warp) sum += warp_sums[warp];
    if (l.slices > 1)
      static_cast<A*>(a.workspace)[sample * l.slices + slice] = Formula::sum_factor * sum;
    else
      static_cast<A*>(a.sums)[sample] = Formula::sum_factor * sum;
  }
}

// Sums from those of the slices, a warp a sample.
template <class T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks) gradient_penalty_sum_kernel(PenaltyLaunch l) {
  using A = Accumulate<T>;
  const int64_t sample = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / 32;
  if (sample >= l.a.samples) return;
  A sum = 0;
  for (int64_t slice = threadIdx.x % 32; slice < l.slices; slice += 32)
    sum += static_cast<const A*>(l.a.workspace)[sample * l.slices + slice];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) static_cast<A*>(l.a.sums)[sample] = sum;
}

// By the sizes alone, so that every GPU adds in the same order.
template <class T>
int64_t slices_of(const GradientPenaltyArgs& a) {
  const int64_t most = std::max<int64_t>(1, kMostBlocks / a.samples);
  return std::min(most, divide_up(divide_up(a.inner, kPacket<T>), kSharePackets));
}

int64_t workspace(const GradientPenaltyArgs& a) {
  int64_t bytes = 0;
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t slices = slices_of<T>(a);
    bytes = slices > 1 ? slices * a.samples * int64_t(sizeof(Accumulate<T>)) : 0;
  });
  return bytes;
}

template <PenaltyPass pass>
void run_pass(const GradientPenaltyArgs& a) {
  PenaltyLaunch l;
  l.a = a;
  l.aligned = is_aligned(a.x) && is_aligned(a.other) && is_aligned(a.out);
  dispatch_dtype(a.dtype, [&](auto t) {
    using T = decltype(t);
    using A = Accumulate<T>;
    constexpr bool has_sums = PenaltyFormula<pass>::has_sums;
    l.slices = slices_of<T>(a);
    launch("gradient_penalty", gradient_penalty_kernel<T, pass>, a.samples * l.slices, kThreads,
           has_sums ? kThreads / 32 * sizeof(A) : 0, a.stream, l);
    if (has_sums && l.slices > 1)
      launch("gradient_penalty", gradient_penalty_sum_kernel<T>, divide_up(a.samples * 32, kThreads), kThreads, 0,
             a.stream, l);
  });
}

template <class T, PenaltyPass pass>
void list_pass(KernelList& list, const char* name) {
  list.push_back({std::string("gradient_penalty ") + name + " " + type_name<T>(),
                  reinterpret_cast<const void*>(gradient_penalty_kernel<T, pass>)});
}

void list_kernels(KernelList& list) {
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      list_pass<T, PenaltyPass::norm>(list, "norm");
      list_pass<T, PenaltyPass::backward>(list, "backward");
      list_pass<T, PenaltyPass::double_backward>(list, "double backward");
      list_pass<T, PenaltyPass::interpolate>(list, "interpolate");
      list.push_back({std::string("gradient_penalty sum ") + type_name<T>(),
                      reinterpret_cast<const void*>(gradient_penalty_sum_kernel<T>)});
    });
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

const GradientPenaltyKernels& gradient_penalty_kernels() {
  static const GradientPenaltyKernels kernels{run_pass<PenaltyPass::norm>, run_pass<PenaltyPass::backward>,
                                              run_pass<PenaltyPass::double_backward>,
                                              run_pass<PenaltyPass::interpolate>, workspace};
  return kernels;
}

}  // namespace cuda
}  // namespace fastgan

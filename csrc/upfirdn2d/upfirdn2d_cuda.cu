// upfirdn2d on the GPU, in one pass: insert zeros, pad, filter, decimate, scale. Reads the down^2 / up^2 inputs of an
// output once and writes it: with 2 bytes a number 2.5 bytes an output at up 2, 4 for a filter, 10 at down 2.
// Polyphase: inserted zeros are never multiplied, decimated samples never computed.
//  planar   up 2, down 2 or filter with 4 taps along both axes, separable or not, [N, C, H, W]. 256 threads fetch the
//           inputs of a tile of outputs into shared memory, 128 x 64 of them (halves at up 2: 256 x 64; at down 2:
//           64 x 32), at most 35 KiB in float32; each computes a patch of 2 to 8 columns and 8 rows (4 at down 2) in
//           registers. Blocks hold several planes where they are small.
//  packed   the same filters, [N, H, W, C] with C in packets of 16 bytes. 128 threads; each computes 2 columns (1 of
//           halves by a filter that is not separable, but for up 2) and up to 16 rows of a packet. No shared memory.
//  tile     everything else: any factors and filter, both layouts; separable filters along x into shared memory, then
//           along y. At most 48 KiB of shared memory.
//  direct   what does not fit there: an output a thread.
// The filter stays in the GPU's memory, so that streams and graphs of launches are safe.
// Registers: at most 80 (planar), 168 (packed), 46, none spilled (nvcc 13.0, sm_80, sm_90a, sm_120).
// Share of the copy rate: not yet measured on a GPU.
#include "upfirdn2d/upfirdn2d_packed.cuh"
#include "upfirdn2d/upfirdn2d_planar.cuh"
#include "upfirdn2d/upfirdn2d_tile.cuh"

namespace fastgan {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kSharedBytes = 48 << 10;
constexpr int64_t kMostSamples = 1 << 30;  // where the kernels count in 32 bits: along an axis, in a single plane

// The least n with 2^n >= count, at most `most`.
int log_of(int64_t count, int most) {
  int log = 0;
  while (log < most && int64_t(1) << log < count) ++log;
  return log;
}

bool fits_int(const ResampleAxis& axis) {
  const auto small = [](int64_t n) { return n > -kMostSamples && n < kMostSamples; };
  return small(axis.in) && small(axis.out) && small(axis.up) && small(axis.down) && small(axis.pad0) &&
         small(axis.taps) && small(axis.in * axis.up) && small(axis.out * axis.down);
}
bool fits_int(const Upfirdn2dArgs& a) {
  return fits_int(a.axis_y) && fits_int(a.axis_x) && (a.pixel > 1 || a.axis_y.in * a.axis_x.in < kMostSamples);
}

template <class F>
bool made_for(const ResampleAxis& axis) {
  return axis.up == F::up && axis.down == F::down && axis.taps == F::taps && axis.pad0 % F::up == 0;
}

// Calls f with the compiled filter that the arguments ask for, if there is one.
template <class F>
bool with_fir(const Upfirdn2dArgs& a, const F& f) {
  const auto run_if = [&](auto fir) {
    using Taps = decltype(fir);
    const bool match = made_for<Taps>(a.axis_y) && made_for<Taps>(a.axis_x);
    if (match) f(fir);
    return match;
  };
  return run_if(Fir<2, 1, 4>()) || run_if(Fir<1, 2, 4>()) || run_if(Fir<1, 1, 4>());
}

template <class T, class F, bool full>
void run_planar(const Upfirdn2dArgs& a) {
  using A = Accumulate<T>;
  using P = PlanarPatch<T, F>;
  const ResampleAxis &ay = a.axis_y, &ax = a.axis_x;
  PatchLaunch l;
  l.a = a;
  l.log_x = log_of(divide_up(ax.out, P::columns), 5);
  l.log_y = log_of(divide_up(ay.out, P::rows), 8 - l.log_x);
  l.log_c = log_of(a.planes, 8 - l.log_x - l.log_y);
  l.packets = ax.out % P::columns == 0 && is_aligned(a.y);
  l.pairs = ax.in % 2 == 0 && reinterpret_cast<uintptr_t>(a.x) % (2 * sizeof(T)) == 0;
  l.width = ((1 << l.log_x) - 1) * P::step_x + F::inputs(P::columns);
  l.pitch = ((1 << l.log_x) - 1 + P::window) * P::step_x;
  const auto shared_bytes = [&] {
    l.rows = ((1 << l.log_y) - 1) * P::step_y + F::inputs(P::rows);
    const int64_t threads = int64_t(1) << (l.log_c + l.log_x + l.log_y);
    const int64_t tile = P::lead + (int64_t(l.rows) * l.pitch << l.log_c), turn = l.packets ? 0 : threads * P::columns;
    return tile * int64_t(sizeof(A)) + turn * int64_t(sizeof(T));
  };
  while (shared_bytes() > kSharedBytes) --(l.log_c > 0 ? l.log_c : l.log_y);
  const int64_t packs = divide_up(l.width + 1, sizeof(T) == 2 && l.pairs ? 2 : 1);  // at most
  l.log_across = std::min(5, l.log_x + l.log_y);
  l.log_rest = log_of(packs % (1 << l.log_across), l.log_across);
  l.tiles_x = unsigned(divide_up(ax.out, P::columns << l.log_x));
  l.tiles_y = unsigned(divide_up(ay.out, P::rows << l.log_y));
  const int64_t blocks = divide_up(a.planes, int64_t(1) << l.log_c) * l.tiles_y * l.tiles_x;
  const int threads = 1 << (l.log_c + l.log_x + l.log_y);
  launch("upfirdn2d", upfirdn2d_planar_kernel<T, F, full>, blocks, threads, size_t(shared_bytes()), a.stream, l);
}

template <class T, class F, bool full>
void run_packed(const Upfirdn2dArgs& a) {
  using P = PackedPatch<T, F, full>;
  const ResampleAxis &ay = a.axis_y, &ax = a.axis_x;
  const int64_t packets = a.pixel / P::lanes, columns = divide_up(ax.out, P::columns);
  PatchLaunch l;
  l.a = a;
  l.log_c = log_of(packets, 5);
  l.log_x = log_of(columns, std::min(4, 7 - l.log_c));
  l.rounds = 1;  // 16 rows a thread, but no more than an eighth of all
  while (P::rows * l.rounds < 16 && P::rows * l.rounds * 8 <= ay.out) l.rounds *= 2;
  l.log_y = log_of(divide_up(ay.out, P::rows * l.rounds), 7 - l.log_c - l.log_x);
  l.tiles_c = unsigned(divide_up(packets, int64_t(1) << l.log_c));
  l.tiles_x = unsigned(divide_up(columns, int64_t(1) << l.log_x));
  l.tiles_y = unsigned(divide_up(ay.out, P::rows * l.rounds << l.log_y));
  const int64_t blocks = a.planes * l.tiles_y * l.tiles_x * l.tiles_c;
  launch("upfirdn2d", upfirdn2d_packed_kernel<T, F, full>, blocks, 1 << (l.log_c + l.log_x + l.log_y), 0, a.stream, l);
}

// Whether a tile worth the name fits into shared memory; it is launched then.
template <class T>
bool run_tile(const Upfirdn2dArgs& a) {
  using A = Accumulate<T>;
  const ResampleAxis &ay = a.axis_y, &ax = a.axis_x;
  TileLaunch l;
  l.a = a;
  l.channels = int(std::min<int64_t>(a.pixel, 32));
  l.out_x = int(std::min<int64_t>(ax.out, divide_up(64, l.channels)));
  l.out_y = int(std::min<int64_t>(ay.out, 32));
  const auto shared_bytes = [&] {
    l.rows = int(((l.out_y - 1) * ay.down + ay.taps - 1) / ay.up + 1);
    l.columns = int(((l.out_x - 1) * ax.down + ax.taps - 1) / ax.up + 1);
    return TileMemory<A>(l).end;
  };
  while (shared_bytes() > kSharedBytes) {
    int& longer = l.out_x > l.out_y ? l.out_x : l.out_y;
    int& cut = longer > 4 ? longer : l.channels;
    if (cut == 1 || (&cut == &longer && longer <= 4)) return false;
    cut = (cut + 1) / 2;
  }
  l.tiles_c = unsigned(divide_up(a.pixel, l.channels));
  l.tiles_x = unsigned(divide_up(ax.out, l.out_x));
  l.tiles_y = unsigned(divide_up(ay.out, l.out_y));
  const int64_t blocks = a.planes * l.tiles_y * l.tiles_x * l.tiles_c;
  const int64_t work = int64_t(l.rows) * l.columns * l.channels;
  launch("upfirdn2d", upfirdn2d_tile_kernel<T>, blocks, 32 << log_of(divide_up(work, 32), 3), size_t(shared_bytes()),
         a.stream, l);
  return true;
}

template <class T, class F, bool full>
void run_patches(const Upfirdn2dArgs& a) {
  a.pixel == 1 ? run_planar<T, F, full>(a) : run_packed<T, F, full>(a);
}

template <class T>
void run(const Upfirdn2dArgs& a) {
  const int64_t outputs = a.planes * a.axis_y.out * a.axis_x.out * a.pixel;
  if (outputs == 0) return;
  const bool packed = a.pixel * int64_t(sizeof(T)) % 16 == 0 && is_aligned(a.x) && is_aligned(a.y);
  if (fits_int(a)) {
    if ((a.pixel == 1 || packed) && with_fir(a, [&](auto fir) {
          using F = decltype(fir);
          a.separable ? run_patches<T, F, false>(a) : run_patches<T, F, true>(a);
        }))
      return;
    if (run_tile<T>(a)) return;
  }
  launch("upfirdn2d", upfirdn2d_direct_kernel<T>, divide_up(outputs, kThreads), kThreads, 0, a.stream, a);
}

template <class T, class F>
void list_fir(KernelList& list, const std::string& name) {
  const auto add = [&](const char* form, auto* kernel) {
    list.push_back({std::string("upfirdn2d ") + form + " " + name + " " + type_name<T>(),
                    reinterpret_cast<const void*>(kernel)});
  };
  add("planar separable", upfirdn2d_planar_kernel<T, F, false>);
  add("planar full", upfirdn2d_planar_kernel<T, F, true>);
  add("packed separable", upfirdn2d_packed_kernel<T, F, false>);
  add("packed full", upfirdn2d_packed_kernel<T, F, true>);
}

void list_kernels(KernelList& list) {
  for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    dispatch_dtype(dtype, [&](auto t) {
      using T = decltype(t);
      list_fir<T, Fir<2, 1, 4>>(list, "up 2");
      list_fir<T, Fir<1, 2, 4>>(list, "down 2");
      list_fir<T, Fir<1, 1, 4>>(list, "filter");
      list.push_back({std::string("upfirdn2d tile ") + type_name<T>(),
                      reinterpret_cast<const void*>(upfirdn2d_tile_kernel<T>)});
      list.push_back({std::string("upfirdn2d direct ") + type_name<T>(),
                      reinterpret_cast<const void*>(upfirdn2d_direct_kernel<T>)});
    });
}
[[maybe_unused]] const KernelSource source(list_kernels);

}  // namespace

void upfirdn2d(const Upfirdn2dArgs& a) {
  dispatch_dtype(a.dtype, [&](auto t) { run<decltype(t)>(a); });
}

}  // namespace cuda
}  // namespace fastgan

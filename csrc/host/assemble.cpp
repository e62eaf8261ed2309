#include "assemble.h"

#include <algorithm>
#include <thread>
#include <vector>

namespace fastgan::host {
namespace {

// A thread costs about as much to start as this many output elements cost to fill.
constexpr int64_t kElementsPerThread = 1 << 17;

inline float normalise(uint8_t value) { return static_cast<float>(value) / 127.5f - 1.0f; }

// One row of pixels, all channels side by side: source and destination share the layout unless mirrored.
void row_nhwc(const uint8_t* in, float* out, int64_t w, int64_t C, bool mirror) {
  if (!mirror) {
    for (int64_t i = 0; i < w * C; ++i) out[i] = normalise(in[i]);
    return;
  }
  for (int64_t x = 0; x < w; ++x)
    for (int64_t c = 0; c < C; ++c) out[x * C + c] = normalise(in[(w - 1 - x) * C + c]);
}

// One row of one channel: every C-th byte.
void row_nchw(const uint8_t* in, float* out, int64_t w, int64_t C, bool mirror) {
  if (mirror)
    for (int64_t x = 0; x < w; ++x) out[x] = normalise(in[(w - 1 - x) * C]);
  else
    for (int64_t x = 0; x < w; ++x) out[x] = normalise(in[x * C]);
}

}  // namespace

void assemble(const AssembleArgs& a, int64_t first, int64_t last) {
  for (int64_t n = first; n < last; ++n) {
    const int64_t x0 = a.crop_xy[2 * n], y0 = a.crop_xy[2 * n + 1];
    const uint8_t* window = a.images + ((a.indices[n] * a.H + y0) * a.W + x0) * a.C;
    float* image = a.out + n * a.C * a.h * a.w;
    const bool mirror = a.mirror[n] != 0;
    for (int64_t y = 0; y < a.h; ++y) {
      const uint8_t* row = window + y * a.W * a.C;
      if (a.channels_last) {
        row_nhwc(row, image + y * a.w * a.C, a.w, a.C, mirror);
      } else {
        for (int64_t c = 0; c < a.C; ++c) row_nchw(row + c, image + (c * a.h + y) * a.w, a.w, a.C, mirror);
      }
    }
  }
}

void assemble_threaded(const AssembleArgs& args, int threads) {
  const int64_t useful = args.N * args.C * args.h * args.w / kElementsPerThread;
  const int64_t count = std::clamp<int64_t>(std::min<int64_t>(threads, useful), 1, std::max<int64_t>(args.N, 1));
  std::vector<std::thread> pool;
  for (int64_t t = 1; t < count; ++t)
    pool.emplace_back(assemble, std::cref(args), args.N * t / count, args.N * (t + 1) / count);
  assemble(args, 0, args.N / count);
  for (std::thread& thread : pool) thread.join();
}

}  // namespace fastgan::host

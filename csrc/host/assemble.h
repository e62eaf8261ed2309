// Batch assembly: out[n, c, y, x] = images[indices[n], y0 + y, x0 + x', c] / 127.5 - 1, x' = w - 1 - x where mirrored.
#pragma once

#include <cstdint>

namespace fastgan::host {

struct AssembleArgs {
  const uint8_t* images;    // [M, H, W, C] contiguous
  int64_t H, W, C;
  const int64_t* indices;   // [N], 0 <= index < M
  const uint8_t* mirror;    // [N], 0 or 1
  const int64_t* crop_xy;   // [N, 2], left and top corner of the h x w window
  float* out;               // [N, C, h, w] in NCHW or NHWC memory
  int64_t N, h, w;
  bool channels_last;       // memory order of out
};

// Fills out[first .. last).
void assemble(const AssembleArgs& args, int64_t first, int64_t last);

// Fills all of out with up to `threads` threads, each an equal share of the batch.
void assemble_threaded(const AssembleArgs& args, int threads);

}  // namespace fastgan::host

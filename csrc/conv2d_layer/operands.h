// What a layer's call carries beside its convolution. Neither torch nor CUDA headers.
#pragma once
#include <cstdint>

namespace fastgan {

// Of y = residual + clamp(act(scale u + noise + b) gain), u the convolution. act is linear, relu or lrelu, told by its
// slope below 0. All but scale are of y's dtype, all images of a call in one memory order. finish.h is the formula.
struct LayerOperands {
  const void* scale = nullptr;     // [samples, channels], float32 for halves; null for 1
  const void* noise = nullptr;     // [samples or 1, pixels], or null
  const void* b = nullptr;         // [channels], or null
  const void* residual = nullptr;  // of the shape of y, or null
  uint8_t* mask = nullptr;         // as bias_act's, of scale u + noise + b; or null
  int64_t noise_step = 0;          // elements from one sample's noise to the next one's: pixels, or 0 if they share it
  double negative_slope = 1, gain = 1;
  double clamp = -1;  // negative: none
};

}  // namespace fastgan

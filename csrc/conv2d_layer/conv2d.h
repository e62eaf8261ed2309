// Convolutions on the GPU as products of matrices that are never written down (implicit GEMM), finished as a layer is: y =
// residual + clamp(act(scale (w * (in_scale x)) + noise + b) gain). Neither torch nor CUDA headers.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/gpu_stream.h"
#include "common/isa.h"
#include "conv2d_layer/operands.h"

namespace fastgan {

// Along an axis, output p is the sum over taps k of w[k] times input p * stride + k - pad0; if transposed, times input
// (p + pad0 - k) / stride where that is whole.
struct ConvAxis {
  int64_t in = 0, out = 0, taps = 1, pad0 = 0;
};

// Which tiles a convolution is made of, where that is not left to its shape: to prove each form with little work, and to
// time each. A form that the type or the GPU has none of is the shape's. conv2d_up has wide and small ones.
enum class ConvForm : uint8_t { by_shape, warpgroup, warpgroup64, wide, small, narrow };
struct ConvPlan {
  ConvForm form = ConvForm::by_shape;
  uint8_t stages = 0;   // chunks in shared memory, 3 or 4, of tiles that may have 3; 0: by the GPU. Not of conv2d_up
  uint16_t splits = 0;  // blocks that share the sum of a tile; 0: by shape. Not of conv2d_up
};

// Images are channels_last: [images, height, width, channels] in memory. in_scale is float32 for halves.
struct Conv2dArgs {
  const void* x = nullptr;         // [images, axis_y.in, axis_x.in, in_channels]
  const void* w = nullptr;         // [out_channels, in_channels, kh, kw], or with the channels last
  const void* in_scale = nullptr;  // [images, in_channels], or null for 1
  void* y = nullptr;               // [images, axis_y.out, axis_x.out, out_channels]
  LayerOperands operands;
  void* workspace = nullptr;       // the operator's ..._workspace() bytes, beginning at 16
  GpuStream stream;
  ConvPlan plan;
  int64_t images = 0, in_channels = 1, out_channels = 1;
  ConvAxis axis_y, axis_x;
  int64_t stride = 1;
  bool transposed = false, w_channels_last = false;
  DType dtype = DType::f32;
  bool tf32 = false;  // float32: on tensor cores, with 10 bits of mantissa
};

// The gradient of such a convolution for w. What is not there is not read: w, y and the operands.
struct ConvWeightGradientArgs {
  Conv2dArgs conv;
  const void* dy = nullptr;  // of the shape of y
  void* dw = nullptr;        // [out_channels, in_channels, kh, kw]
};

// A 3x3 convolution transposed with stride 2, then a FIR along both axes, finished as a layer: u[p] is the sum over k of
// g[k] conv(x)[p - pad0 + k], zeros outside, where g is the filter, or it reversed. Not of float64.
struct Conv2dUpArgs {
  Conv2dArgs conv;  // taps, stride, transposed as said; the axes' out and pad0 are of u
  const float* filter = nullptr;  // [4], in the GPU's memory
  bool flip = false;  // true: g is the filter
  float fir_gain = 1;
};

namespace cuda {

int64_t conv2d_workspace(const Conv2dArgs& a);
void conv2d(const Conv2dArgs& a);
int64_t conv2d_up_workspace(const Conv2dUpArgs& a);
void conv2d_up(const Conv2dUpArgs& a);

// Sums are made of slices of the pixels that the sizes alone decide, added in order.
int64_t conv2d_weight_gradient_workspace(const ConvWeightGradientArgs& a);
void conv2d_weight_gradient(const ConvWeightGradientArgs& a);

}  // namespace cuda
}  // namespace fastgan

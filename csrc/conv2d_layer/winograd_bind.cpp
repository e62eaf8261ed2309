// Winograd's convolutions as operators of torch, of the CPU alone. The schemas are defined in Python.
#include <initializer_list>
#include <string>
#include <tuple>

#include "conv2d_layer/torch_operands.h"
#include "conv2d_layer/winograd.h"

#if !FASTGAN_SHIM

namespace fastgan {
namespace {

void check_tensor(const Tensor& t, std::initializer_list<int64_t> sizes, const char* name) {
  bool fits = t.dim() == int64_t(sizes.size()) && t.scalar_type() == ScalarType::Float;
  fits = fits && t.is_contiguous() && t.is_cpu();
  int64_t d = 0;
  std::string shape;
  for (const int64_t size : sizes) {
    fits = fits && t.size(d++) == size;
    shape += (shape.empty() ? "" : ", ") + std::to_string(size);
  }
  STD_TORCH_CHECK(fits, "conv2d_winograd: ", name, " must be contiguous float32 of shape [", shape, "] on the CPU");
}

WinogradForm form_of(const Convolution& c, int64_t tile) {
  STD_TORCH_CHECK(c.stride == 1 || c.stride == 2, "conv2d_winograd: stride must be 1 or 2");
  if (c.stride == 1) {
    STD_TORCH_CHECK(tile == 2 || tile == 4, "conv2d_winograd: tile must be 2 or 4 at stride 1");
    return tile == 2 ? WinogradForm::same2 : WinogradForm::same4;
  }
  STD_TORCH_CHECK(tile == (c.transposed ? 3 : 4), "conv2d_winograd: tile must be 4 at stride 2, 3 if transposed");
  if (!c.transposed) return WinogradForm::down4;
  STD_TORCH_CHECK(c.padding.x0 % 2 == 0 && c.padding.y0 % 2 == 0,
                  "conv2d_winograd: an odd number of rows or columns cannot be cropped at stride 2");
  return WinogradForm::up3;
}

// Sets the length of the result along one axis and the padding before it.
void lay_out(const Convolution& c, int64_t size, int64_t before, int64_t after, int64_t& result, int64_t& pad) {
  if (c.transposed) {
    result = (size - 1) * c.stride + 3 - before - after;
    pad = c.stride == 1 ? 2 - before : 1 - before / 2;
  } else {
    const int64_t room = size + before + after - 3;
    result = room < 0 ? 0 : room / c.stride + 1;
    pad = before;
  }
}

// out: channels of the result.
WinogradArgs arguments_of(const Tensor& x, const Optional& in_scale, int64_t out, const Convolution& c,
                          int64_t tile) {
  STD_TORCH_CHECK(x.dim() == 4, "conv2d_winograd: x must have shape [N, C, H, W]");
  WinogradArgs a;
  a.form = form_of(c, tile);
  a.n = x.size(0), a.in = x.size(1), a.height = x.size(2), a.width = x.size(3);
  check_tensor(x, {a.n, a.in, a.height, a.width}, "x");
  a.out = out;
  a.turned = c.transposed;
  lay_out(c, a.height, c.padding.y0, c.padding.y1, a.out_height, a.pad_y);
  lay_out(c, a.width, c.padding.x0, c.padding.x1, a.out_width, a.pad_x);
  STD_TORCH_CHECK(a.out_height > 0 && a.out_width > 0, "conv2d_winograd: the output would be empty");
  a.x = static_cast<const float*>(x.const_data_ptr());
  a.in_scale = static_cast<const float*>(scale_data(in_scale, x, a.in, "conv2d_winograd", "in_scale"));
  return a;
}

std::tuple<Tensor, Tensor> convolve(Tensor x, Tensor w, bool exchanged, Optional in_scale, Convolution convolution,
                                    Operands operands, Optional residual, Activation act, bool keep_mask,
                                    int64_t tile) {
  STD_TORCH_CHECK(w.dim() == 4, "conv2d_winograd: w must have shape [O, I, 3, 3]");
  WinogradArgs a = arguments_of(x, in_scale, w.size(exchanged ? 1 : 0), convolution, tile);
  check_tensor(w, {exchanged ? a.in : a.out, exchanged ? a.out : a.in, 3, 3}, "w");
  const Images images{a.n, a.out, a.out_height, a.out_width, false};
  a.operands = operands_of(operands, act, x, images, "conv2d_winograd");
  if (residual) a.operands.residual = images_data(*residual, x, images, "conv2d_winograd", "residual");
  Tensor y = empty_images(x, a.n, a.out, a.out_height, a.out_width, false);
  Tensor mask = empty_mask(x, y.numel(), keep_mask);
  if (y.numel() == 0) return {y, mask};
  a.w = static_cast<const float*>(w.const_data_ptr());
  a.exchanged = exchanged;
  a.y = static_cast<float*>(y.mutable_data_ptr());
  if (keep_mask) a.operands.mask = static_cast<uint8_t*>(mask.mutable_data_ptr());
  winograd_kernels(best_isa()).forward(a);
  return {y, mask};
}

Tensor weight_gradient(Tensor x, Tensor dy, Optional in_scale, Convolution convolution, int64_t tile) {
  STD_TORCH_CHECK(dy.dim() == 4, "conv2d_winograd: dy must have shape [N, O, H, W]");
  WinogradArgs a = arguments_of(x, in_scale, dy.size(1), convolution, tile);
  check_tensor(dy, {a.n, a.out, a.out_height, a.out_width}, "dy");
  Tensor dw = empty_images(x, a.out, a.in, 3, 3, false);
  if (dw.numel() == 0) return dw;
  a.dy = static_cast<const float*>(dy.const_data_ptr());
  a.dw = static_cast<float*>(dw.mutable_data_ptr());
  winograd_kernels(best_isa()).weight_gradient(a);
  return dw;
}

}  // namespace
}  // namespace fastgan

STABLE_TORCH_LIBRARY_IMPL(fastgan, CPU, m) {
  m.impl("conv2d_winograd_native", FASTGAN_BOX(fastgan::convolve));
  m.impl("conv2d_winograd_weight_gradient_native", FASTGAN_BOX(fastgan::weight_gradient));
}
#endif

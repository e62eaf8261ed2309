// Convolutions of the GPU, run by the shim, against their definition in double.
#include <array>

#include "conv2d_layer/conv2d.h"
#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

struct Case {
  DType dtype;
  bool tf32;
  int64_t images, in, out, height, width, kh, kw, stride;
  bool transposed;
  std::array<int64_t, 4> padding;  // x0, x1, y0, y1
  bool scaled, epilogue, unaligned, w_channels_last;
  ConvPlan plan = {};
  std::string name() const {
    std::string all = std::string("cuda shim ") + (tf32 ? "tf32" : kDTypeNames[int(dtype)]);
    for (const int64_t v : {images, in, out, height, width, kh, kw, stride}) all += " " + std::to_string(v);
    return all + (transposed ? " transposed" : "") + (scaled ? " scaled" : "") + (epilogue ? " epilogue" : "") +
           (unaligned ? " unaligned" : "") + " form " + std::to_string(int(plan.form)) +
           " splits " + std::to_string(plan.splits);
  }
};

// Numbers are few bits, so that sums are exact in float32, whatever the order.
class Runner {
 public:
  Runner(const Case& c, Numbers& numbers) : c_(c), numbers_(numbers) {
    a_.dtype = c.dtype, a_.tf32 = c.tf32, a_.plan = c.plan;
    a_.images = c.images, a_.in_channels = c.in, a_.out_channels = c.out;
    a_.stride = c.stride, a_.transposed = c.transposed, a_.w_channels_last = c.w_channels_last;
    set_axis(a_.axis_x, c.width, c.kw, c.padding[0], c.padding[1]);
    set_axis(a_.axis_y, c.height, c.kh, c.padding[2], c.padding[3]);
    plane_ = a_.axis_y.out * a_.axis_x.out;
    numel_ = c.images * plane_ * c.out;
    x_ = numbers.eighths(c.images * c.height * c.width * c.in, 2);
    w_ = numbers.eighths(c.out * c.in * c.kh * c.kw, 1);
    in_scale_.assign(size_t(c.images * c.in), 1.0);
    if (c.scaled)
      for (double& v : in_scale_) v = double(1 + numbers.below(4)) / 2;
  }

  void run() {
    run_forward();
    weight_gradient();
  }
  void run_forward() { forward(false); }

  // The convolution, transposed with stride 2, then a FIR over its result with these zeros around it.
  void run_up(const std::array<int64_t, 4>& padding) {
    fir_padding_ = padding;
    forward(true);
  }

 private:
  // A tensor that begins at 16 bytes, or does not.
  struct Stored {
    DType dtype;
    size_t skip;
    Guarded bytes;
    Stored(const Case& c, DType d, const std::vector<double>& values)
        : dtype(d), skip(c.unaligned), bytes(d, padded(values, skip)) {}
    static std::vector<double> padded(std::vector<double> values, size_t skip) {
      values.insert(values.begin(), skip, 0.0);
      return values;
    }
    void* data() { return bytes.data() + skip * size_of(dtype); }
    double value(int64_t i) { return bytes.value(dtype, size_t(i) + skip); }
  };

  void set_axis(ConvAxis& axis, int64_t in, int64_t taps, int64_t pad0, int64_t pad1) const {
    axis = {in, 0, taps, pad0};
    axis.out = c_.transposed ? (in - 1) * c_.stride + taps - pad0 - pad1 : (in + pad0 + pad1 - taps) / c_.stride + 1;
  }

  // The input that output p meets at tap k, or -1.
  static int64_t input_of(const ConvAxis& axis, const Conv2dArgs& a, int64_t p, int64_t k) {
    const int64_t at = a.transposed ? p + axis.pad0 - k : p * a.stride - axis.pad0 + k;
    if (a.transposed && at % a.stride != 0) return -1;
    const int64_t in = a.transposed ? at / a.stride : at;
    return in >= 0 && in < axis.in ? in : -1;
  }

  // Calls f with the places in y (channels left out), x (likewise) and w (its taps) of every product of the convolution.
  template <class F>
  void each_tap(const F& f) const {
    const ConvAxis &ay = a_.axis_y, &ax = a_.axis_x;
    for (int64_t n = 0; n < c_.images; ++n)
      for (int64_t py = 0; py < ay.out; ++py)
        for (int64_t px = 0; px < ax.out; ++px)
          for (int64_t ky = 0; ky < ay.taps; ++ky)
            for (int64_t kx = 0; kx < ax.taps; ++kx) {
              const int64_t y = input_of(ay, a_, py, ky), x = input_of(ax, a_, px, kx);
              if (y >= 0 && x >= 0)
                f(n, n * plane_ + py * ax.out + px, (n * ay.in + y) * ax.in + x, ky * ax.taps + kx);
            }
  }
  double x_at(int64_t n, int64_t pixel, int64_t channel) const {
    return x_[size_t(pixel * c_.in + channel)] * in_scale_[size_t(n * c_.in + channel)];
  }
  size_t w_at(int64_t out, int64_t in, int64_t tap) const {
    const int64_t taps = c_.kh * c_.kw;
    return size_t(c_.w_channels_last ? (out * taps + tap) * c_.in + in : (out * c_.in + in) * taps + tap);
  }
  // Values of which rounding to tf32 makes these again, and cutting off the last bits others.
  std::vector<double> unrounded(std::vector<double> values) const {
    for (double& v : values)
      if (c_.tf32) v -= std::ldexp(v, -12);
    return values;
  }
  DType wide() const { return c_.dtype == DType::f64 ? DType::f64 : DType::f32; }
  std::vector<double> if_epilogue(std::vector<double> values, double otherwise) const {
    return c_.epilogue ? values : std::vector<double>(values.size(), otherwise);
  }

  static constexpr double kFilter[] = {0.25, 0.5, 1, 0.125};  // turned round, as a convolution does

  // v after the FIR, of the sizes that a and this object take from then on.
  std::vector<double> filtered(const std::vector<double>& v, Conv2dArgs& a) {
    const int64_t height = a.axis_y.out, width = a.axis_x.out;
    a.axis_y.out += fir_padding_[2] + fir_padding_[3] - 3, a.axis_y.pad0 = fir_padding_[2];
    a.axis_x.out += fir_padding_[0] + fir_padding_[1] - 3, a.axis_x.pad0 = fir_padding_[0];
    plane_ = a.axis_y.out * a.axis_x.out;
    numel_ = c_.images * plane_ * c_.out;
    std::vector<double> u(size_t(numel_), 0.0);
    for (int64_t i = 0; i < numel_; ++i) {
      const int64_t pixel = i / c_.out, n = pixel / plane_;
      const int64_t row = pixel % plane_ / a.axis_x.out, column = pixel % a.axis_x.out;
      for (int64_t k = 0; k < 16; ++k) {
        const int64_t y = row + k / 4 - a.axis_y.pad0, x = column + k % 4 - a.axis_x.pad0;
        if (y >= 0 && y < height && x >= 0 && x < width)
          u[size_t(i)] += 2 * kFilter[3 - k / 4] * kFilter[3 - k % 4] *
                          v[size_t(((n * height + y) * width + x) * c_.out + i % c_.out)];
      }
    }
    return u;
  }

  void forward(bool up) {
    std::vector<double> v(size_t(numel_), 0.0);
    each_tap([&](int64_t n, int64_t to, int64_t from, int64_t tap) {
      for (int64_t o = 0; o < c_.out; ++o)
        for (int64_t i = 0; i < c_.in; ++i) v[size_t(to * c_.out + o)] += w_[w_at(o, i, tap)] * x_at(n, from, i);
    });
    Conv2dArgs a = a_;
    if (up) v = filtered(v, a);
    std::vector<double> scales(size_t(c_.images * c_.out));
    for (double& s : scales) s = std::ldexp(1, int(numbers_.below(3)) - 1);
    scales = if_epilogue(scales, 1);
    const auto noises = if_epilogue(numbers_.eighths(c_.images * plane_, 1), 0);
    const auto biases = if_epilogue(numbers_.eighths(c_.out, 1), 0);
    const auto residuals = if_epilogue(numbers_.eighths(numel_, 2), 0);

    Stored x(c_, c_.dtype, unrounded(x_)), w(c_, c_.dtype, unrounded(w_));
    Stored in_scale(c_, wide(), in_scale_), scale(c_, wide(), scales);
    Stored noise(c_, c_.dtype, noises), b(c_, c_.dtype, biases), residual(c_, c_.dtype, residuals);
    Guarded y_bytes((size_t(numel_) + c_.unaligned) * size_of(c_.dtype)), mask(size_t(mask_bytes(numel_)));
    a.x = x.data(), a.w = w.data();
    a.in_scale = c_.scaled ? in_scale.data() : nullptr;
    a.y = y_bytes.data() + c_.unaligned * size_of(c_.dtype);
    LayerOperands& operands = a.operands;
    operands.gain = 1.5, operands.clamp = 2, operands.negative_slope = 0.25;
    operands.noise_step = c_.images > 1 ? plane_ : 0;
    if (c_.epilogue) {
      operands.scale = scale.data(), operands.noise = noise.data(), operands.b = b.data();
      operands.residual = residual.data(), operands.mask = mask.data();
    }
    Guarded workspace(size_t(up ? cuda::conv2d_up_workspace({a}) : cuda::conv2d_workspace(a)));
    a.workspace = workspace.data();
    Guarded filter(DType::f32, std::vector<double>(kFilter, kFilter + 4));
    up ? cuda::conv2d_up({a, reinterpret_cast<const float*>(filter.data()), false, 2}) : cuda::conv2d(a);
    for (int64_t i = 0; i < numel_; ++i) {
      const int64_t pixel = i / c_.out, o = i % c_.out, n = pixel / plane_;
      const double u = v[size_t(i)] * scales[size_t(n * c_.out + o)] + noises[size_t(pixel)] + biases[size_t(o)];
      const double act = u * (u > 0 ? 1 : 0.25) * 1.5, want = std::clamp(act, -2.0, 2.0) + residuals[size_t(i)];
      const double got = y_bytes.value(c_.dtype, size_t(i) + c_.unaligned);
      if (got != rounded(c_.dtype, want))
        fail(c_.name() + ": y is " + std::to_string(got) + ", not " + std::to_string(want));
      const int code = (u > 0) + 2 * (std::fabs(act) > 2);
      if (c_.epilogue && (mask.data()[i / 4] >> (2 * (i % 4)) & 3) != code) fail(c_.name() + ": mask is wrong");
    }
    check(y_bytes.intact() && mask.intact() && workspace.intact(), c_.name() + ": bytes around an output");
    check(filter.intact(), c_.name() + ": bytes around the filter");
    for (Stored* in : {&x, &w, &in_scale, &scale, &noise, &b, &residual})
      check(in->bytes.intact(), c_.name() + ": bytes around an input");
  }

  void weight_gradient() {
    const std::vector<double> dys = numbers_.eighths(numel_, 1);
    const int64_t taps = c_.kh * c_.kw, count = c_.out * c_.in * taps;
    std::vector<double> want(size_t(count), 0.0);
    each_tap([&](int64_t n, int64_t to, int64_t from, int64_t tap) {
      for (int64_t o = 0; o < c_.out; ++o)
        for (int64_t i = 0; i < c_.in; ++i)
          want[size_t((o * c_.in + i) * taps + tap)] += dys[size_t(to * c_.out + o)] * x_at(n, from, i);
    });
    Stored x(c_, c_.dtype, unrounded(x_)), in_scale(c_, wide(), in_scale_), dy(c_, c_.dtype, unrounded(dys));
    std::vector<unsigned char> first;
    for (const int threads : {1, 3}) {
#if defined(_OPENMP)
      omp_set_num_threads(threads);
#endif
      Guarded dw(size_t(count) * size_of(c_.dtype));
      ConvWeightGradientArgs a;
      a.conv = a_;
      a.conv.x = x.data(), a.dy = dy.data(), a.dw = dw.data();
      a.conv.in_scale = c_.scaled ? in_scale.data() : nullptr;
      Guarded workspace(size_t(cuda::conv2d_weight_gradient_workspace(a)));
      a.conv.workspace = workspace.data();
      cuda::conv2d_weight_gradient(a);
      for (int64_t i = 0; i < count; ++i) {
        const double got = dw.value(c_.dtype, size_t(i));
        if (got != rounded(c_.dtype, want[size_t(i)]))
          fail(c_.name() + ": dw is " + std::to_string(got) + ", not " + std::to_string(want[size_t(i)]));
      }
      check(dw.intact() && workspace.intact(), c_.name() + ": bytes around dw or the workspace");
      std::vector<unsigned char> bytes(dw.data(), dw.data() + size_t(count) * size_of(c_.dtype));
      check(first.empty() || first == bytes, c_.name() + ": dw depends on the number of threads");
      first = bytes;
    }
    for (Stored* in : {&x, &in_scale, &dy}) check(in->bytes.intact(), c_.name() + ": bytes around an input");
  }

  const Case c_;
  Numbers& numbers_;
  Conv2dArgs a_;
  int64_t plane_ = 0, numel_ = 0;
  std::vector<double> x_, w_, in_scale_;
  std::array<int64_t, 4> fir_padding_{};
};

// (2^30 - 2^30) + 1, each number of another split: in another order it is 0.
void check_order_of_splits() {
  std::vector<double> values(48, 0.0), ones(48, 1.0);
  values[0] = 1 << 30, values[16] = -(1 << 30), values[32] = 1;
  Guarded x(DType::f32, values), w(DType::f32, ones), y(DType::f32, {0});
  Conv2dArgs a;
  a.x = x.data(), a.w = w.data(), a.y = y.data();
  a.images = 1, a.in_channels = 48;
  a.axis_x = a.axis_y = {1, 1, 1, 0};
  a.plan.splits = 3;
  Guarded workspace(size_t(cuda::conv2d_workspace(a)));
  a.workspace = workspace.data();
  cuda::conv2d(a);
  check(y.value(DType::f32, 0) == 1, "cuda shim: splits are not added in order");
}

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  struct Shape {
    int64_t images, in, out, height, width, kh, kw, stride;
    bool transposed;
    std::array<int64_t, 4> padding;
  };
  const Shape shapes[] = {
      {1, 1, 1, 1, 1, 1, 1, 1, false, {0, 0, 0, 0}},   {2, 8, 3, 5, 4, 1, 1, 1, false, {0, 0, 0, 0}},
      {2, 24, 20, 5, 3, 3, 3, 1, false, {1, 1, 1, 1}}, {3, 3, 8, 4, 5, 2, 3, 1, false, {2, 0, -1, 3}},
      {1, 16, 66, 9, 8, 3, 2, 1, false, {0, 1, 1, 0}}, {1, 5, 4, 9, 7, 3, 3, 2, false, {1, 1, 1, 1}},
      {2, 8, 18, 3, 2, 3, 3, 2, true, {0, 0, 0, 0}},   {1, 3, 5, 3, 4, 2, 1, 3, true, {-1, 0, 1, -2}},
      {1, 8, 40, 17, 12, 1, 1, 1, false, {0, 0, 0, 0}}, {1, 24, 132, 17, 16, 3, 3, 1, false, {1, 1, 1, 1}},
  };
  Numbers numbers;
  int count = 0;
  for (const DType dtype : kDTypes)
    for (const bool tf32 : {false, true})
      for (const Shape& s : shapes)
        for (const bool scaled : {false, true}) {
          if (tf32 && dtype != DType::f32) continue;
          reorder_threads(count);
          const bool epilogue = ++count % 2, unaligned = count % 5 == 0, w_channels_last = count % 3 == 0;
          Case c{dtype,    tf32,     s.images,     s.in,      s.out,  s.height, s.width,   s.kh,
                 s.kw,     s.stride, s.transposed, s.padding, scaled, epilogue, unaligned, w_channels_last};
          Runner(c, numbers).run();
          c.plan.splits = uint16_t(2 + count % 3);
          Runner(c, numbers).run_forward();
          c.plan.stages = 3;
          if (s.out > 64) Runner(c, numbers).run();
          if (s.out < 64) continue;
          for (const ConvForm form : {ConvForm::wide, ConvForm::warpgroup, ConvForm::warpgroup64, ConvForm::narrow}) {
            c.plan.form = form, c.plan.stages = count % 2 ? 3 : 0;
            if (form == ConvForm::warpgroup || form == ConvForm::warpgroup64) setenv("FASTGAN_SHIM_WARPGROUPS", "1", 1);
            Runner(c, numbers).run_forward();
            unsetenv("FASTGAN_SHIM_WARPGROUPS");
          }
        }
  const Shape ups[] = {
      {1, 1, 1, 1, 1, 3, 3, 2, true, {1, 1, 1, 1}},    {2, 8, 24, 3, 4, 3, 3, 2, true, {1, 1, 1, 1}},
      {2, 24, 20, 4, 3, 3, 3, 2, true, {2, 0, -1, 3}}, {1, 5, 7, 6, 5, 3, 3, 2, true, {-2, 1, 0, -1}},
      {1, 16, 33, 11, 13, 3, 3, 2, true, {1, 1, 1, 1}},
  };
  for (const DType dtype : kDTypes)
    for (const bool tf32 : {false, true})
      for (const Shape& s : ups)
        for (const bool scaled : {false, true}) {
          if ((tf32 && dtype != DType::f32) || dtype == DType::f64) continue;
          reorder_threads(count);
          const bool epilogue = ++count % 3, unaligned = count % 5 == 0, w_channels_last = count % 4 == 0;
          Case c{dtype, tf32, s.images, s.in, s.out, s.height, s.width, 3, 3, 2, true, {0, 0, 0, 0},
                 scaled, epilogue, unaligned, w_channels_last};
          Runner(c, numbers).run_up(s.padding);
          c.plan.form = ConvForm::wide;
          if (s.out > 16) Runner(c, numbers).run_up(s.padding);
        }
  check_order_of_splits();
  std::printf("conv2d: %d cases\n", count);
}

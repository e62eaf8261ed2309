// Winograd's convolutions of every instruction set against the definition: results, masks, weight gradients.
#include "conv2d_layer/winograd.h"

#include "guarded.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace {

struct Case {
  Backend backend;
  WinogradForm form;
  int64_t n, in, out, height, width, pad_y, pad_x, out_height, out_width;
  bool exchanged, turned;
  std::string name() const {
    std::string text = backend.name + " form " + std::to_string(int(form)) + (exchanged ? " exchanged" : "") +
                       (turned ? " turned" : "");
    for (const int64_t number : {n, in, out, height, width, pad_y, pad_x, out_height, out_width})
      text += " " + std::to_string(number);
    return text;
  }
};

// A tensor that the kernels read: its numbers, and as many bytes as they take; or none.
struct Read {
  std::vector<double> values;
  Guarded bytes;
  bool given;
  Read(Numbers& numbers, int64_t count, bool is_given)
      : values(numbers.eighths(is_given ? count : 0, 2)), bytes(DType::f32, values), given(is_given) {}
  const float* data() { return given ? reinterpret_cast<const float*>(bytes.data()) : nullptr; }
  double at(int64_t i, double otherwise) const { return given ? values[size_t(i)] : otherwise; }
};

class Test {
 public:
  Test(const Case& test, Numbers& numbers)
      : c(test), pixels(c.out_height * c.out_width), shared_noise(numbers.below(2) == 0),
        x(numbers, c.n * c.in * c.height * c.width, true), w(numbers, c.out * c.in * 9, true),
        in_scale(numbers, c.n * c.in, numbers.below(2)), scale(numbers, c.n * c.out, numbers.below(2)),
        noise(numbers, (shared_noise ? 1 : c.n) * pixels, numbers.below(2)), b(numbers, c.out, numbers.below(2)),
        residual(numbers, c.n * c.out * pixels, numbers.below(2)), dy(numbers, c.n * c.out * pixels, true) {
    a.x = x.data(), a.w = w.data(), a.in_scale = in_scale.data(), a.dy = dy.data();
    LayerOperands& o = a.operands;
    o.scale = scale.data(), o.noise = noise.data(), o.b = b.data(), o.residual = residual.data();
    o.noise_step = shared_noise ? 0 : pixels;
    a.n = c.n, a.in = c.in, a.out = c.out, a.height = c.height, a.width = c.width;
    a.out_height = c.out_height, a.out_width = c.out_width, a.pad_y = c.pad_y, a.pad_x = c.pad_x;
    a.form = c.form;
    a.exchanged = c.exchanged, a.turned = c.turned;
    const double slopes[] = {1, 0, 0.25};
    o.negative_slope = slopes[numbers.below(3)];
    o.gain = numbers.below(2) ? 1.5 : 1;
    o.clamp = numbers.below(2) ? 8 : -1;
    keep_mask = numbers.below(3) > 0;
  }

  void forward() {
    const int64_t count = c.n * c.out * pixels;
    Guarded y(size_t(count) * 4), mask(keep_mask ? size_t(mask_bytes(count)) : 0);
    a.y = reinterpret_cast<float*>(y.data());
    const LayerOperands& o = a.operands;
    a.operands.mask = keep_mask ? mask.data() : nullptr;
    winograd_kernels(c.backend.isa).forward(a);
    std::vector<double> us(static_cast<size_t>(count));
    double room = 0;  // a share of the largest sum of magnitudes: tiles mix large and small neighbours
    for (int64_t i = 0; i < count; ++i) {
      const int64_t plane = i / pixels, pixel = i % pixels;
      double size = 1;
      us[size_t(i)] = convolved(plane / c.out, plane % c.out, pixel / c.out_width, pixel % c.out_width, size);
      room = std::max(room, 1e-5 * size);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t plane = i / pixels, channel = plane % c.out, pixel = i % pixels;
      const double added = noise.at((shared_noise ? 0 : plane / c.out * pixels) + pixel, 0) + b.at(channel, 0);
      const double v = scale.at(plane, 1) * us[size_t(i)] + added;
      const double value = o.gain * (v > 0 ? v : v * o.negative_slope);
      const bool over = o.clamp >= 0 && std::fabs(value) > o.clamp;
      const double want = (over ? std::copysign(o.clamp, value) : value) + residual.at(i, 0);
      close(y.value(DType::f32, size_t(i)), want, room, "y", i);
      if (!keep_mask) continue;
      const int bits = mask.data()[i / 4] >> (i % 4 * 2);
      if (std::fabs(v) > room) check((bits & 1) == (v > 0), c.name() + ": sign of " + std::to_string(i));
      if (std::fabs(std::fabs(value) - o.clamp) > room)
        check((bits >> 1 & 1) == over, c.name() + ": clamped of " + std::to_string(i));
    }
    check(y.intact() && mask.intact(), c.name() + ": bytes around y or its mask");
  }

  void weight_gradient() {
    Guarded dw(size_t(c.out * c.in * 9) * 4);
    a.dw = reinterpret_cast<float*>(dw.data());
    winograd_kernels(c.backend.isa).weight_gradient(a);
    std::vector<double> wants;
    double room = 0;
    for (int64_t i = 0; i < c.out * c.in * 9; ++i) {
      const int64_t o = i / 9 / c.in, channel = i / 9 % c.in, ky = i % 9 / 3, kx = i % 3;
      double want = 0, size = 1;
      for (int64_t image = 0; image < c.n; ++image)
        for (int64_t pixel = 0; pixel < pixels; ++pixel) {
          const int64_t row = pixel / c.out_width * stride() + (c.turned ? 2 - ky : ky);
          const int64_t column = pixel % c.out_width * stride() + (c.turned ? 2 - kx : kx);
          const double term =
              dy.at((image * c.out + o) * pixels + pixel, 0) * input(image, channel, row, column);
          want += term;
          size += std::fabs(term);
        }
      wants.push_back(want);
      room = std::max(room, 1e-5 * size);
    }
    for (int64_t i = 0; i < c.out * c.in * 9; ++i)
      close(dw.value(DType::f32, size_t(i)), wants[size_t(i)], room, "dw", i);
    check(dw.intact(), c.name() + ": bytes around dw");
  }

 private:
  int64_t stride() const { return c.form == WinogradForm::down4 ? 2 : 1; }

  // Of the padded input, with zeros after each row and column if the form says so.
  double input(int64_t image, int64_t channel, int64_t row, int64_t column) const {
    if (c.form == WinogradForm::up3) {
      if (row % 2 || column % 2) return 0;
      row /= 2, column /= 2;
    }
    row -= c.pad_y, column -= c.pad_x;
    if (row < 0 || row >= c.height || column < 0 || column >= c.width) return 0;
    const int64_t plane = image * c.in + channel;
    return in_scale.at(plane, 1) * x.at((plane * c.height + row) * c.width + column, 0);
  }

  double convolved(int64_t image, int64_t o, int64_t row, int64_t column, double& size) const {
    double sum = 0;
    for (int64_t i = 0; i < c.in; ++i)
      for (int64_t k = 0; k < 9; ++k) {
        const int64_t kernel = c.exchanged ? i * c.out + o : o * c.in + i;
        const double tap = w.at(kernel * 9 + (c.turned ? 8 - k : k), 0);
        const double term = tap * input(image, i, row * stride() + k / 3, column * stride() + k % 3);
        sum += term;
        size += std::fabs(term);
      }
    return sum;
  }

  void close(double got, double want, double room, const char* what, int64_t i) const {
    if (std::fabs(got - want) <= room) return;
    fail(c.name() + ": " + what + " " + std::to_string(i) + " is " + std::to_string(got) + ", not " +
         std::to_string(want));
  }

  const Case c;
  const int64_t pixels;
  const bool shared_noise;
  Read x, w, in_scale, scale, noise, b, residual, dy;
  WinogradArgs a;
  bool keep_mask;
};

// Length of what a form makes of a padded axis.
int64_t results(WinogradForm form, int64_t padded) {
  if (form == WinogradForm::up3) return 2 * padded - 2;
  return form == WinogradForm::down4 ? (padded - 1) / 2 : padded - 2;
}

}  // namespace
}  // namespace fastgan

int main() {
  using namespace fastgan;
  const int64_t channels[] = {1, 2, 3, 8, 17, 24}, sides[] = {1, 2, 3, 4, 5, 8, 9, 16, 21};
  Numbers numbers;
  int count = 0;
  for (const Backend& backend : backends())
    for (int i = 0; i < 240; ++i, ++count) {
      Case c{};
      c.backend = backend;
      c.form = WinogradForm(i % 4);
      c.n = numbers.below(4);
      c.in = channels[numbers.below(6)];
      c.out = channels[numbers.below(6)];
      c.exchanged = numbers.below(2);
      c.turned = numbers.below(2);
      do {
        c.height = sides[numbers.below(9)];
        c.width = i % 24 ? sides[numbers.below(9)] : 50 + numbers.below(90);
        c.pad_y = numbers.below(5) - 1;
        c.pad_x = numbers.below(5) - 1;
        c.out_height = results(c.form, c.height + c.pad_y + numbers.below(5) - 1);
        c.out_width = results(c.form, c.width + c.pad_x + numbers.below(5) - 1);
      } while (c.out_height < 1 || c.out_width < 1);
#if defined(_OPENMP)
      omp_set_num_threads(1 + i % 3);
#endif
      Test test(c, numbers);
      test.forward();
      test.weight_gradient();
    }
  std::printf("winograd: %d cases\n", count);
}

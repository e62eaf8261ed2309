// Python module fastgan._host: threaded batch assembly from uint8 images, settings of the C allocator, CUDA devices.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "assemble.h"
#include "devices.h"

namespace py = pybind11;

namespace {

using fastgan::host::AssembleArgs;

std::string shape_of(const py::array& array) {
  std::string text = py::str(array.dtype()).cast<std::string>() + " [";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
  return text + "]";
}

// The array must have this element type and number of dimensions, and contiguous memory where asked.
void check_array(const py::array& array, const char* name, const py::dtype& type, int ndim, bool contiguous,
                 const char* expected) {
  const bool dense = !contiguous || (array.flags() & py::array::c_style);
  if (!array.dtype().is(type) && !array.dtype().equal(type))
    throw py::type_error(std::string(name) + " must be " + expected + ", got " + shape_of(array));
  if (array.ndim() != ndim || !dense)
    throw py::value_error(std::string(name) + " must be " + expected + ", got " + shape_of(array) +
                          (dense ? "" : " with gaps between elements"));
}

// Whether memory runs through the dimensions in `order` (outermost first) without gaps; dimensions of size 1 are free.
bool memory_order(const py::array& array, const int (&order)[4]) {
  py::ssize_t stride = array.itemsize();
  for (int i = 3; i >= 0; --i) {
    const int d = order[i];
    if (array.shape(d) != 1 && array.strides(d) != stride) return false;
    stride *= array.shape(d);
  }
  return true;
}

void check_window(const int64_t* crop_xy, int64_t n, int64_t W, int64_t H, int64_t w, int64_t h) {
  const int64_t x = crop_xy[2 * n], y = crop_xy[2 * n + 1];
  if (x < 0 || y < 0 || x > W - w || y > H - h)
    throw py::value_error("crop_xy must lie in (0, 0)..(" + std::to_string(W - w) + ", " + std::to_string(H - h) +
                          ") (x, y), got (" + std::to_string(x) + ", " + std::to_string(y) + ") at " +
                          std::to_string(n));
}

void assemble_batch(const py::array& images, const py::array& indices, const py::array& mirror,
                    const py::array& crop_xy, py::array out, int threads) {
  check_array(images, "images", py::dtype::of<uint8_t>(), 4, true, "uint8 [M, H, W, C], contiguous");
  check_array(indices, "indices", py::dtype::of<int64_t>(), 1, true, "int64 [N], contiguous");
  const bool as_bool = mirror.dtype().equal(py::dtype::of<bool>());
  check_array(mirror, "mirror", as_bool ? py::dtype::of<bool>() : py::dtype::of<uint8_t>(), 1, true,
              "bool or uint8 [N], contiguous");
  check_array(crop_xy, "crop_xy", py::dtype::of<int64_t>(), 2, true, "int64 [N, 2], contiguous");
  check_array(out, "out", py::dtype::of<float>(), 4, false, "float32 [N, C, h, w]");

  const int64_t N = indices.shape(0), M = images.shape(0);
  const int64_t H = images.shape(1), W = images.shape(2), C = images.shape(3), h = out.shape(2), w = out.shape(3);
  const std::string n_is = " with N=" + std::to_string(N) + " like indices, got ";
  if (mirror.shape(0) != N) throw py::value_error("mirror must be [N]" + n_is + shape_of(mirror));
  if (crop_xy.shape(0) != N || crop_xy.shape(1) != 2)
    throw py::value_error("crop_xy must be [N, 2]" + n_is + shape_of(crop_xy));
  if (out.shape(0) != N || out.shape(1) != C || h > H || w > W)
    throw py::value_error("out must be [N, C, h, w] with N=" + std::to_string(N) + ", C=" + std::to_string(C) +
                          ", h<=" + std::to_string(H) + ", w<=" + std::to_string(W) + ", got " + shape_of(out));
  if (!out.writeable()) throw py::value_error("out must be writeable");
  if (threads < 1) throw py::value_error("threads must be at least 1, got " + std::to_string(threads));
  if (out.size() == 0) return;
  const bool contiguous = memory_order(out, {0, 1, 2, 3});
  if (!contiguous && !memory_order(out, {0, 2, 3, 1}))
    throw py::value_error("out must be dense in NCHW or NHWC memory order, got " + shape_of(out) +
                          " with other strides");

  AssembleArgs args{};
  args.images = static_cast<const uint8_t*>(images.data());
  args.H = H, args.W = W, args.C = C;
  args.indices = static_cast<const int64_t*>(indices.data());
  args.mirror = static_cast<const uint8_t*>(mirror.data());
  args.crop_xy = static_cast<const int64_t*>(crop_xy.data());
  args.out = static_cast<float*>(out.mutable_data());
  args.N = N, args.h = h, args.w = w;
  args.channels_last = !contiguous;
  for (int64_t n = 0; n < N; ++n) {
    if (args.indices[n] < 0 || args.indices[n] >= M)
      throw py::index_error("indices must lie in 0.." + std::to_string(M - 1) + ", got " +
                            std::to_string(args.indices[n]) + " at " + std::to_string(n));
    check_window(args.crop_xy, n, W, H, w, h);
  }
  py::gil_scoped_release release;
  fastgan::host::assemble_threaded(args, threads);
}

bool set_allocator(int64_t mmap_threshold, int64_t trim_threshold) {
  const int64_t limit = std::numeric_limits<int>::max();
  if (mmap_threshold < 0 || mmap_threshold > limit || trim_threshold < 0 || trim_threshold > limit)
    throw py::value_error("thresholds must lie in 0.." + std::to_string(limit) + " bytes, got " +
                          std::to_string(mmap_threshold) + " and " + std::to_string(trim_threshold));
#ifdef __GLIBC__
  const bool mmap_set = mallopt(M_MMAP_THRESHOLD, static_cast<int>(mmap_threshold)) == 1;
  return mallopt(M_TRIM_THRESHOLD, static_cast<int>(trim_threshold)) == 1 && mmap_set;
#else
  return false;
#endif
}

py::list cuda_devices() {
  py::list devices;
  for (const auto& device : fastgan::host::cuda_devices()) {
    py::dict told;
    told["name"] = device.name;
    told["capability"] = py::make_tuple(device.major, device.minor);
    told["multiprocessors"] = device.multiprocessors;
    told["clock_khz"] = device.clock_khz;
    told["memory_clock_khz"] = device.memory_clock_khz;
    told["memory_bus_bits"] = device.bus_bits;
    told["memory_bytes_per_second"] = fastgan::host::memory_bytes_per_second(device);
    told["memory_bytes"] = device.memory_bytes;
    told["l2_bytes"] = device.l2_bytes;
    told["shared_bytes_per_block"] = device.shared_per_block;
    told["shared_bytes_per_block_optin"] = device.shared_per_block_optin;
    told["shared_bytes_per_multiprocessor"] = device.shared_per_multiprocessor;
    told["registers_per_block"] = device.registers_per_block;
    told["registers_per_multiprocessor"] = device.registers_per_multiprocessor;
    told["threads_per_block"] = device.threads_per_block;
    told["threads_per_multiprocessor"] = device.threads_per_multiprocessor;
    told["driver"] = device.driver;
    told["runtime"] = device.runtime;
    devices.append(told);
  }
  return devices;
}

}  // namespace

PYBIND11_MODULE(_host, m) {
  m.doc() =
      "Host-side work of fastgan: threaded batch assembly from uint8 images, settings of the C allocator, CUDA devices.";
  m.def("assemble_batch", &assemble_batch, py::arg("images"), py::arg("indices"), py::arg("mirror"),
        py::arg("crop_xy"), py::arg("out"), py::arg("threads") = 1,
        R"(out[n, c, y, x] = images[indices[n], y0 + y, x0 + x', c] / 127.5 - 1, with x' = w - 1 - x where mirrored.

Args:
    images: uint8 [M, H, W, C], contiguous.
    indices: int64 [N], each in 0..M-1.
    mirror: bool or uint8 [N], nonzero mirrors left and right (after the crop).
    crop_xy: int64 [N, 2], (x0, y0): left and top corner of the window, in pixels.
    out: float32 [N, C, h, w], written; dense in NCHW or NHWC memory order, h <= H, w <= W.
    threads: at most this many; small batches use fewer.
Raises:
    TypeError, ValueError, IndexError: naming the argument, what was expected and what came.

The interpreter lock is released meanwhile.)");
  m.def("set_allocator", &set_allocator, py::arg("mmap_threshold"), py::arg("trim_threshold"),
        R"(Keep freed memory for reuse: blocks below mmap_threshold come from the heap, which shrinks by trim_threshold.

Args:
    mmap_threshold: bytes; glibc's M_MMAP_THRESHOLD.
    trim_threshold: bytes; glibc's M_TRIM_THRESHOLD.
Returns:
    True if both were set; False where the C library is not glibc, or refuses.
Raises:
    ValueError: a threshold outside the range of a C int.)");
  m.def("cuda_devices", &cuda_devices,
        R"(The CUDA devices of this machine, as its driver tells of them; torch is not asked.

Returns:
    a list of dicts, one a device: name; capability (major, minor); multiprocessors; clock_khz and memory_clock_khz, at
    most; memory_bus_bits; memory_bytes_per_second, which these imply at two transfers a clock; memory_bytes; l2_bytes;
    shared_bytes_per_block, with opt-in and per multiprocessor; registers_per_block and per multiprocessor;
    threads_per_block and per multiprocessor; driver and runtime, versions as 1000 major + 10 minor.
Raises:
    RuntimeError: why there are none: no driver, no device, a device that does not answer, or a build without the CUDA
        toolkit.)");
}

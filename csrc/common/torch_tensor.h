// Reading tensors through torch's stable ABI. Python has validated the arguments; these checks guard direct calls.
#pragma once
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <string>

#include "common/dtype.h"
#include "common/mask_size.h"

namespace fastgan {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline DType dtype_of(const Tensor& t, const char* op) {
  switch (t.scalar_type()) {
    case ScalarType::Float: return DType::f32;
    case ScalarType::Double: return DType::f64;
    case ScalarType::Half: return DType::f16;
    case ScalarType::BFloat16: return DType::bf16;
    default: break;
  }
  STD_TORCH_CHECK(false, op, ": dtype must be float32, float64, float16 or bfloat16");
  return DType::f32;
}

// The stable Tensor only knows the contiguous format: [N, C, H, W] stored as [N, H, W, C] is read from the strides.
inline bool is_channels_last(const Tensor& t) {
  if (t.dim() != 4) return false;
  int64_t expected = 1;
  for (const int d : {1, 3, 2, 0}) {
    if (t.size(d) != 1 && t.stride(d) != expected) return false;
    expected *= t.size(d);
  }
  return true;
}

inline void check_same_layout(const char* op, const Tensor& t, const Tensor& like, const char* name) {
  bool same = t.dim() == like.dim() && t.scalar_type() == like.scalar_type();
  for (int64_t d = 0; same && d < t.dim(); ++d)
    same = t.size(d) == like.size(d) && (t.size(d) == 1 || t.stride(d) == like.stride(d));
  STD_TORCH_CHECK(same || (t.numel() == 0 && like.numel() == 0), op, ": ", name,
                  " must have the shape, strides and dtype of the other tensors");
}

inline void check_torch(AOTITorchError code, const char* what) {
  STD_TORCH_CHECK(code == AOTI_TORCH_SUCCESS, "torch failed to ", what);
}

// Allocations go straight to torch's C functions: those of torch::stable look an operator up by name on every call.
inline Tensor empty_strided(const Tensor& like, int64_t dims, const int64_t* sizes, const int64_t* strides,
                            int32_t dtype) {
  int32_t device = 0;
  AtenTensorHandle handle = nullptr;
  check_torch(aoti_torch_get_device_type(like.get(), &device), "tell a tensor's device");
  if (aoti_torch_empty_strided(dims, sizes, strides, dtype, device, like.get_device_index(), &handle) != AOTI_TORCH_SUCCESS) {
    std::string shape;
    for (int64_t i = 0; i < dims; ++i) shape += (i ? ", " : "") + std::to_string(sizes[i]);
    STD_TORCH_CHECK(false, "torch has no room for a result of shape [", shape, "]: out of memory",
                    device ? ", or an earlier kernel failed" : "");
  }
  return Tensor(handle);
}

inline int32_t dtype_code(const Tensor& t) {
  int32_t code = 0;
  check_torch(aoti_torch_get_dtype(t.get(), &code), "tell a tensor's dtype");
  return code;
}

inline Tensor empty_vector(const Tensor& like, int64_t count, int32_t dtype) {
  const int64_t stride = 1;
  return empty_strided(like, 1, &count, &stride, dtype);
}

inline Tensor empty_bytes(const Tensor& like, int64_t count) {
  return empty_vector(like, count, aoti_torch_dtype_uint8());
}

// Of so many elements; empty where it is not to be kept.
inline Tensor empty_mask(const Tensor& like, int64_t elements, bool keep) {
  return empty_bytes(like, keep ? mask_bytes(elements) : 0);
}

// An image batch [n, c, h, w] with the dtype of `like`.
inline Tensor empty_images(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last) {
  const auto filled = [](int64_t size) { return size > 1 ? size : 1; };  // strides are never 0
  const int64_t sizes[4] = {n, c, h, w}, row = filled(w) * (channels_last ? filled(c) : 1);
  const int64_t image = filled(c) * filled(h) * filled(w);
  const int64_t packed[4] = {image, 1, row, filled(c)}, planar[4] = {image, filled(h) * row, row, 1};
  return empty_strided(like, 4, sizes, channels_last ? packed : planar, dtype_code(like));
}

// t must be dense: then so is the result, in the same order.
inline Tensor empty_like_dense(const Tensor& t) {
  return empty_strided(t, t.dim(), t.sizes().data(), t.strides().data(), dtype_code(t));
}

}  // namespace fastgan

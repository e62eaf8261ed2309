// What this library was built as.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <string>

#include "common/isa.h"

namespace {

std::string native_info() {
  const std::string isa = fastgan::isa_name(fastgan::best_isa());
  return "{\"version\": \"" FASTGAN_VERSION "\", \"cpu_isa\": \"" + isa +
         "\", \"cuda\": false, \"compiler\": \"" FASTGAN_COMPILER "\"}";
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fastgan, CompositeExplicitAutograd, m) { m.impl("native_info", TORCH_BOX(&native_info)); }

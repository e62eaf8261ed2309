// Bytes of a mask of two bits an element.
#pragma once
#include <cstdint>

#include "common/isa.h"

namespace fastgan {

FASTGAN_DEVICE static constexpr int64_t mask_bytes(int64_t elements) { return (elements + 3) / 4; }

}  // namespace fastgan

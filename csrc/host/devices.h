// What the CUDA runtime tells of the machine's devices. No CUDA type appears here: without the toolkit there is only
// the reason why nothing can be told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fastgan::host {

struct Device {
  std::string name;
  int major, minor;                    // compute capability
  int multiprocessors;
  int clock_khz;                       // of the multiprocessors, at most
  int memory_clock_khz, bus_bits;      // of the device's memory
  int64_t memory_bytes, l2_bytes;
  int64_t shared_per_block, shared_per_block_optin, shared_per_multiprocessor;
  int registers_per_block, registers_per_multiprocessor;
  int threads_per_block, threads_per_multiprocessor;
  int driver, runtime;                 // versions, 1000 major + 10 minor
};

// Two transfers a clock over the whole bus.
inline double memory_bytes_per_second(const Device& device) {
  return 2.0 * device.memory_clock_khz * 1e3 * device.bus_bits / 8;
}

// The devices that the driver lists, in its order. Throws std::runtime_error that says in words why there are none.
std::vector<Device> cuda_devices();

}  // namespace fastgan::host

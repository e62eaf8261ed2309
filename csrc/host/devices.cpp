#include "devices.h"

#include <stdexcept>

#ifdef FASTGAN_HAVE_CUDART
#include <cuda_runtime_api.h>
#endif

namespace fastgan::host {

#ifdef FASTGAN_HAVE_CUDART

namespace {

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next call of this thread would report it again
  throw std::runtime_error(what + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "CUDA device " + std::to_string(device) + " does not answer");
  return value;
}

Device describe(int index, int driver, int runtime) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "CUDA device " + std::to_string(index) + " does not answer");
  Device device{};
  device.name = properties.name;
  device.major = properties.major;
  device.minor = properties.minor;
  device.multiprocessors = properties.multiProcessorCount;
  device.clock_khz = attribute(cudaDevAttrClockRate, index);  // CUDA 13 took the clocks out of the structure
  device.memory_clock_khz = attribute(cudaDevAttrMemoryClockRate, index);
  device.bus_bits = properties.memoryBusWidth;
  device.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  device.l2_bytes = properties.l2CacheSize;
  device.shared_per_block = static_cast<int64_t>(properties.sharedMemPerBlock);
  device.shared_per_block_optin = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  device.shared_per_multiprocessor = static_cast<int64_t>(properties.sharedMemPerMultiprocessor);
  device.registers_per_block = properties.regsPerBlock;
  device.registers_per_multiprocessor = properties.regsPerMultiprocessor;
  device.threads_per_block = properties.maxThreadsPerBlock;
  device.threads_per_multiprocessor = properties.maxThreadsPerMultiProcessor;
  device.driver = driver;
  device.runtime = runtime;
  return device;
}

}  // namespace

std::vector<Device> cuda_devices() {
  int driver = 0, runtime = 0, count = 0;
  check(cudaRuntimeGetVersion(&runtime), "the CUDA runtime does not answer");
  check(cudaDriverGetVersion(&driver), "the CUDA driver does not answer");
  if (driver == 0) throw std::runtime_error("this machine has no CUDA driver");
  check(cudaGetDeviceCount(&count),
        "the CUDA driver (" + version(driver) + ", fastgan is built with " + version(runtime) + ") lists no device");
  if (count == 0) throw std::runtime_error("the CUDA driver lists no device");
  std::vector<Device> devices;
  for (int i = 0; i < count; ++i) devices.push_back(describe(i, driver, runtime));
  return devices;
}

#else

std::vector<Device> cuda_devices() { throw std::runtime_error("fastgan was built without the CUDA toolkit"); }

#endif

}  // namespace fastgan::host

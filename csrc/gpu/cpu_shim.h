// Test only: runs CUDA kernels on the CPU, so that a machine without a GPU can prove them. A fiber for every CUDA thread, a
// block at a time on each thread of OpenMP. Threads of a block run in an order that a seed permutes, from barrier to
// barrier: a missing barrier gives wrong numbers for some seed. Shared memory begins as NaN and ends in guard bytes.
// What it cannot show: races within a warp's lockstep, memory ordering, speed.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>

#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace fastgan {
namespace shim {

// Saves the callee's registers on this stack and goes on on the other.
extern "C" void fastgan_shim_switch(void** save_stack, void* load_stack);
asm(R"(.text
.weak fastgan_shim_switch
.hidden fastgan_shim_switch
.type fastgan_shim_switch,@function
fastgan_shim_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi); movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");

constexpr size_t kStack = 64 << 10, kMostThreads = 1024;
constexpr size_t kMostSharedBytes = 227 << 10;  // of a block that asks for more than 48 KiB, as cuda::launch() does
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kGuard = 0;  // the sanitizer watches what lies beyond
#else
constexpr size_t kGuard = 64;
#endif

// A barrier that the living threads of a group meet at; those that have returned count as arrived.
struct Barrier {
  uint64_t generation = 0;
  unsigned arrived = 0, alive = 0;
  void open() { arrived = 0, ++generation; }
  void leave() {
    --alive;
    if (alive && arrived == alive) open();
  }
};

struct Fiber {
  void* stack = nullptr;
  uint3 thread{};
  unsigned lane = 0, warp = 0;
  bool done = false;
  const Barrier* waits_at = nullptr;
  uint64_t ticket = 0;
};

struct Warp {
  Barrier barrier;
  alignas(16) unsigned char slots[2][32][16];  // what the lanes exchange, two generations
};

// What a thread has asked for, in groups. It is done at the wait, so that a missing or a late one shows.
struct Later {
  std::vector<std::function<void()>> queue;
  std::vector<size_t> group_ends;
  void commit() { group_ends.push_back(queue.size()); }
  void wait(size_t left) {
    if (group_ends.size() <= left) return;
    const auto groups = std::ptrdiff_t(group_ends.size() - left), end = std::ptrdiff_t(group_ends[size_t(groups) - 1]);
    for (std::ptrdiff_t i = 0; i < end; ++i) queue[size_t(i)]();
    queue.erase(queue.begin(), queue.begin() + end);
    group_ends.erase(group_ends.begin(), group_ends.begin() + groups);
    for (size_t& later : group_ends) later -= size_t(end);
  }
};

struct Block {
  dim3 grid, size;
  uint3 index{};
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<Later> copies, products;  // one a thread
  char* stacks = nullptr;
  unsigned char* shared = nullptr;
  Barrier barrier;
  void* scheduler_stack = nullptr;
  Fiber* running = nullptr;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
};

inline thread_local Block* block = nullptr;

inline unsigned char* shared_memory() { return block->shared; }

inline void to_scheduler() { fastgan_shim_switch(&block->running->stack, block->scheduler_stack); }

inline void wait_at(Barrier& barrier) {
  if (++barrier.arrived == barrier.alive) return barrier.open();
  Fiber* const self = block->running;
  self->waits_at = &barrier, self->ticket = barrier.generation;
  to_scheduler();
  self->waits_at = nullptr;
}

inline void fiber_main() {
  block->entry(block->argument);
  block->running->done = true;
  block->warps[block->running->warp].barrier.leave();
  block->barrier.leave();
  to_scheduler();
  std::abort();
}

// Every living lane of the warp gives a value; returns a reader of any lane's.
template <class T>
struct Lanes {
  unsigned char (*slots)[16];
  T operator[](unsigned lane) const {
    T value;
    std::memcpy(&value, slots[lane & 31], sizeof value);
    return value;
  }
};
template <class T>
Lanes<T> exchange(const T& value) {
  static_assert(sizeof(T) <= 16 && std::is_trivially_copyable<T>::value, "lanes exchange up to 16 bytes");
  Warp& warp = block->warps[block->running->warp];
  auto* const slots = warp.slots[warp.barrier.generation & 1];
  std::memcpy(slots[block->running->lane], &value, sizeof value);
  wait_at(warp.barrier);
  return {slots};
}

// How often each kernel ran in this process, and with which order of threads.
inline std::map<const void*, int64_t>& launches() {
  static std::map<const void*, int64_t> counts;
  return counts;
}
inline std::mutex& launches_mutex() {
  static std::mutex mutex;
  return mutex;
}
inline unsigned order_seed() {
  const char* seed = std::getenv("FASTGAN_SHIM_SEED");
  return seed ? unsigned(std::atoi(seed)) : 0;
}

// As a multiprocessor of 100 KiB: then every launch leaves as much for a second block.
inline bool has_little_shared() { return std::getenv("FASTGAN_SHIM_LITTLE_SHARED") != nullptr; }

inline void run_block(Block& b, unsigned seed) {
  const unsigned count = unsigned(b.fibers.size());
  for (Warp& warp : b.warps) warp.barrier = Barrier{};
  b.copies.assign(count, Later());
  b.products.assign(count, Later());
  b.barrier = Barrier{};
  b.barrier.alive = count;
  for (unsigned i = 0; i < count; ++i) {
    Fiber& f = b.fibers[i] = Fiber{};
    f.thread = {i % b.size.x, i / b.size.x % b.size.y, i / (b.size.x * b.size.y)};
    f.lane = i & 31, f.warp = i >> 5;
    ++b.warps[f.warp].barrier.alive;
    void** top = reinterpret_cast<void**>((uintptr_t(b.stacks + (i + 1) * kStack) & ~uintptr_t(15)) - 16);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&fiber_main);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    f.stack = top;
  }
  block = &b;
  // Odd steps visit every thread of a block of 2^n; the seed turns the order round and shifts it.
  const unsigned step = seed ? 2 * seed + 1 : 1;
  for (unsigned left = count; left;) {
    bool moved = false;
    for (unsigned k = 0; k < count; ++k) {
      Fiber& f = b.fibers[(count & (count - 1)) == 0 ? (k * step + seed) % count : seed % 2 ? count - 1 - k : k];
      if (f.done || (f.waits_at && f.waits_at->generation == f.ticket)) continue;
      moved = true;
      b.running = &f;
      fastgan_shim_switch(&b.scheduler_stack, f.stack);
      left -= f.done;
    }
    if (!moved) {
      std::fprintf(stderr, "shim: deadlock in block %u,%u,%u: not every thread reaches a barrier\n", b.index.x, b.index.y,
                   b.index.z);
      std::abort();
    }
  }
  block = nullptr;
}

template <class F>
void launch(const void* kernel, dim3 grid, dim3 size, size_t shared_bytes, F&& body) {
  using Body = std::remove_reference_t<F>;
  const unsigned threads = size.x * size.y * size.z;
  if (threads == 0 || threads > kMostThreads || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
      grid.z > 65535 || grid.x > 2147483647u || shared_bytes > kMostSharedBytes)
    throw std::runtime_error("shim: a launch that CUDA refuses");
  if (has_little_shared() && shared_bytes > (49 << 10))
    throw std::runtime_error("shim: a block that leaves a second one no shared memory");
  {
    const std::lock_guard<std::mutex> lock(launches_mutex());
    ++launches()[kernel];
  }
  const int64_t blocks = int64_t(grid.x) * grid.y * grid.z;
  const unsigned seed = order_seed();
#pragma omp parallel
  {
    Block b;
    b.grid = grid, b.size = size;
    b.fibers.resize(threads);
    b.warps.resize((threads + 31) / 32);
    // Kept from launch to launch: fresh pages cost more than most launches. Only what is used becomes memory.
    static thread_local const std::unique_ptr<char[]> stacks(new char[kMostThreads * kStack]);
    b.stacks = stacks.get();
    unsigned char* const shared = static_cast<unsigned char*>(::operator new(shared_bytes + kGuard, std::align_val_t(16)));
    b.shared = shared;
    b.entry = [](void* p) { (*static_cast<Body*>(p))(); };
    b.argument = &body;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < blocks; ++i) {
      b.index = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / (int64_t(grid.x) * grid.y))};
      std::memset(shared, 0xFF, shared_bytes + kGuard);  // NaN in every type
      run_block(b, seed);
      for (size_t at = 0; at < kGuard; ++at)
        if (shared[shared_bytes + at] != 0xFF) {
          std::fprintf(stderr, "shim: a write beyond the %zu bytes of shared memory\n", shared_bytes);
          std::abort();
        }
    }
    ::operator delete(shared, std::align_val_t(16));
  }
}

}  // namespace shim
}  // namespace fastgan

#define threadIdx (::fastgan::shim::block->running->thread)
#define blockIdx (::fastgan::shim::block->index)
#define blockDim (::fastgan::shim::block->size)
#define gridDim (::fastgan::shim::block->grid)

// Threads and scratch memory of the CPU kernels.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>

#include "common/isa.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastgan {
namespace FASTGAN_ISA {

// Below this many elements waking a second thread costs more than it saves.
constexpr int64_t kParallelElements = 32768;

inline int thread_count(int64_t elements) {
#if defined(_OPENMP)
  return elements < kParallelElements || omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  (void)elements;
  return 1;
#endif
}

// f(task, thread) for every task; each thread takes one contiguous range.
template <class F>
inline void parallel_tasks(int64_t tasks, int threads, const F& f) {
#if defined(_OPENMP)
  if (threads > 1 && tasks > 1) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t task = 0; task < tasks; ++task) f(task, omp_get_thread_num());
    return;
  }
#else
  (void)threads;
#endif
  for (int64_t task = 0; task < tasks; ++task) f(task, 0);
}

// The same for long tasks, each of which goes to the thread that is free first: no core is as fast as another for long.
template <class F>
inline void parallel_long_tasks(int64_t tasks, int threads, const F& f) {
  int64_t next = 0;
  parallel_tasks(threads, threads, [&](int64_t, int thread) {
    for (int64_t task; (task = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < tasks;) f(task, thread);
  });
}

// Uninitialised memory, aligned to two cache lines, allocated once per call of an operator.
template <class A>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<A*>(::operator new(sizeof(A) * size_t(count), std::align_val_t(128)))) {}
  ~Scratch() { ::operator delete(data_, std::align_val_t(128)); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  A* get() const { return data_; }

 private:
  A* data_;
};

}  // namespace FASTGAN_ISA
}  // namespace fastgan

// Threads that share some work.

#pragma once

#include <omp.h>

#include <cstdint>

namespace {

struct Team {
  int64_t me = 0, size = 1;  // which of them this is
  bool waits = false;        // for others who do the same; then all threads must

  static Team all() { return {omp_get_thread_num(), omp_get_num_threads(), true}; }

  // Deals `count` pieces of work; all are done when it returns.
  template <class Work>
  void deal(int64_t count, Work work) const {
    for (int64_t i = count * me / size; i < count * (me + 1) / size; i++) work(i);
    wait();
  }
  void wait() const {
    if (waits) {
#pragma omp barrier
    }
  }
};

}  // namespace

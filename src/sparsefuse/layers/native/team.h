// Threads that share some work.

#pragma once

#include <cstdint>

namespace {

// The threads that share some work, and which of them this is.
struct Team {
  int64_t me = 0, size = 1;

  // Deals `count` pieces of work; all are done when it returns.
  template <class Work>
  void deal(int64_t count, Work work) const {
    for (int64_t i = count * me / size; i < count * (me + 1) / size; i++) work(i);
    if (size > 1) {
#pragma omp barrier
    }
  }
};

}  // namespace

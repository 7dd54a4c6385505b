// Threads that share some work: those of PyTorch, by the OpenMP runtime that it has loaded.
//
// The library is not linked with OpenMP. PyTorch's wheels bring their own copy, under a name that differs from release
// to release, and a second one beside it would have threads of its own, which spin on the same cores; threads of our
// own would too. So Python looks up the functions in PyTorch's copy and hands them over (`library.py`): GNU's, LLVM's
// and Intel's runtimes all have them. Without them there is one thread.

#pragma once

#include <cstdint>

namespace {

struct OpenMP {
  void (*parallel)(void (*)(void *), void *, unsigned threads, unsigned flags);
  int (*thread)();
  int (*threads)();
  void (*barrier)();
};
OpenMP openmp{};

struct Team {
  int64_t me = 0, size = 1;  // which of them this is
  bool waits = false;        // for the others; then all must come to the same waits

  // Deals `count` pieces of work; all are done when it returns.
  template <class Work>
  void deal(int64_t count, Work work) const {
    for (int64_t i = count * me / size; i < count * (me + 1) / size; i++) work(i);
    wait();
  }
  void wait() const {
    if (waits) openmp.barrier();
  }
};

// Calls `work` with a team, once per thread. There may be fewer threads than asked for, as within another such call.
template <class Work>
void parallel(int64_t threads, Work work) {
  if (threads <= 1 || !openmp.parallel) return work(Team{});
  auto run = [](void *work) { (*(Work *)work)(Team{openmp.thread(), openmp.threads(), true}); };
  openmp.parallel(run, &work, threads, 0);
}

}  // namespace

// Vectors as wide as the processor's, and memory for them.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace {

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t Ints __attribute__((vector_size(4 * LANES)));

inline Vec load(const float *from) {
  Vec vec;
  std::memcpy(&vec, from, sizeof vec);
  return vec;
}

inline void store(float *to, Vec vec) { std::memcpy(to, &vec, sizeof vec); }

// Each lane and the one HALF away, then half as far.
template <size_t HALF, size_t... LANE>
float sum(Vec vec, std::index_sequence<LANE...> lanes) {
  vec += __builtin_shufflevector(vec, vec, (LANE ^ HALF)...);
  if constexpr (HALF > 1) return sum<HALF / 2>(vec, lanes);
  return vec[0];
}

inline float sum(Vec vec) { return sum<LANES / 2>(vec, std::make_index_sequence<LANES>()); }

constexpr int64_t round_up(int64_t size, int64_t to) { return (size + to - 1) / to * to; }

// Floats where vectors may lie; 0 at first, if asked for. (Not std::vector: no C++ runtime is needed where this runs.)
class Buffer {
  float *data = nullptr;

 public:
  Buffer() = default;
  explicit Buffer(int64_t count, bool zero = false) {
    size_t bytes = round_up(std::max<int64_t>(count, 1) * sizeof(float), 64);
    data = (float *)std::aligned_alloc(64, bytes);
    if (!data) std::abort();
    if (zero) std::memset(data, 0, bytes);
  }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(Buffer &&other) {
    std::swap(data, other.data);
    return *this;
  }
  ~Buffer() { std::free(data); }
  operator float *() const { return data; }
};

// A list of things that are made later, by several threads.
template <class T>
class List {
  T **items;
  int64_t count;

 public:
  explicit List(int64_t count) : items((T **)std::calloc(std::max<int64_t>(count, 1), sizeof(T *))), count(count) {
    if (!items) std::abort();
  }
  List(const List &) = delete;
  ~List() {
    for (int64_t i = 0; i < count; i++) {
      if (!items[i]) continue;
      items[i]->~T();
      std::free(items[i]);
    }
    std::free(items);
  }
  template <class... Given>
  void make(int64_t i, const Given &...given) {
    static_assert(alignof(T) <= alignof(std::max_align_t));
    void *room = std::malloc(sizeof(T));
    if (!room) std::abort();
    items[i] = new (room) T(given...);
  }
  T &operator[](int64_t i) const { return *items[i]; }
};

struct Range {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

Range within(int64_t first, int64_t end, Range range) {
  first = std::max(first, range.first);
  return {first, std::max<int64_t>(std::min(end, range.end()) - first, 0)};
}

}  // namespace

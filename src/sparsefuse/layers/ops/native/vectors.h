// Vectors as wide as the processor's.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

namespace {

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t Ints __attribute__((vector_size(4 * LANES)));

inline Vec take(const float *from) {
  Vec found;
  std::memcpy(&found, from, sizeof found);
  return found;
}

inline void put(float *to, Vec vec) { std::memcpy(to, &vec, sizeof vec); }

// Each lane and the one HALF away, then half as far.
template <size_t HALF, size_t... LANE>
float total(Vec vec, std::index_sequence<LANE...> lanes) {
  vec += __builtin_shufflevector(vec, vec, (LANE ^ HALF)...);
  if constexpr (HALF > 1) return total<HALF / 2>(vec, lanes);
  return vec[0];
}

inline float total(Vec vec) { return total<LANES / 2>(vec, std::make_index_sequence<LANES>()); }

struct Range {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

Range within(int64_t first, int64_t end, Range range) {
  first = std::max(first, range.first);
  return {first, std::max<int64_t>(std::min(end, range.end()) - first, 0)};
}

}  // namespace

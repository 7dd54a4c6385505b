// Rows of a head's channels as vectors whose lanes are rows: to and from memory, and what is computed with them.

#pragma once

#include <cmath>
#include <type_traits>

#include "vectors.h"

namespace {

constexpr int C = WIDTH;  // channels of a head

// ------------------------------------------------------------------------------------------------------------ rows

struct Comb {  // every `step`-th of something, from `first` on
  int64_t first = 0, step = 1;
};

struct Rows {
  float *at;
  int64_t step;
  float *operator[](int64_t i) const { return at + i * step; }
  Rows every(Comb comb) const { return {at + comb.first * step, comb.step * step}; }
};

struct Line {
  float *at;
  int64_t step = 1;
  float &operator[](int64_t i) const { return at[i * step]; }
  Line every(Comb comb) const { return {at ? at + comb.first * step : nullptr, comb.step * step}; }
};

// ---------------------------------------------------------------------------------------------- to and from memory

// Channels as rows and back, in registers, C x C at a time.
constexpr bool SQUARE = (C == 4 || C == 8 || C == 16) && (LANES == C || LANES == 2 * C);

template <size_t STEP, size_t... LANE>
void swap(Vec &a, Vec &b, std::index_sequence<LANE...>) {
  Vec low = __builtin_shufflevector(a, b, (LANE & STEP ? LANES + LANE - STEP : LANE)...);
  b = __builtin_shufflevector(a, b, (LANE & STEP ? LANES + LANE : LANE + STEP)...);
  a = low;
}

// Blocks of SIZE x SIZE, by swapping neighbours, then pairs, then fours.
template <size_t SIZE, size_t STEP = 1>
void transpose(Vec (&vecs)[SIZE]) {
  if constexpr (STEP < SIZE) {
    for (size_t i = 0; i < SIZE; i++)
      if (!(i & STEP)) swap<STEP>(vecs[i], vecs[i + STEP], std::make_index_sequence<LANES>());
    transpose<SIZE, 2 * STEP>(vecs);
  }
}

typedef float Part __attribute__((vector_size(4 * (SQUARE ? C : LANES))));

template <size_t... LANE>
Vec joined(Part a, Part b, std::index_sequence<LANE...>) {
  return __builtin_shufflevector(a, b, LANE...);
}

template <size_t FIRST, size_t... LANE>
Part part(Vec vec, std::index_sequence<LANE...>) {
  return __builtin_shufflevector(vec, vec, (FIRST + LANE)...);
}

// Calls `work` with a range's length, which the compiler knows if it is LANES.
template <class Work>
void counted(Range range, Work work) {
  if (range.count == LANES) work(std::integral_constant<int64_t, LANES>{});
  else work(range.count);
}

void load(Vec (&to)[C], Rows rows, Range range, float factor = 1) {
  if constexpr (SQUARE) {
    counted(range, [&](auto count) {
      auto part = [&](int64_t i) {
        Part found{};
        if (i < count) std::memcpy(&found, rows[range.first + i], sizeof found);
        return found;
      };
      for (int i = 0; i < C; i++) to[i] = joined(part(i), part(i + C), std::make_index_sequence<LANES>());
    });
    transpose(to);
    for (Vec &vec : to) vec *= factor;
  } else {
    for (Vec &vec : to) vec = Vec{};
    for (int64_t i = 0; i < range.count; i++)
      for (int c = 0; c < C; c++) to[c][i] = rows[range.first + i][c] * factor;
  }
}

// Rows become vectors of channels, times a factor, or grow by them.
template <bool ADD>
void put(const Vec (&from)[C], Rows rows, Range range, float factor) {
  if constexpr (SQUARE) {
    constexpr auto lanes = std::make_index_sequence<C>();
    Vec turned[C];
    for (int c = 0; c < C; c++) turned[c] = from[c] * factor;
    transpose(turned);
    counted(range, [&](auto count) {
      auto put = [&](int64_t i, Part row) {
        if (i >= count) return;
        Part before{};
        if (ADD) std::memcpy(&before, rows[range.first + i], sizeof before);
        row += before;
        std::memcpy(rows[range.first + i], &row, sizeof row);
      };
      for (int i = 0; i < C; i++) put(i, part<0>(turned[i], lanes));
      for (int i = C; i < LANES; i++) put(i, part<(LANES > C ? LANES - C : 0)>(turned[i - C], lanes));
    });
  } else {
    for (int64_t i = 0; i < range.count; i++)
      for (int c = 0; c < C; c++) {
        float &to = rows[range.first + i][c];
        to = from[c][i] * factor + (ADD ? to : 0);
      }
  }
}

void store(const Vec (&from)[C], Rows rows, Range range, float factor = 1) { put<false>(from, rows, range, factor); }
void add(const Vec (&from)[C], Rows rows, Range range, float factor) { put<true>(from, rows, range, factor); }

Vec load(Line from, Range range) {
  Vec to{};
  if (from.step == 1 && range.count == LANES) std::memcpy(&to, &from[range.first], sizeof to);
  else
    for (int64_t i = 0; i < range.count; i++) to[i] = from[range.first + i];
  return to;
}

void store(Vec from, Line to, Range range) {
  if (to.step == 1 && range.count == LANES) std::memcpy(&to[range.first], &from, sizeof from);
  else
    for (int64_t i = 0; i < range.count; i++) to[range.first + i] = from[i];
}

// ------------------------------------------------------------------------------------------------ what is computed

inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// 2^x for x <= 0, to 2e-7 of it; 0 below 2^-100: what is so small would slow sums down and change none. The whole part
// goes to the exponent, the rest through a polynomial.
inline Vec power(Vec x) {
  const float magic = 0x1.8p23f;  // what is added to it is rounded to its last digit
  Vec whole = x + magic, rest = x - (whole - magic);
  Vec y = rest * 1.32647272e-3f + 9.67151264e-3f;
  y = y * rest + 5.550733743e-2f;
  y = y * rest + 2.402224209e-1f;
  y = y * rest + 6.931469776e-1f;
  y = y * rest + 1.0f;
  y = (Vec)(((Ints)whole << 23) + (Ints)y);
  return x > -100.0f ? y : Vec{};
}

inline Vec product(const Vec (&a)[C], const float *b, Vec sum) {
  for (int c = 0; c < C; c++) sum += a[c] * b[c];
  return sum;
}

// into += factors x rows
template <class Count>
inline void gather(Vec (&into)[C], const Vec *factors, Rows rows, int64_t first, Count count) {
  Vec sums[C];  // not in memory, where `rows` might lie too
  std::copy(into, into + C, sums);
  for (int64_t i = 0; i < count; i++) {
    const float *row = rows[first + i];
    for (int c = 0; c < C; c++) sums[c] += factors[i] * row[c];
  }
  std::copy(sums, sums + C, into);
}

// Ranges in parts of SIZE, whose length the compiler knows, and a rest.
template <int64_t SIZE, class Do>
void in_chunks(Range range, Do chunk) {
  int64_t i = range.first;
  for (; i + SIZE <= range.end(); i += SIZE) chunk(i, std::integral_constant<int64_t, SIZE>{});
  if (i < range.end()) chunk(i, range.end() - i);
}

}  // namespace

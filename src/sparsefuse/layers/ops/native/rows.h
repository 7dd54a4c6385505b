// Rows of a head's C channels as vectors whose lanes are rows: to and from memory, and what is computed with them.

#pragma once

#include <cmath>
#include <type_traits>

#include "vectors.h"

namespace {

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

struct Line {  // a number per row
  float *at;
  int64_t step = 1;
  float &operator[](int64_t i) const { return at[i * step]; }
  Line every(Comb comb) const { return {at ? at + comb.first * step : nullptr, comb.step * step}; }
};

// ---------------------------------------------------------------------------------------------- to and from memory

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

template <size_t SIZE>
struct Short {  // a vector that is part of another
  typedef float type __attribute__((vector_size(4 * SIZE)));
};
template <size_t SIZE>
using Part = typename Short<SIZE>::type;

template <size_t SIZE, size_t... LANE>
Part<2 * SIZE> joined(Part<SIZE> a, Part<SIZE> b, std::index_sequence<LANE...>) {
  return __builtin_shufflevector(a, b, LANE...);
}
template <size_t FIRST, size_t... LANE>
Part<sizeof...(LANE)> part(Vec vec, std::index_sequence<LANE...>) {
  return __builtin_shufflevector(vec, vec, (FIRST + LANE)...);
}

// What `row` gives for i, i + WIDTH, i + 2 WIDTH .. side by side, SIZE floats of WIDTH each.
template <size_t SIZE, size_t WIDTH, class Row>
Part<SIZE> side_by_side(int64_t i, Row row) {
  if constexpr (SIZE == WIDTH) return row(i);
  else
    return joined<SIZE / 2>(side_by_side<SIZE / 2, WIDTH>(i, row), side_by_side<SIZE / 2, WIDTH>(i + SIZE / 2, row),
                            std::make_index_sequence<SIZE>());
}
// And back: calls `put` with each.
template <size_t WIDTH, size_t FIRST = 0, class Put>
void apart(Vec vec, int64_t i, Put put) {
  put(i + FIRST, part<FIRST>(vec, std::make_index_sequence<WIDTH>()));
  if constexpr (FIRST + WIDTH < LANES) apart<WIDTH, FIRST + WIDTH>(vec, i, put);
}

// Calls `work` with a range's length, which the compiler knows if it is LANES.
template <class Work>
void counted(Range range, Work work) {
  if (range.count == LANES) work(std::integral_constant<int64_t, LANES>{});
  else work(range.count);
}

// Of rows, WIDTH channels at a time: those are turned in registers.
template <size_t C>
constexpr size_t WIDTH = C < LANES ? C : LANES;

template <size_t C>
void load(Vec (&to)[C], Rows rows, Range range, float factor = 1) {
  constexpr size_t W = WIDTH<C>;
  for (size_t first = 0; first < C; first += W) {
    Vec vecs[W];
    counted(range, [&](auto count) {
      auto row = [&](int64_t i) {
        Part<W> row{};
        if (i < count) std::memcpy(&row, rows[range.first + i] + first, sizeof row);
        return row;
      };
      for (size_t i = 0; i < W; i++) vecs[i] = side_by_side<LANES, W>(i, row);
    });
    transpose(vecs);
    for (size_t c = 0; c < W; c++) to[first + c] = vecs[c] * factor;
  }
}

// Vectors of channels become rows, times a factor, or are added to them.
template <bool ADD, size_t C>
void put(const Vec (&from)[C], Rows rows, Range range, float factor) {
  constexpr size_t W = WIDTH<C>;
  for (size_t first = 0; first < C; first += W) {
    Vec vecs[W];
    for (size_t c = 0; c < W; c++) vecs[c] = from[first + c] * factor;
    transpose(vecs);
    counted(range, [&](auto count) {
      auto put = [&](int64_t i, Part<W> row) {
        if (i >= count) return;
        float *to = rows[range.first + i] + first;
        Part<W> before{};
        if (ADD) std::memcpy(&before, to, sizeof before);
        row += before;
        std::memcpy(to, &row, sizeof row);
      };
      for (size_t i = 0; i < W; i++) apart<W>(vecs[i], i, put);
    });
  }
}

template <size_t C>
void store(const Vec (&from)[C], Rows rows, Range range, float factor = 1) {
  put<false>(from, rows, range, factor);
}
template <size_t C>
void add(const Vec (&from)[C], Rows rows, Range range, float factor) {
  put<true>(from, rows, range, factor);
}

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

// The second, if either is NaN.
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// 2^x for x <= 0, to 2e-7 of it; 0 below 2^-100: what is so small would slow sums down and change none; NaN of NaN. The
// whole part becomes an exponent, the rest goes through a polynomial.
inline Vec exp2(Vec x) {
  const float magic = 0x1.8p23f + 127;  // what is added to it is rounded to its last digit
  Vec whole = x + magic, rest = x - (whole - magic);
  Vec y = rest * 1.32647272e-3f + 9.67151264e-3f;
  y = y * rest + 5.550733743e-2f;
  y = y * rest + 2.402224209e-1f;
  y = y * rest + 6.931469776e-1f;
  y = y * rest + 1.0f;
  y *= (Vec)((Ints)whole << 23);  // a product, as NaN stays NaN in it whatever the other factor's bits are
  return x <= -100.0f ? Vec{} : y;
}

template <size_t C>
inline Vec dot(const Vec (&a)[C], const float *b, Vec sum) {
  for (size_t c = 0; c < C; c++) sum += a[c] * b[c];
  return sum;
}

// sums += factors x rows
template <size_t C, class Count>
inline void accumulate(Vec (&into)[C], const Vec *factors, Rows rows, int64_t first, Count count) {
  Vec sums[C];  // not in memory, where `rows` might lie too
  std::copy(into, into + C, sums);
  for (int64_t i = 0; i < count; i++) {
    const float *row = rows[first + i];
    for (size_t c = 0; c < C; c++) sums[c] += factors[i] * row[c];
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

// Tiles of tokens: products with matrices, norms, and their way back.

#pragma once

#include <cmath>

#include "vectors.h"

namespace {

constexpr int D = DIM;                                           // channels of a token
constexpr int TILE = 32;                                         // rows that go together
constexpr int ROWS = LANES / 2, VECS = 3, PANEL = VECS * LANES;  // what products hold in registers

constexpr int64_t padded(int64_t size, int64_t to = PANEL) { return (size + to - 1) / to * to; }

// -------------------------------------------------------------------------------------------------------- products

// Up to TILE rows of N channels. What is behind them, as far as products go, is 0.
template <int N>
struct Tile {
  alignas(64) float at[TILE][padded(N)];
  int64_t count;

  explicit Tile(int64_t count) : count(count) {}
  Tile(const float *rows, Range range) : count(range.count) {
    for (int64_t r = 0; r < count; r++) {
      std::memcpy(at[r], rows + (range.first + r) * N, sizeof(float) * N);
      std::fill(at[r] + N, at[r] + padded(N), 0.0f);
    }
    for (int64_t r = count; r < padded(count, ROWS); r++) std::fill(at[r], at[r] + padded(N), 0.0f);
  }
  void store(float *rows, int64_t first) const {
    for (int64_t r = 0; r < count; r++) std::memcpy(rows + (first + r) * N, at[r], sizeof(float) * N);
  }
  template <class Do>
  void map(Do value) {
    for (int64_t r = 0; r < count; r++)
      for (int i = 0; i < N; i++) at[r][i] = value(at[r][i], r, i);
  }
  void add(const Tile &other) {
    map([&](float x, int64_t r, int i) { return x + other.at[r][i]; });
  }
};

// to = from + products, ROWS rows of a panel: in turn i, `left(i, r)` of row r times the panel at `right(i)`.
template <class Left, class Right>
inline void add_products(float *to, const float *from, int64_t to_step, int64_t from_step, int64_t turns, Left left,
                         Right right) {
  Vec sums[ROWS][VECS];
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECS; v++) sums[r][v] = take(from + r * from_step + v * LANES);
  for (int64_t i = 0; i < turns; i++)
    for (int r = 0; r < ROWS; r++)
      for (int v = 0; v < VECS; v++) sums[r][v] += left(i, r) * take(right(i) + v * LANES);
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECS; v++) put(to + r * to_step + v * LANES, sums[r][v]);
}

// A matrix K x M, by panels of columns, and what is added to its products.
template <int K, int M>
struct Matrix {
  alignas(64) float at[padded(M) / PANEL][K][PANEL], bias[padded(M)] = {};

  // From (K, M), or (M, K) as nn.Linear has it; nothing, if there is no weight.
  explicit Matrix(const float *weight) {
    if (weight) fill(weight, M, 1);
  }
  Matrix(const float *weight, const float *added) {
    if (!weight) return;
    fill(weight, 1, K);
    std::copy(added, added + M, bias);
  }
  void fill(const float *weight, int k_step, int m_step) {
    for (int m = 0; m < padded(M); m++)
      for (int k = 0; k < K; k++) at[m / PANEL][k][m % PANEL] = m < M ? weight[k * k_step + m * m_step] : 0;
  }
};

template <int K, int M>
Tile<M> product(const Tile<K> &x, const Matrix<K, M> &matrix) {
  Tile<M> y(x.count);
  for (int first = 0; first < x.count; first += ROWS)
    for (int panel = 0; panel < padded(M) / PANEL; panel++)
      add_products(
          y.at[first] + panel * PANEL, matrix.bias + panel * PANEL, padded(M), 0, K,
          [&](int64_t k, int r) { return x.at[first + r][k]; }, [&](int64_t k) { return matrix.at[panel][k]; });
  return y;
}

// Slopes of a matrix (M, K) and its bias, summed over tiles.
template <int M, int K>
struct Slopes {
  alignas(64) float at[padded(M, ROWS)][padded(K)] = {}, bias[padded(M)] = {};

  void add(const Tile<M> &y, const Tile<K> &x) {  // y: what flows to the products of x
    for (int r = 0; r < y.count; r++)
      for (int m = 0; m < M; m++) bias[m] += y.at[r][m];
    for (int first = 0; first < M; first += ROWS)
      for (int panel = 0; panel < padded(K); panel += PANEL)
        add_products(
            at[first] + panel, at[first] + panel, padded(K), padded(K), y.count,
            [&](int64_t r, int m) { return y.at[r][first + m]; }, [&](int64_t r) { return x.at[r] + panel; });
  }
  void pour(float *weight, float *to_bias, bool anew) const {
    for (int m = 0; m < M; m++) {
      to_bias[m] = (anew ? 0 : to_bias[m]) + bias[m];
      for (int k = 0; k < K; k++) weight[m * K + k] = (anew ? 0 : weight[m * K + k]) + at[m][k];
    }
  }
};

// ----------------------------------------------------------------------------------------------------------- norms

// What is in a vector's first COUNT lanes.
template <int COUNT, size_t... LANE>
Vec first(Vec vec, std::index_sequence<LANE...>) {
  return Ints{(LANE < COUNT ? ~0u : 0u)...} ? vec : Vec{};
}

// A row in registers.
struct Row {
  static constexpr int PARTS = padded(D, LANES) / LANES;
  Vec parts[PARTS];

  explicit Row(const float *from) {
    for (int v = 0; v < PARTS; v++) parts[v] = take(from + v * LANES);
  }
  void store(float *to) const {
    for (int v = 0; v < PARTS; v++) put(to + v * LANES, parts[v]);
  }
  float mean() const {
    Vec sum = parts[0];
    for (int v = 1; v < PARTS; v++) sum += parts[v];
    return total(sum) / D;
  }
  Row times(const Row &other) const {
    Row found = *this;
    for (int v = 0; v < PARTS; v++) found.parts[v] *= other.parts[v];
    return found;
  }
  template <class Do>
  void map(Do value) {  // what fills the last part stays 0
    for (int v = 0; v < PARTS; v++) parts[v] = value(parts[v], v);
    if (D % LANES) parts[PARTS - 1] = first<D % LANES>(parts[PARTS - 1], std::make_index_sequence<LANES>());
  }
};

// Rows less their mean, over their deviation.
struct Normal {
  Tile<D> x;
  float over[TILE];  // one over the deviation

  Normal(const Tile<D> &from, double eps) : x(from) {
    for (int64_t r = 0; r < x.count; r++) {
      Row row(x.at[r]);
      float middle = row.mean();
      row.map([&](Vec part, int) { return part - middle; });
      float one_over = 1 / std::sqrt(row.times(row).mean() + (float)eps);
      row.map([&](Vec part, int) { return part * one_over; });
      row.store(x.at[r]);
      over[r] = one_over;
    }
  }

  // What flows to `from` by what flows to x.
  void back(Tile<D> &grad) const {
    for (int64_t r = 0; r < x.count; r++) {
      Row row(x.at[r]), flow(grad.at[r]);
      float middle = flow.mean(), along = flow.times(row).mean(), one_over = over[r];
      flow.map([&](Vec part, int v) { return one_over * (part - middle - row.parts[v] * along); });
      flow.store(grad.at[r]);
    }
  }
};

}  // namespace

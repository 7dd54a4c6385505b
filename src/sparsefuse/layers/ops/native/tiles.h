// Tiles of tokens: products with matrices, norms, and their gradients. Widths are known when it runs.

#pragma once

#include <cmath>

#include "vectors.h"

namespace {

constexpr int TILE = 32;                                         // rows that go together
constexpr int ROWS = LANES / 2, VECS = 3, PANEL = VECS * LANES;  // what products hold in registers
constexpr int64_t MAX_DIM = 128;                                 // channels of a token, and in the MLP

// -------------------------------------------------------------------------------------------------------- products

// (A call of memcpy takes longer than a row.)
inline void copy_row(float *to, const float *from, int64_t channels) {
  if (channels < LANES) {
    for (int64_t i = 0; i < channels; i++) to[i] = from[i];
    return;
  }
  for (int64_t i = 0; i + LANES <= channels; i += LANES) store(to + i, load(from + i));
  store(to + channels - LANES, load(from + channels - LANES));
}

// to += factor x from
inline void add_row(float *to, const float *from, float factor, int64_t channels) {
  int64_t i = 0;
  for (; i + LANES <= channels; i += LANES) store(to + i, load(to + i) + factor * load(from + i));
  for (; i < channels; i++) to[i] += factor * from[i];
}

inline void put_row(float *to, const float *from, int64_t channels, bool anew) {
  anew ? copy_row(to, from, channels) : add_row(to, from, 1, channels);
}

// Heads side by side in a row: `head_dim` channels each, `step` apart in memory, with 0 between.
struct HeadLayout {
  int64_t heads, head_dim, step;
};

// Up to TILE rows. Behind their channels, as far as products go, is 0, or what comes of NaN or inf in their row.
template <int64_t MAX_CHANNELS = MAX_DIM>
struct Tile {
  int64_t count, channels, step;
  alignas(64) float at[TILE * round_up(MAX_CHANNELS, PANEL) + LANES];

  Tile(int64_t count, int64_t channels) : count(count), channels(channels), step(round_up(channels, PANEL)) {}
  Tile(const float *rows, Range range, int64_t channels) : Tile(range.count, channels) {
    for (int64_t r = 0; r < count; r++) {
      copy_row((*this)[r], rows + (range.first + r) * channels, channels);
      clear_behind(r, channels);
    }
    clear_rest();
  }
  Tile(const float *rows, Range range, HeadLayout heads) : Tile(range.count, heads.heads * heads.head_dim) {
    for (int64_t r = 0; r < count; r++) {
      const float *row = rows + (range.first + r) * heads.heads * heads.step;
      if (heads.step == heads.head_dim) copy_row((*this)[r], row, channels);
      else
        for (int64_t h = 0; h < heads.heads; h++)
          std::copy_n(row + h * heads.step, heads.head_dim, (*this)[r] + h * heads.head_dim);
      clear_behind(r, channels);
    }
    clear_rest();
  }
  // Row by row: the last vector may reach into the next row.
  void clear_behind(int64_t r, int64_t channels) {
    for (int64_t i = channels; i < step; i += LANES) ::store((*this)[r] + i, Vec{});
  }
  void clear_rest() { std::fill((*this)[count], (*this)[round_up(count, ROWS)], 0.0f); }

  float *operator[](int64_t r) { return at + r * step; }
  const float *operator[](int64_t r) const { return at + r * step; }

  Vec vec(int64_t r, int64_t i) const { return load((*this)[r] + i); }

  void store(float *rows, int64_t first) const {
    for (int64_t r = 0; r < count; r++) copy_row(rows + (first + r) * channels, (*this)[r], channels);
  }
  void store(float *rows, int64_t first, HeadLayout heads) const {
    if (heads.step == heads.head_dim) return store(rows, first);
    for (int64_t r = 0; r < count; r++) {
      float *row = rows + (first + r) * heads.heads * heads.step;
      for (int64_t h = 0; h < heads.heads; h++, row += heads.step) {
        std::copy_n((*this)[r] + h * heads.head_dim, heads.head_dim, row);
        std::fill(row + heads.head_dim, row + heads.step, 0.0f);
      }
    }
  }
  // Vector by vector, given with its row and first channel.
  template <class Do>
  void map(Do value) {
    for (int64_t r = 0; r < count; r++)
      for (int64_t i = 0; i < channels; i += LANES) ::store((*this)[r] + i, value(load((*this)[r] + i), r, i));
  }
  void add(const Tile &other) {
    map([&](Vec x, int64_t r, int64_t i) { return x + other.vec(r, i); });
  }
};
using WideTile = Tile<3 * MAX_DIM>;  // queries, keys and values

// Factors of ROWS rows, one turn after another.
struct Factors {
  const float *rows[ROWS];
  int64_t step;

  template <class Row>
  Factors(Row row, int64_t step) : step(step) {
    for (int r = 0; r < ROWS; r++) rows[r] = row(r);
  }
};

// (Unrolled at once: of loops that are unrolled later, GCC keeps the sums in memory.)
template <class Do>
inline void each_sum(Do work) {
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int v = 0; v < VECS; v++) work(r, v);
}

// to = from + products, ROWS rows of a panel: in each turn, of a row's factor and a row of the panel. (By itself: where
// it is part of something larger, GCC runs out of registers.)
__attribute__((noinline)) void add_products(float *to, const float *from, int64_t to_step, int64_t from_step,
                                            int64_t turns, const Factors &factors, const float *panel,
                                            int64_t panel_step) {
  Vec sums[ROWS][VECS];
  each_sum([&](int r, int v) { sums[r][v] = load(from + r * from_step + v * LANES); });
  for (int64_t i = 0; i < turns; i++, panel += panel_step)
    each_sum([&](int r, int v) { sums[r][v] += factors.rows[r][i * factors.step] * load(panel + v * LANES); });
  each_sum([&](int r, int v) { store(to + r * to_step + v * LANES, sums[r][v]); });
}

// Channels of a vector that the norm has, with 0 behind them as far as products and vectors go.
struct Channels {
  Buffer at;

  Channels(int64_t count, const float *from = nullptr) : at(round_up(count, PANEL), true) {
    if (from) std::copy_n(from, count, (float *)at);
  }
  Vec operator[](int64_t i) const { return load(at + i); }
};

// A matrix K x M, by panels of columns, and what is added to its products.
struct Matrix {
  int64_t k, m;
  Buffer at;
  Channels bias;

  // From (M, K) and (M), as nn.Linear has them; or from (K, M), for the backward pass. Nothing, if there is no weight.
  Matrix(int64_t k, int64_t m, const float *weight, const float *bias)
      : k(k), m(m), at(k * round_up(m, PANEL)), bias(m, bias) {
    if (weight) fill(weight, 1, k);
  }
  Matrix(int64_t k, int64_t m, const float *weight) : k(k), m(m), at(k * round_up(m, PANEL)), bias(m) {
    if (weight) fill(weight, m, 1);
  }
  void fill(const float *weight, int64_t k_step, int64_t m_step) {
    for (int64_t first = 0; first < m; first += PANEL)
      for (int64_t i = 0; i < k; i++) {
        float *row = panel(first) + i * PANEL;
        int64_t some = std::min<int64_t>(PANEL, m - first);
        for (int64_t j = 0; j < some; j++) row[j] = weight[i * k_step + (first + j) * m_step];
        std::fill(row + some, row + PANEL, 0.0f);
      }
  }
  float *panel(int64_t first) const { return at + first * k; }
};

template <int64_t TO = MAX_DIM, int64_t FROM>
Tile<TO> product(const Tile<FROM> &x, const Matrix &matrix) {
  Tile<TO> y(x.count, matrix.m);
  for (int64_t first = 0; first < x.count; first += ROWS) {
    Factors rows([&](int r) { return x[first + r]; }, 1);
    for (int64_t m = 0; m < matrix.m; m += PANEL)
      add_products(y[first] + m, matrix.bias.at + m, y.step, 0, matrix.k, rows, matrix.panel(m), PANEL);
  }
  return y;
}

// Gradients of a matrix (M, K) and its bias, summed over tiles.
struct WeightGradients {
  int64_t m, k, step;
  Buffer at, bias;

  WeightGradients(int64_t m, int64_t k)
      : m(m), k(k), step(round_up(k, PANEL)), at(round_up(m, ROWS) * step, true), bias(round_up(m, PANEL), true) {}

  template <int64_t TO, int64_t FROM>
  void add(const Tile<TO> &grad, const Tile<FROM> &x) {  // of products of x
    for (int64_t i = 0; i < m; i += LANES) {
      Vec total = load(bias + i);
      for (int64_t r = 0; r < grad.count; r++) total += grad.vec(r, i);
      store(bias + i, total);
    }
    for (int64_t first = 0; first < m; first += ROWS) {
      Factors channels([&](int i) { return grad[0] + first + i; }, grad.step);
      for (int64_t panel = 0; panel < k; panel += PANEL) {
        float *sums = at + first * step + panel;
        add_products(sums, sums, step, step, grad.count, channels, x[0] + panel, x.step);
      }
    }
  }
  void pour(float *weight, float *to_bias, bool anew) const {
    put_row(to_bias, bias, m, anew);
    for (int64_t i = 0; i < m; i++) put_row(weight + i * k, at + i * step, k, anew);
  }
};

// ----------------------------------------------------------------------------------------------------------- norms

// Calls `work` with a number of vectors that the compiler knows.
template <int MOST, class Work>
inline void with_vectors(int64_t count, Work work) {
  if (count == MOST) work(std::integral_constant<int, MOST>{});
  else if constexpr (MOST > 1) with_vectors<MOST - 1>(count, work);
}

// A row in registers.
template <int VECTORS>
struct Row {
  Vec vecs[VECTORS];

  explicit Row(const float *from) {
    for (int v = 0; v < VECTORS; v++) vecs[v] = load(from + v * LANES);
  }
  void store(float *to) const {
    for (int v = 0; v < VECTORS; v++) ::store(to + v * LANES, vecs[v]);
  }
  float total() const {
    Vec all = vecs[0];
    for (int v = 1; v < VECTORS; v++) all += vecs[v];
    return sum(all);
  }
  Row times(const Row &other) const {
    Row product = *this;
    for (int v = 0; v < VECTORS; v++) product.vecs[v] *= other.vecs[v];
    return product;
  }
  template <class Do>
  void map(Ints last, Do value) {  // `last`: which lanes of the last vector are channels; the others become 0
    for (int v = 0; v < VECTORS; v++) vecs[v] = value(vecs[v], v);
    vecs[VECTORS - 1] = last ? vecs[VECTORS - 1] : Vec{};
  }
};

// Rows less their mean, over their deviation.
struct Normalized {
  Tile<> x;
  float inv_std[TILE];

  Normalized(const Tile<> &from, double eps) : x(from.count, from.channels) {
    each_row([&](auto vectors, Ints last, int64_t r) {
      Row<vectors> row(from[r]);
      float mean = row.total() / x.channels;
      row.map(last, [&](Vec vec, int) { return vec - mean; });
      float over = 1 / std::sqrt(row.times(row).total() / x.channels + (float)eps);
      row.map(last, [&](Vec vec, int) { return vec * over; });
      row.store(x[r]);
      x.clear_behind(r, vectors * LANES);
      inv_std[r] = over;
    });
    x.clear_rest();
  }

  // The gradient of x becomes that of `from`.
  void backward(Tile<> &grad) const {
    each_row([&](auto vectors, Ints last, int64_t r) {
      Row<vectors> row(x[r]), dx(grad[r]);
      float mean = dx.total() / x.channels, along = dx.times(row).total() / x.channels, over = inv_std[r];
      dx.map(last, [&](Vec vec, int v) { return over * (vec - mean - row.vecs[v] * along); });
      dx.store(grad[r]);
    });
  }

  template <class Work>
  void each_row(Work work) const {
    Ints last;
    for (int i = 0; i < LANES; i++) last[i] = i <= (x.channels - 1) % LANES ? ~0u : 0u;
    with_vectors<MAX_DIM / LANES>(round_up(x.channels, LANES) / LANES, [&](auto vectors) {
      for (int64_t r = 0; r < x.count; r++) work(vectors, last, r);
    });
  }
};

}  // namespace

// Features to tokens, forward and back:
//
//   y_0 = cls + position_0,  y_j = W x_j + b + position_j

#include <memory>
#include <vector>

#include "team.h"
#include "tiles.h"

namespace {

struct EmbedCall {  // in the order of `embed.py`
  int64_t samples, length, features, places, threads;
  float *x, *y;                           // (B, N, F), (B, 1 + N, D)
  float *weight, *bias, *cls, *position;  // (D, F), (D), (D), (places, D)
  float *grad;                            // the way back: flows to y
  float *d_weight, *d_bias, *d_cls, *d_position;

  float *tokens(float *of, int64_t b) const { return of + (b * (1 + length) + 1) * D; }  // without CLS
  const float *row(int64_t b, int64_t j) const { return x + (b * length + std::min(j, length - 1)) * features; }

  template <class Work>
  void each_tile(Team team, Work work) const {
    int64_t tiles = (length + TILE - 1) / TILE;
    team.deal(samples * tiles, [&](int64_t i) {
      int64_t first = i % tiles * TILE;
      work(i / tiles, within(first, first + TILE, {0, length}));
    });
  }
};

constexpr int64_t PADDED = padded(D);
typedef float Channels[PADDED];

// Rows of `y` += features x weights, by feature.
void add_tokens(const EmbedCall &call, int64_t b, Range range, const Channels *weights, Tile<D> &y) {
  for (int64_t first = 0; first < y.count; first += ROWS) {
    const float *x[ROWS];
    for (int r = 0; r < ROWS; r++) x[r] = call.row(b, range.first + first + r);
    for (int64_t panel = 0; panel < PADDED; panel += PANEL)
      add_products(
          y.at[first] + panel, y.at[first] + panel, PADDED, PADDED, call.features,
          [&](int64_t k, int r) { return x[r][k]; }, [&](int64_t k) { return weights[k] + panel; });
  }
}

// Slopes += features x rows of `grad`.
void add_slopes(const EmbedCall &call, int64_t b, Range range, const Tile<D> &grad, Channels *slopes) {
  for (int64_t first = 0; first < call.features; first += ROWS) {
    int64_t at[ROWS];
    for (int i = 0; i < ROWS; i++) at[i] = std::min(first + i, call.features - 1);  // what is made twice is not read
    for (int64_t panel = 0; panel < PADDED; panel += PANEL)
      add_products(
          slopes[first] + panel, slopes[first] + panel, PADDED, PADDED, grad.count,
          [&](int64_t r, int i) { return call.row(b, range.first + r)[at[i]]; },
          [&](int64_t r) { return grad.at[r] + panel; });
  }
}

}  // namespace

extern "C" const int64_t embed_forward_numbers = sizeof(EmbedCall) / sizeof(int64_t);

extern "C" void embed_forward(const EmbedCall &call) {
  auto weights = std::make_unique<Channels[]>(call.features);
#pragma omp parallel num_threads(call.threads)
  {
    Team team = Team::all();
    team.deal(call.features, [&](int64_t k) {
      for (int i = 0; i < D; i++) weights[k][i] = call.weight[i * call.features + k];
    });
    call.each_tile(team, [&](int64_t b, Range range) {
      Tile<D> y(call.position + D, range);
      y.map([&](float place, int64_t, int i) { return place + call.bias[i]; });
      add_tokens(call, b, range, weights.get(), y);
      y.store(call.tokens(call.y, b), range.first);
    });
    team.deal(call.samples, [&](int64_t b) {
      for (int i = 0; i < D; i++) call.tokens(call.y, b)[i - D] = call.cls[i] + call.position[i];
    });
  }
}

extern "C" void embed_backward(const EmbedCall &call) {
  std::vector<std::unique_ptr<Channels[]>> slopes(call.threads);  // of each thread
#pragma omp parallel num_threads(call.threads)
  {
    Team team = Team::all();
    auto &mine = slopes[team.me] = std::make_unique<Channels[]>(padded(call.features, ROWS));
    team.deal(call.places, [&](int64_t j) {
      float *sum = call.d_position + j * D;
      std::fill(sum, sum + D, 0.0f);
      for (int64_t b = 0; j <= call.length && b < call.samples; b++)
        for (int i = 0; i < D; i++) sum[i] += call.tokens(call.grad, b)[(j - 1) * D + i];
    });
    call.each_tile(team, [&](int64_t b, Range range) {
      add_slopes(call, b, range, Tile<D>(call.tokens(call.grad, b), range), mine.get());
    });
    team.deal(D, [&](int64_t i) {
      for (int64_t k = 0; k < call.features; k++) {
        float sum = 0;
        for (int64_t t = 0; t < team.size; t++) sum += slopes[t][k][i];
        call.d_weight[i * call.features + k] = sum;
      }
    });
  }
  std::copy(call.d_position, call.d_position + D, call.d_cls);
  std::fill(call.d_bias, call.d_bias + D, 0.0f);
  for (int64_t j = 1; j <= call.length; j++)
    for (int i = 0; i < D; i++) call.d_bias[i] += call.d_position[j * D + i];
}

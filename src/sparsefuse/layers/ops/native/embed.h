// Features to tokens, forward and backward:
//
//   y_0 = cls + position_0,  y_j = W x_j + b + position_j

#pragma once

#include "arguments.h"
#include "threads.h"
#include "tiles.h"

namespace {

struct Embedding {
  const EmbedArguments &args;
  int64_t dim = args.dim, step = round_up(dim, PANEL);  // of weights, by feature

  float *tokens(float *of, int64_t b) const { return of + (b * (1 + args.length) + 1) * dim; }  // without CLS
  const float *row(int64_t b, int64_t j) const {
    return args.x + (b * args.length + std::min(j, args.length - 1)) * args.features;
  }

  template <class Work>
  void each_tile(Team team, Work work) const {
    int64_t tiles = (args.length + TILE - 1) / TILE;
    team.deal(args.samples * tiles, [&](int64_t i) {
      int64_t first = i % tiles * TILE;
      work(i / tiles, within(first, first + TILE, {0, args.length}));
    });
  }

  // Rows of `y` += features x weights.
  void add_tokens(int64_t b, Range range, const float *weights, Tile<> &y) const {
    for (int64_t first = 0; first < y.count; first += ROWS) {
      Factors x([&](int r) { return row(b, range.first + first + r); }, 1);
      for (int64_t panel = 0; panel < dim; panel += PANEL)
        add_products(y[first] + panel, y[first] + panel, step, step, args.features, x, weights + panel, step);
    }
  }

  // Gradients of weights += features x rows of `grad`.
  void add_gradients(int64_t b, Range range, const Tile<> &grad, float *gradients) const {
    for (int64_t first = 0; first < args.features; first += ROWS) {
      auto feature = [&](int i) { return row(b, range.first) + std::min(first + i, args.features - 1); };
      Factors x(feature, args.features);  // the last one's more than once, if they fill no vector: that is not read
      for (int64_t panel = 0; panel < dim; panel += PANEL) {
        float *sums = gradients + first * step + panel;
        add_products(sums, sums, step, step, grad.count, x, grad[0] + panel, grad.step);
      }
    }
  }

  void forward() const {
    Buffer weights(args.features * step, true);
    Channels bias(dim, args.bias);
    parallel(args.threads, [&](Team team) {
      team.deal(args.features, [&](int64_t k) {
        for (int64_t i = 0; i < dim; i++) weights[k * step + i] = args.weight[i * args.features + k];
      });
      each_tile(team, [&](int64_t b, Range range) {
        Tile<> y(args.position + dim, range, dim);
        y.map([&](Vec position, int64_t, int64_t i) { return position + bias[i]; });
        add_tokens(b, range, weights, y);
        y.store(tokens(args.y, b), range.first);
      });
      team.deal(args.samples, [&](int64_t b) {
        for (int64_t i = 0; i < dim; i++) tokens(args.y, b)[i - dim] = args.cls[i] + args.position[i];
      });
    });
  }

  void backward() const {
    int64_t threads = std::max<int64_t>(args.threads, 1), size = round_up(args.features, ROWS) * step;
    Buffer gradients(threads * size, true);  // of each thread
    parallel(threads, [&](Team team) {
      team.deal(args.positions, [&](int64_t j) {
        float *total = args.d_position + j * dim;
        std::fill(total, total + dim, 0.0f);
        for (int64_t b = 0; j <= args.length && b < args.samples; b++)
          add_row(total, tokens(args.grad_out, b) + (j - 1) * dim, 1, dim);
      });
      each_tile(team, [&](int64_t b, Range range) {
        add_gradients(b, range, Tile<>(tokens(args.grad_out, b), range, dim), gradients + team.me * size);
      });
      team.deal(dim, [&](int64_t i) {
        for (int64_t k = 0; k < args.features; k++) {
          float total = 0;
          for (int64_t t = 0; t < team.size; t++) total += gradients[t * size + k * step + i];
          args.d_weight[i * args.features + k] = total;
        }
      });
    });
    std::copy(args.d_position, args.d_position + dim, args.d_cls);
    std::fill(args.d_bias, args.d_bias + dim, 0.0f);
    for (int64_t j = 1; j <= args.length; j++) add_row(args.d_bias, args.d_position + j * dim, 1, dim);
  }
};

}  // namespace

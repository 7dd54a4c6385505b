// A pre-norm block in one call, forward and back, around the attention of attention.cpp:
//
//   mid = x + Wo read(Wq n(x) + bq) + bo            SFT eq. 2; n is a norm without weights
//   y   = mid + W2 relu(W1 N(mid) + b1) + b2        SFT eq. 3; N is a norm with weights.  HIDDEN 0: y = mid
//
// Rows go through in tiles that stay in the cache; what the way back needs is written once.

#include "attention.cpp"

#include <memory>

#include "tiles.h"

namespace {

constexpr int H = HIDDEN;     // channels in the MLP
constexpr int W = H ? H : 1;  // for what is never used without an MLP

struct Tensors {  // as nn.Linear and nn.LayerNorm have them
  float *qkv, *qkv_bias, *out, *out_bias, *gain, *shift, *first, *first_bias, *second, *second_bias;
};

struct BlockCall {  // in the order of `block.py`
  Call attention;
  double eps;
  float *x, *rows, *read, *y;  // (n, D), queries, keys and values (n, 3 D), (n, D), (n, D)
  float *mid, *hidden;         // (n, D), (n, H); none if there is no way back
  float *far, *share;          // (B, F, 2 D) keys and values; (B or 1, F, N) of which rows they are made
  int64_t shared;              // whether samples have the same `share`
  Tensors weights;
  float *grad, *dx, *d_rows, *d_read, *d_far;  // the way back: `grad` flows to y
  Tensors slopes;

  // The call for `count` samples from `b` on.
  BlockCall of(int64_t b, int64_t count) const {
    BlockCall some = *this;
    some.attention = attention.of(b, count);
    int64_t rows_before = b * attention.queries, far_before = b * attention.far;
    for (float **at : {&some.x, &some.read, &some.y, &some.mid, &some.grad, &some.dx, &some.d_read})
      if (*at) *at += rows_before * D;
    for (float **at : {&some.rows, &some.d_rows})
      if (*at) *at += rows_before * 3 * D;
    for (float **at : {&some.far, &some.d_far})
      if (*at) *at += far_before * 2 * D;
    if (hidden) some.hidden += rows_before * H;
    if (share && !shared) some.share += far_before * attention.keys;
    return some;
  }
};

// ------------------------------------------------------------------------------------------------------- the passes

template <class Work>
void each_tile(const BlockCall &call, Team team, Work work) {
  int64_t rows = call.attention.samples * call.attention.queries;
  team.deal((rows + TILE - 1) / TILE, [&](int64_t i) { work(within(i * TILE, (i + 1) * TILE, {0, rows})); });
}

constexpr float NOTHING[LANES] = {};

// Keys and values of CLS and of means, from rows; on the way back, what flows to rows from theirs.
template <class Do>
void each_share(const BlockCall &call, Team team, Do apply) {
  const Call &a = call.attention;
  team.deal(a.samples * 2, [&](int64_t i) {
    int64_t b = i / 2, part = i % 2 * D;
    for (int64_t f = 0; f < a.far; f++) {
      const float *share = call.share + ((call.shared ? 0 : b) * a.far + f) * a.keys;
      for (int64_t j = 0; j < a.keys; j++) {
        if (j + LANES <= a.keys && !std::memcmp(share + j, NOTHING, sizeof NOTHING)) j += LANES - 1;  // as most are
        else if (share[j] != 0) apply(share[j], (b * a.far + f) * 2 * D + part, (b * a.keys + j) * 3 * D + D + part);
      }
    }
  });
}

// Samples one by one, each by one thread from beginning to end, as far as all threads have the same to do: so what was
// just made is still in the cache, and nobody waits. The rest together.
template <class Work>
void by_sample(const BlockCall &call, Team team, Work work) {
  int64_t alone = call.attention.samples / team.size * team.size;
  team.deal(alone, [&](int64_t b) { work(call.of(b, 1), Team{}); });
  if (alone < call.attention.samples) work(call.of(alone, call.attention.samples - alone), team);
}

void project(const BlockCall &call, Team team, const Matrix<D, 3 * D> &qkv) {
  each_tile(call, team, [&](Range range) {
    Normal normal(Tile<D>(call.x, range), range.count, call.eps);
    Tile<3 * D> rows;
    multiply(normal.x, qkv, rows);
    rows.add(call.weights.qkv_bias, range.count);
    rows.store(call.rows, range);
  });
}

void conclude(const BlockCall &call, Team team, const Matrix<D, D> &out, const Matrix<D, W> *first,
              const Matrix<W, D> *second) {
  const Tensors &w = call.weights;
  each_tile(call, team, [&](Range range) {
    Tile<D> mid, y;
    multiply(Tile<D>(call.read, range), out, mid);
    mid.add(w.out_bias, range.count);
    mid.add(Tile<D>(call.x, range), range.count);
    if (!H) return mid.store(call.y, range);
    Tile<D> normed = Normal(mid, range.count, call.eps).x;
    normed.map(range.count, [&](float x, int64_t, int i) { return x * w.gain[i] + w.shift[i]; });
    Tile<W> hidden;
    multiply(normed, *first, hidden);
    hidden.map(range.count, [&](float x, int64_t, int i) { return std::max(x + w.first_bias[i], 0.0f); });
    multiply(hidden, *second, y);
    y.add(w.second_bias, range.count);
    y.add(mid, range.count);
    y.store(call.y, range);
    if (call.mid) mid.store(call.mid, range);
    if (call.hidden) hidden.store(call.hidden, range);
  });
}

}  // namespace

extern "C" const int64_t block_forward_numbers = sizeof(BlockCall) / sizeof(int64_t);

extern "C" void block_forward(const BlockCall &call) {
  const Tensors &w = call.weights;
  auto qkv = std::make_unique<Matrix<D, 3 * D>>(w.qkv, true);
  auto out = std::make_unique<Matrix<D, D>>(w.out, true);
  auto first = H ? std::make_unique<Matrix<D, W>>(w.first, true) : nullptr;
  auto second = H ? std::make_unique<Matrix<W, D>>(w.second, true) : nullptr;
#pragma omp parallel num_threads(call.attention.threads)
  by_sample(call, {omp_get_thread_num(), omp_get_num_threads()}, [&](const BlockCall &some, Team team) {
    project(some, team, *qkv);
    each_share(some, team, [&](float share, int64_t far, int64_t row) {
      for (int i = 0; i < D; i++) some.far[far + i] += share * some.rows[row + i];
    });
    read(some.attention, team);
    conclude(some, team, *out, first.get(), second.get());
  });
}

// ----------------------------------------------------------------------------------------------------- the way back

namespace {

// Of all weights, what one thread's tiles add.
struct Share {
  Slopes<3 * D, D> qkv;
  Slopes<D, D> out;
  Slopes<W, D> first;
  Slopes<D, W> second;
  float gain[D] = {}, shift[D] = {};

  void pour(const Tensors &to, bool anew) const {
    qkv.pour(to.qkv, to.qkv_bias, anew);
    out.pour(to.out, to.out_bias, anew);
    if (!H) return;
    first.pour(to.first, to.first_bias, anew);
    second.pour(to.second, to.second_bias, anew);
    for (int i = 0; i < D; i++) {
      to.gain[i] = (anew ? 0 : to.gain[i]) + gain[i];
      to.shift[i] = (anew ? 0 : to.shift[i]) + shift[i];
    }
  }
};

// What flows to y becomes what flows to mid.
void through_mlp(const BlockCall &call, const Matrix<W, D> &first, const Matrix<D, W> &second, Tile<D> &grad,
                 Range range, Share &share) {
  const Tensors &w = call.weights;
  Tile<W> hidden(call.hidden, range), steep;
  share.second.add(grad, hidden);
  multiply(grad, second, steep);
  steep.map(TILE, [&](float x, int64_t r, int i) { return hidden.at[r][i] > 0 ? x : 0; });
  Normal normal(Tile<D>(call.mid, range), range.count, call.eps);
  Tile<D> weighed = normal.x, flow;
  weighed.map(range.count, [&](float x, int64_t, int i) { return x * w.gain[i] + w.shift[i]; });
  share.first.add(steep, weighed);
  multiply(steep, first, flow);
  flow.map(range.count, [&](float x, int64_t r, int i) {
    share.gain[i] += x * normal.x.at[r][i];
    share.shift[i] += x;
    return x * w.gain[i];
  });
  normal.back(flow, range.count);
  grad.add(flow, range.count);
}

// From y to what was read; `dx` becomes what flows to mid.
void back_to_read(const BlockCall &call, Team team, const Matrix<D, D> &out, const Matrix<W, D> *first,
                  const Matrix<D, W> *second, Share &share) {
  each_tile(call, team, [&](Range range) {
    Tile<D> grad(call.grad, range), flow;
    if (H) through_mlp(call, *first, *second, grad, range, share);
    grad.store(call.dx, range);
    share.out.add(grad, Tile<D>(call.read, range));
    multiply(grad, out, flow);
    flow.store(call.d_read, range);
  });
}

// From queries, keys and values to x.
void back_to_tokens(const BlockCall &call, Team team, const Matrix<3 * D, D> &qkv, Share &share) {
  each_tile(call, team, [&](Range range) {
    Normal normal(Tile<D>(call.x, range), range.count, call.eps);
    Tile<3 * D> d_rows(call.d_rows, range);
    Tile<D> flow;
    share.qkv.add(d_rows, normal.x);
    multiply(d_rows, qkv, flow);
    normal.back(flow, range.count);
    flow.add(Tile<D>(call.dx, range), range.count);
    flow.store(call.dx, range);
  });
}

}  // namespace

extern "C" void block_backward(const BlockCall &call) {
  const Tensors &w = call.weights;
  auto qkv = std::make_unique<Matrix<3 * D, D>>(w.qkv, false);
  auto out = std::make_unique<Matrix<D, D>>(w.out, false);
  auto first = H ? std::make_unique<Matrix<W, D>>(w.first, false) : nullptr;
  auto second = H ? std::make_unique<Matrix<D, W>>(w.second, false) : nullptr;
  std::vector<std::unique_ptr<Share>> shares(call.attention.threads);
#pragma omp parallel num_threads(call.attention.threads)
  {
    auto &mine = shares[omp_get_thread_num()] = std::make_unique<Share>();
    by_sample(call, {omp_get_thread_num(), omp_get_num_threads()}, [&](const BlockCall &some, Team team) {
      back_to_read(some, team, *out, first.get(), second.get(), *mine);
      back(some.attention, team);
      each_share(some, team, [&](float share, int64_t far, int64_t row) {
        for (int i = 0; i < D; i++) some.d_rows[row + i] += share * some.d_far[far + i];
      });
      back_to_tokens(some, team, *qkv, *mine);
    });
  }
  for (auto &share : shares)  // in the order of threads, or rounding would change from run to run
    if (share) share->pour(call.slopes, share == shares.front());
}

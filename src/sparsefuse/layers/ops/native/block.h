// Pre-norm blocks, one behind another, in one call, forward and backward, around the attention of attention.h. Each:
//
//   mid = x + Wo attention(Wq n(x) + bq) + bo       SFT eq. 2; n is a norm without weights
//   y   = mid + W2 relu(W1 N(mid) + b1) + b2        SFT eq. 3; N is a norm with weights.  Without an MLP, y = mid
//
// Rows go through in tiles that stay in the cache; what the backward pass needs is written once.

#pragma once

#include "attention.h"
#include "tiles.h"

namespace {

// ---------------------------------------------------------------------------------------------------- one sample

// Channels of a token's queries, as those of its keys and of its values, in memory.
int64_t width(const BlockArguments &args) { return args.heads * head_step(args.dim / args.heads); }

// What a sample makes on its way through a block.
struct Activations {
  float *qkv, *far;                 // queries, keys and values (N, 3 W); keys and values that all see (F, 2 W)
  float *out, *row_max, *inv_sum;   // of attention: (N, W), (H, N) and (H, N)
  float *mid, *hidden;              // (N, D), (N, hidden); only for the backward pass, and with an MLP
  float *y;                         // (N, D); only for the backward pass, and if a block comes next

  static int64_t size(const BlockArguments &args) {
    int64_t mlp = args.hidden ? args.dim + args.hidden : 0, y = args.depth > 1 ? args.dim : 0;
    return args.length * (4 * width(args) + 2 * args.heads + args.saving * (mlp + y)) + args.far * 2 * width(args);
  }
  Activations(const BlockArguments &args, int64_t place) {
    int64_t n = args.length, w = width(args);
    float *at = args.activations + place * size(args);
    auto take = [&](int64_t count) { return std::exchange(at, at + count); };
    qkv = take(n * 3 * w);
    far = take(args.far * 2 * w);
    out = take(n * w);
    row_max = take(args.heads * n);
    inv_sum = take(args.heads * n);
    mid = args.saving && args.hidden ? take(n * args.dim) : nullptr;
    hidden = args.saving && args.hidden ? take(n * args.hidden) : nullptr;
    y = args.saving && args.depth > 1 ? take(n * args.dim) : nullptr;
  }
};

// What flows back to it.
struct Gradients {
  float *qkv, *far, *out;

  static int64_t size(const BlockArguments &args) { return (args.length * 4 + args.far * 2) * width(args); }
  Gradients(const BlockArguments &args, int64_t place) {
    qkv = args.gradients + place * size(args);
    far = qkv + args.length * 3 * width(args);
    out = far + args.far * 2 * width(args);
  }
};

// Who works on which sample, and where it may make what is not kept.
struct Turn {
  Team team;
  int64_t sample, place;
};

// A sample in a block.
struct Sample {
  const BlockArguments &args;
  const BlockWeights &weights;
  Team team;
  int64_t dim = args.dim, w = width(args);
  HeadLayout one{args.heads, dim / args.heads, w / args.heads}, three{3 * one.heads, one.head_dim, one.step};
  Activations made;
  float *x, *y, *far_share;
  AttentionArguments attention{};

  Sample(const BlockArguments &args, const Turn &turn, int64_t block)
      : args(args), weights(args.weights[block]), team(turn.team), made(args, place(args, turn, block)) {
    int64_t n = args.length, b = turn.sample, before = b * n * dim;
    bool last = block == args.depth - 1;
    x = block == 0 ? args.x + before
        : args.saving ? Activations(args, place(args, turn, block - 1)).y
                      : args.y + before;
    y = args.saving && !last ? made.y : args.y + before;
    far_share = args.far_share + (args.same_far ? 0 : b * args.far * n);
    attention.kind = args.kind;
    attention.samples = 1;
    attention.heads = args.heads;
    attention.head_dim = one.head_dim;
    attention.queries = attention.keys = n;
    attention.far = args.far;
    attention.span = args.span;
    for (int64_t part = 0; part < 3; part++) attention.views[Q + part] = view(made.qkv, 3, part);
    for (int64_t part = 0; part < 2; part++) attention.views[FAR_K + part] = view(made.far, 2, part);
    attention.views[OUT] = view(made.out, 1, 0);
    if (args.log_weights) attention.log_weights = args.log_weights + b * n;
    if (args.far_log_weights) attention.far_log_weights = args.far_log_weights + b * args.far;
    if (args.saving || args.kind == STRIDED) {
      attention.row_max = made.row_max;
      attention.inv_sum = made.inv_sum;
    }
  }
  static int64_t place(const BlockArguments &args, const Turn &turn, int64_t block) {
    return args.saving ? turn.sample * args.depth + block : turn.place;
  }
  View view(float *at, int64_t parts, int64_t part) const { return {at + part * w, 0, one.step, parts * w}; }

  template <class Work>
  void each_tile(Work work) const {
    team.deal((args.length + TILE - 1) / TILE,
              [&](int64_t i) { work(within(i * TILE, (i + 1) * TILE, {0, args.length})); });
  }

  // Which share of row j is in far row f, if any.
  template <class Work>
  void each_share(Work work) const {
    static constexpr float NOTHING[LANES] = {};
    for (int64_t f = 0; f < args.far; f++) {
      const float *shares = far_share + f * args.length;
      for (int64_t j = 0; j < args.length; j++)
        if (j + LANES <= args.length && !std::memcmp(shares + j, NOTHING, sizeof NOTHING)) j += LANES - 1;  // most are
        else if (shares[j] != 0) work(shares[j], f, j);
    }
  }
};

// A sample on its way back through a block.
struct BackwardSample : Sample {
  Gradients gradients;
  float *grad_out, *dx;

  BackwardSample(const BlockArguments &args, const Turn &turn, int64_t block)
      : Sample(args, turn, block), gradients(args, turn.place) {
    int64_t before = turn.sample * args.length * dim;
    dx = args.dx + before;
    grad_out = block == args.depth - 1 ? args.grad_out + before : dx;
    attention.views[GRAD_OUT] = view(gradients.out, 1, 0);
    for (int64_t part = 0; part < 3; part++) attention.views[DQ + part] = view(gradients.qkv, 3, part);
    for (int64_t part = 0; part < 2; part++) attention.views[D_FAR_K + part] = view(gradients.far, 2, part);
  }
};

// Deals as many samples to each thread as to the others, so that what was just made is still in its cache, and nobody
// waits. Threads share the rest. `work` gets some turns, one behind another.
template <class Work>
void by_sample(const BlockArguments &args, const Team &all, Work work) {
  int64_t rest = args.samples % all.size, alone = args.samples / all.size;
  work(alone, [&](int64_t i) { return Turn{{}, all.me * alone + i, all.me}; });
  all.wait();
  if (!rest) return;
  int64_t i = all.me * rest / all.size;
  auto begin = [&](int64_t i) { return (i * all.size + rest - 1) / rest; };  // its first thread
  Team some = {all.me - begin(i), begin(i + 1) - begin(i), true};
  work(1, [&](int64_t) { return Turn{some, alone * all.size + i, i}; });
}

// ------------------------------------------------------------------------------------------------------- forward

// A block's matrices.
struct Matrices {
  Matrix qkv, out, first, second;
  Channels gain, shift;

  Matrices(const BlockArguments &args, const BlockWeights &w)
      : qkv(args.dim, 3 * args.dim, w.qkv, w.qkv_bias),
        out(args.dim, args.dim, w.out, w.out_bias),
        first(args.dim, args.hidden, w.first, w.first_bias),
        second(args.hidden, args.dim, w.second, w.second_bias),
        gain(args.dim, w.gain),
        shift(args.dim, w.shift) {}
};

void project(const Sample &sample, const Matrices &matrices) {
  sample.each_tile([&](Range range) {
    Tile<> x(sample.x, range, sample.dim);
    WideTile qkv = product<3 * MAX_DIM>(Normalized(x, sample.args.eps).x, matrices.qkv);
    qkv.store(sample.made.qkv, range.first, sample.three);
  });
}

// Whether rows are neither NaN nor infinite. If they are not, shares of 0 matter: 0 x NaN is NaN in the definition too.
bool all_finite(const float *rows, int64_t count, int64_t step, int64_t channels) {
  Vec zeros{};
  float rest = 0;
  for (int64_t r = 0; r < count; r++) {
    int64_t i = 0;
    for (; i + LANES <= channels; i += LANES) zeros += 0.0f * load(rows + r * step + i);
    for (; i < channels; i++) rest += 0 * rows[r * step + i];
  }
  return sum(zeros) + rest == 0;
}

void gather_far(const Sample &sample) {
  int64_t w = sample.w;
  sample.team.deal(2, [&](int64_t part) {
    float *far = sample.made.far + part * w;
    for (int64_t f = 0; f < sample.args.far; f++) std::fill_n(far + f * 2 * w, w, 0.0f);
    sample.each_share([&](float share, int64_t f, int64_t j) {
      add_row(far + f * 2 * w, sample.made.qkv + (j * 3 + 1 + part) * w, share, w);
    });
    if (!sample.args.far) return;
    const float *rows = sample.made.qkv + (1 + part) * w;
    if (all_finite(rows, sample.args.length, 3 * w, w)) return;
    for (int64_t f = 0; f < sample.args.far; f++)
      for (int64_t j = 0; j < sample.args.length; j++) add_row(far + f * 2 * w, rows + j * 3 * w, 0, w);
  });
}

void conclude(const Sample &sample, const Matrices &matrices) {
  const Activations &made = sample.made;
  sample.each_tile([&](Range range) {
    Tile<> mid = product(Tile<>(made.out, range, sample.one), matrices.out);
    mid.add(Tile<>(sample.x, range, sample.dim));
    if (!sample.args.hidden) return mid.store(sample.y, range.first);
    Normalized normed(mid, sample.args.eps);
    normed.x.map([&](Vec x, int64_t, int64_t i) { return x * matrices.gain[i] + matrices.shift[i]; });
    Tile<> hidden = product(normed.x, matrices.first);
    hidden.map([](Vec x, int64_t, int64_t) { return x < 0.0f ? Vec{} : x; });
    Tile<> y = product(hidden, matrices.second);
    y.add(mid);
    y.store(sample.y, range.first);
    if (!made.mid) return;
    mid.store(made.mid, range.first);
    hidden.store(made.hidden, range.first);
  });
}

void block_forward(const BlockArguments &args) {
  List<Matrices> matrices(args.depth);
  parallel(args.threads, [&](Team all) {
    all.deal(args.depth, [&](int64_t i) { matrices.make(i, args, args.weights[i]); });
    by_sample(args, all, [&](int64_t turns, auto turn) {
      for (int64_t block = 0; block < args.depth; block++)
        for (int64_t i = 0; i < turns; i++) {
          Sample sample(args, turn(i), block);
          project(sample, matrices[block]);
          gather_far(sample);
          attention_forward(sample.attention, sample.team);
          conclude(sample, matrices[block]);
        }
    });
  });
}

// -------------------------------------------------------------------------------------------------------- backward

// Of all weights, what one thread's tiles add.
struct BlockGradients {
  WeightGradients qkv, out, first, second;
  Channels gain, shift;

  explicit BlockGradients(const BlockArguments &args)
      : qkv(3 * args.dim, args.dim),
        out(args.dim, args.dim),
        first(args.hidden, args.dim),
        second(args.dim, args.hidden),
        gain(args.dim),
        shift(args.dim) {}

  void pour(const BlockWeights &to, bool anew) const {
    qkv.pour(to.qkv, to.qkv_bias, anew);
    out.pour(to.out, to.out_bias, anew);
    if (!first.m) return;
    first.pour(to.first, to.first_bias, anew);
    second.pour(to.second, to.second_bias, anew);
    put_row(to.gain, gain.at, out.m, anew);
    put_row(to.shift, shift.at, out.m, anew);
  }
};

// A block's matrices for the backward pass.
struct BackwardMatrices {
  Matrix qkv, out, first, second;
  Channels gain, shift;

  BackwardMatrices(const BlockArguments &args, const BlockWeights &w)
      : qkv(3 * args.dim, args.dim, w.qkv),
        out(args.dim, args.dim, w.out),
        first(args.hidden, args.dim, w.first),
        second(args.dim, args.hidden, w.second),
        gain(args.dim, w.gain),
        shift(args.dim, w.shift) {}
};

// The gradient of y becomes that of mid.
void backward_mlp(const BackwardSample &sample, const BackwardMatrices &matrices, Tile<> &grad, Range range,
                  BlockGradients &gradients) {
  Tile<> hidden(sample.made.hidden, range, sample.args.hidden);
  gradients.second.add(grad, hidden);
  Tile<> dhidden = product(grad, matrices.second);
  dhidden.map([&](Vec x, int64_t r, int64_t i) { return hidden.vec(r, i) <= 0.0f ? Vec{} : x; });
  Normalized normed(Tile<>(sample.made.mid, range, sample.dim), sample.args.eps);
  Tile<> weighed(range.count, sample.dim);
  weighed.map([&](Vec, int64_t r, int64_t i) { return normed.x.vec(r, i) * matrices.gain[i] + matrices.shift[i]; });
  gradients.first.add(dhidden, weighed);
  Tile<> dmid = product(dhidden, matrices.first);
  for (int64_t i = 0; i < sample.dim; i += LANES) {
    Vec gain = gradients.gain[i], shift = gradients.shift[i];
    for (int64_t r = 0; r < dmid.count; r++) {
      Vec x = dmid.vec(r, i);
      gain += x * normed.x.vec(r, i);
      shift += x;
      store(dmid[r] + i, x * matrices.gain[i]);
    }
    store(gradients.gain.at + i, gain);
    store(gradients.shift.at + i, shift);
  }
  normed.backward(dmid);
  grad.add(dmid);
}

// From y to attention's outputs; `dx` becomes the gradient of mid.
void backward_to_attention(const BackwardSample &sample, const BackwardMatrices &matrices, BlockGradients &gradients) {
  sample.each_tile([&](Range range) {
    Tile<> grad(sample.grad_out, range, sample.dim);
    if (sample.args.hidden) backward_mlp(sample, matrices, grad, range, gradients);
    grad.store(sample.dx, range.first);
    gradients.out.add(grad, Tile<>(sample.made.out, range, sample.one));
    product(grad, matrices.out).store(sample.gradients.out, range.first, sample.one);
  });
}

void scatter_far(const BackwardSample &sample) {
  int64_t w = sample.w;
  sample.team.deal(2, [&](int64_t part) {
    float *rows = sample.gradients.qkv + (1 + part) * w;
    const float *far = sample.gradients.far + part * w;
    sample.each_share([&](float share, int64_t f, int64_t j) {
      add_row(rows + j * 3 * w, far + f * 2 * w, share, w);
    });
    if (all_finite(far, sample.args.far, 2 * w, w)) return;
    for (int64_t f = 0; f < sample.args.far; f++)
      for (int64_t j = 0; j < sample.args.length; j++) add_row(rows + j * 3 * w, far + f * 2 * w, 0, w);
  });
}

// From queries, keys and values to x.
void backward_to_tokens(const BackwardSample &sample, const BackwardMatrices &matrices, BlockGradients &gradients) {
  sample.each_tile([&](Range range) {
    Normalized normed(Tile<>(sample.x, range, sample.dim), sample.args.eps);
    WideTile qkv(sample.gradients.qkv, range, sample.three);
    gradients.qkv.add(qkv, normed.x);
    Tile<> dx = product(qkv, matrices.qkv);
    normed.backward(dx);
    dx.add(Tile<>(sample.dx, range, sample.dim));
    dx.store(sample.dx, range.first);
  });
}

void block_backward(const BlockArguments &args) {
  int64_t threads = std::max<int64_t>(args.threads, 1);
  List<BackwardMatrices> matrices(args.depth);
  List<BlockGradients> gradients(threads * args.depth);
  parallel(threads, [&](Team all) {
    all.deal(args.depth, [&](int64_t i) { matrices.make(i, args, args.weights[i]); });
    int64_t mine = all.me * args.depth;
    for (int64_t i = 0; i < args.depth; i++) gradients.make(mine + i, args);
    by_sample(args, all, [&](int64_t turns, auto turn) {
      for (int64_t block = args.depth - 1; block >= 0; block--)
        for (int64_t i = 0; i < turns; i++) {
          BackwardSample sample(args, turn(i), block);
          backward_to_attention(sample, matrices[block], gradients[mine + block]);
          attention_backward(sample.attention, sample.team);
          scatter_far(sample);
          backward_to_tokens(sample, matrices[block], gradients[mine + block]);
        }
    });
    all.wait();
    all.deal(args.depth, [&](int64_t i) {  // in the order of threads, or rounding would change from run to run
      for (int64_t t = 0; t < all.size; t++) gradients[t * args.depth + i].pour(args.dweights[i], t == 0);
    });
  });
}

}  // namespace

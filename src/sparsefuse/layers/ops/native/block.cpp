// Pre-norm blocks, one behind another, in one call, forward and back, around the attention of attention.cpp. Each:
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

struct BlockCall {     // in the order of `block.py`
  float *made, *flow;  // room for what samples make (`Made`) and for what flows back in them (`Flow`)
  int64_t learning;    // whether what is made is kept, by sample and block; else by thread
  Kind kind;
  int64_t depth;  // blocks
  int64_t samples, length, heads, far, span, threads;
  double eps;
  float *logs, *far_logs, *share;  // (B, N), (B, F): as in `Call`; (B or 1, F, N): of which rows far keys are made
  int64_t shared;                  // whether samples have the same `share`
  float *x, *y;                    // (B, N, D)
  Tensors *weights;                // of each block
  float *grad, *dx;                // the way back: `grad` flows to y
  Tensors *slopes;

  bool last(int64_t block) const { return block == depth - 1; }
};

// ---------------------------------------------------------------------------------------------------- one sample

// What a sample makes on its way through a block.
struct Made {
  float *rows, *far;          // queries, keys and values (N, 3 D); keys and values that all see (F, 2 D)
  float *read, *top, *share;  // as in `Call`
  float *mid, *hidden;        // (N, D), (N, H); only for the way back, and with an MLP
  float *y;                   // (N, D); only for the way back, and if a block comes next

  static int64_t size(const BlockCall &call) {
    int64_t kept = call.learning ? (H ? D + H : 0) + (call.depth > 1 ? D : 0) : 0;
    return call.length * (4 * D + 2 * call.heads + kept) + call.far * 2 * D;
  }
  Made(const BlockCall &call, int64_t place) {
    int64_t n = call.length;
    float *at = call.made + place * size(call);
    auto take = [&](int64_t count) { return std::exchange(at, at + count); };
    rows = take(n * 3 * D);
    far = take(call.far * 2 * D);
    read = take(n * D);
    top = take(call.heads * n);
    share = take(call.heads * n);
    mid = call.learning && H ? take(n * D) : nullptr;
    hidden = call.learning && H ? take(n * H) : nullptr;
    y = call.learning && call.depth > 1 ? take(n * D) : nullptr;
  }
};

// What flows back to it.
struct Flow {
  float *rows, *far, *read;

  static int64_t size(const BlockCall &call) { return call.length * 4 * D + call.far * 2 * D; }
  Flow(const BlockCall &call, int64_t place) {
    rows = call.flow + place * size(call);
    far = rows + call.length * 3 * D;
    read = far + call.far * 2 * D;
  }
};

// Who works on which sample, and where it may make what is not kept.
struct Turn {
  Team team;
  int64_t sample, place;
};

// A sample in a block.
struct Sample {
  const BlockCall &call;
  const Tensors &weights;
  Team team;
  Made made;
  float *x, *y, *share;
  Call attention{};

  Sample(const BlockCall &call, const Turn &turn, int64_t block)
      : call(call), weights(call.weights[block]), team(turn.team), made(call, place(call, turn, block)) {
    int64_t n = call.length, b = turn.sample, before = b * n * D;
    x = block == 0 ? call.x + before : call.learning ? Made(call, place(call, turn, block - 1)).y : call.y + before;
    y = call.learning && !call.last(block) ? made.y : call.y + before;
    share = call.share + (call.shared ? 0 : b * call.far * n);
    attention.kind = call.kind;
    attention.samples = 1;
    attention.heads = call.heads;
    attention.queries = attention.keys = n;
    attention.far = call.far;
    attention.span = call.span;
    attention.q = view(made.rows, 3, 0);
    attention.k = view(made.rows, 3, 1);
    attention.v = view(made.rows, 3, 2);
    attention.far_k = view(made.far, 2, 0);
    attention.far_v = view(made.far, 2, 1);
    attention.x = view(made.read, 1, 0);
    if (call.logs) attention.weights = call.logs + b * n;
    if (call.far_logs) attention.far_weights = call.far_logs + b * call.far;
    if (call.learning || call.kind == STRIDED) {
      attention.top = made.top;
      attention.share = made.share;
    }
  }
  static int64_t place(const BlockCall &call, const Turn &turn, int64_t block) {
    return call.learning ? turn.sample * call.depth + block : turn.place;
  }
  static View view(float *at, int64_t parts, int64_t part) { return {at + part * D, 0, C, parts * D}; }

  template <class Work>
  void each_tile(Work work) const {
    team.deal((call.length + TILE - 1) / TILE,
              [&](int64_t i) { work(within(i * TILE, (i + 1) * TILE, {0, call.length})); });
  }

  // Which share of keys and values, in rows, are those that all see: `apply` gets the share and where both are.
  template <class Do>
  void each_share(Do apply) const {
    static constexpr float NOTHING[LANES] = {};
    team.deal(2, [&](int64_t part) {
      for (int64_t f = 0; f < call.far; f++) {
        const float *of = share + f * call.length;
        for (int64_t j = 0; j < call.length; j++)
          if (j + LANES <= call.length && !std::memcmp(of + j, NOTHING, sizeof NOTHING)) j += LANES - 1;  // as most are
          else if (of[j] != 0) apply(of[j], (f * 2 + part) * D, (j * 3 + 1 + part) * D);
      }
    });
  }
};

// A sample on its way back through a block.
struct Returning : Sample {
  Flow flow;
  float *grad, *dx;

  Returning(const BlockCall &call, const Turn &turn, int64_t block)
      : Sample(call, turn, block), flow(call, turn.place) {
    int64_t before = turn.sample * call.length * D;
    dx = call.dx + before;
    grad = call.last(block) ? call.grad + before : dx;
    attention.grad = view(flow.read, 1, 0);
    attention.dq = view(flow.rows, 3, 0);
    attention.dk = view(flow.rows, 3, 1);
    attention.dv = view(flow.rows, 3, 2);
    attention.d_far_k = view(flow.far, 2, 0);
    attention.d_far_v = view(flow.far, 2, 1);
  }
};

// Deals as many samples to each thread as to the others, so that what was just made is still in its cache, and nobody
// waits. Threads share the rest.
template <class Work>
void by_sample(const BlockCall &call, const Team &all, Work work) {
  int64_t rest = call.samples % all.size, alone = call.samples / all.size;
  std::vector<Turn> turns;
  for (int64_t i = 0; i < alone; i++) turns.push_back({{}, all.me * alone + i, all.me});
  work(turns);
  all.wait();
  if (!rest) return;
  int64_t i = all.me * rest / all.size;
  auto begin = [&](int64_t i) { return (i * all.size + rest - 1) / rest; };  // its first thread
  Team some = {all.me - begin(i), begin(i + 1) - begin(i), true};
  work(std::vector<Turn>{{some, alone * all.size + i, i}});
}

// ------------------------------------------------------------------------------------------------------- forward

// A block's matrices.
struct Matrices {
  Matrix<D, 3 * D> qkv;
  Matrix<D, D> out;
  Matrix<D, W> first;
  Matrix<W, D> second;

  explicit Matrices(const Tensors &w)
      : qkv(w.qkv, w.qkv_bias), out(w.out, w.out_bias), first(w.first, w.first_bias), second(w.second, w.second_bias) {}
};

void project(const Sample &sample, const Matrices &matrices) {
  sample.each_tile([&](Range range) {
    if (range.first == 0) std::fill(sample.made.far, sample.made.far + sample.call.far * 2 * D, 0.0f);
    Tile<3 * D> rows = product(Normal(Tile<D>(sample.x, range), sample.call.eps).x, matrices.qkv);
    rows.store(sample.made.rows, range.first);
  });
}

void gather_far(const Sample &sample) {
  sample.each_share([&](float share, int64_t far, int64_t row) {
    for (int i = 0; i < D; i++) sample.made.far[far + i] += share * sample.made.rows[row + i];
  });
}

void conclude(const Sample &sample, const Matrices &matrices) {
  const Tensors &w = sample.weights;
  const Made &made = sample.made;
  sample.each_tile([&](Range range) {
    Tile<D> mid = product(Tile<D>(made.read, range), matrices.out);
    mid.add(Tile<D>(sample.x, range));
    if (!H) return mid.store(sample.y, range.first);
    Tile<D> normed = Normal(mid, sample.call.eps).x;
    normed.map([&](float x, int64_t, int i) { return x * w.gain[i] + w.shift[i]; });
    Tile<W> hidden = product(normed, matrices.first);
    hidden.map([](float x, int64_t, int) { return std::max(x, 0.0f); });
    Tile<D> y = product(hidden, matrices.second);
    y.add(mid);
    y.store(sample.y, range.first);
    if (!made.mid) return;
    mid.store(made.mid, range.first);
    hidden.store(made.hidden, range.first);
  });
}

}  // namespace

extern "C" const int64_t block_forward_numbers = sizeof(BlockCall) / sizeof(int64_t);

// Floats to have ready at `made`, for each sample or thread.
extern "C" int64_t block_made(const BlockCall &call) { return Made::size(call); }

extern "C" void block_forward(const BlockCall &call) {
  std::vector<std::unique_ptr<Matrices>> matrices(call.depth);
#pragma omp parallel num_threads(call.threads)
  {
    Team all = Team::all();
    all.deal(call.depth, [&](int64_t i) { matrices[i] = std::make_unique<Matrices>(call.weights[i]); });
    by_sample(call, all, [&](const std::vector<Turn> &turns) {
      for (int64_t i = 0; i < call.depth; i++)
        for (const Turn &turn : turns) {
          Sample sample(call, turn, i);
          project(sample, *matrices[i]);
          gather_far(sample);
          read(sample.attention, sample.team);
          conclude(sample, *matrices[i]);
        }
    });
  }
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

// A block's matrices on the way back.
struct BackMatrices {
  Matrix<3 * D, D> qkv;
  Matrix<D, D> out;
  Matrix<W, D> first;
  Matrix<D, W> second;

  explicit BackMatrices(const Tensors &w) : qkv(w.qkv), out(w.out), first(w.first), second(w.second) {}
};

// What flows to y becomes what flows to mid.
void through_mlp(const Returning &sample, const BackMatrices &matrices, Tile<D> &grad, Range range, Share &share) {
  const Tensors &w = sample.weights;
  Tile<W> hidden(sample.made.hidden, range);
  share.second.add(grad, hidden);
  Tile<W> steep = product(grad, matrices.second);
  steep.map([&](float x, int64_t r, int i) { return hidden.at[r][i] > 0 ? x : 0; });
  Normal normal(Tile<D>(sample.made.mid, range), sample.call.eps);
  Tile<D> weighed = normal.x;
  weighed.map([&](float x, int64_t, int i) { return x * w.gain[i] + w.shift[i]; });
  share.first.add(steep, weighed);
  Tile<D> flow = product(steep, matrices.first);
  flow.map([&](float x, int64_t r, int i) {
    share.gain[i] += x * normal.x.at[r][i];
    share.shift[i] += x;
    return x * w.gain[i];
  });
  normal.back(flow);
  grad.add(flow);
}

// From y to what was read; `dx` becomes what flows to mid.
void back_to_read(const Returning &sample, const BackMatrices &matrices, Share &share) {
  sample.each_tile([&](Range range) {
    Tile<D> grad(sample.grad, range);
    if (H) through_mlp(sample, matrices, grad, range, share);
    grad.store(sample.dx, range.first);
    share.out.add(grad, Tile<D>(sample.made.read, range));
    product(grad, matrices.out).store(sample.flow.read, range.first);
  });
}

void scatter_far(const Returning &sample) {
  sample.each_share([&](float share, int64_t far, int64_t row) {
    for (int i = 0; i < D; i++) sample.flow.rows[row + i] += share * sample.flow.far[far + i];
  });
}

// From queries, keys and values to x.
void back_to_tokens(const Returning &sample, const BackMatrices &matrices, Share &share) {
  sample.each_tile([&](Range range) {
    Normal normal(Tile<D>(sample.x, range), sample.call.eps);
    Tile<3 * D> rows(sample.flow.rows, range);
    share.qkv.add(rows, normal.x);
    Tile<D> flow = product(rows, matrices.qkv);
    normal.back(flow);
    flow.add(Tile<D>(sample.dx, range));
    flow.store(sample.dx, range.first);
  });
}

}  // namespace

// Floats to have ready at `flow`, for each thread.
extern "C" int64_t block_flow(const BlockCall &call) { return Flow::size(call); }

extern "C" void block_backward(const BlockCall &call) {
  std::vector<std::unique_ptr<BackMatrices>> matrices(call.depth);
  std::vector<std::unique_ptr<Share>> shares(call.threads * call.depth);
#pragma omp parallel num_threads(call.threads)
  {
    Team all = Team::all();
    all.deal(call.depth, [&](int64_t i) { matrices[i] = std::make_unique<BackMatrices>(call.weights[i]); });
    std::unique_ptr<Share> *mine = &shares[all.me * call.depth];
    for (int64_t i = 0; i < call.depth; i++) mine[i] = std::make_unique<Share>();
    by_sample(call, all, [&](const std::vector<Turn> &turns) {
      for (int64_t i = call.depth - 1; i >= 0; i--)
        for (const Turn &turn : turns) {
          Returning sample(call, turn, i);
          back_to_read(sample, *matrices[i], *mine[i]);
          back(sample.attention, sample.team);
          scatter_far(sample);
          back_to_tokens(sample, *matrices[i], *mine[i]);
        }
    });
    all.wait();
    all.deal(call.depth, [&](int64_t i) {  // in the order of threads, or rounding would change from run to run
      for (int64_t t = 0; t < all.size; t++) shares[t * call.depth + i]->pour(call.slopes[i], t == 0);
    });
  }
}

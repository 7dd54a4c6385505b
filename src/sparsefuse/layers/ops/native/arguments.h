// What Python calls the library with: mirrored, field by field, in `arguments.py`. Whoever changes one changes the
// other, and VERSION.

#pragma once

#include <cstdint>

extern "C" {

constexpr int64_t VERSION = 1;

enum Status : int32_t { DONE, OTHER_LAYOUT, UNSUPPORTED };

struct View {  // (B, H, N, C), channels side by side
  float *data;
  int64_t sample, head, token;  // how far apart they are
};

enum Kind : int64_t { DENSE, LOCAL, STRIDED };

enum AttentionView { Q, K, V, FAR_K, FAR_V, OUT, GRAD_OUT, DQ, DK, DV, D_FAR_K, D_FAR_V, NUM_VIEWS };

struct AttentionArguments {
  int64_t size, version;
  Kind kind;
  int64_t samples, heads, head_dim, queries, keys, far, span, threads;
  float *log_weights, *far_log_weights;  // (B, N), (B, F): of keys, to base 2; none if all weights are 1
  float *row_max, *inv_sum;  // (B, H, N): largest score; one over the sum of powers, 0 where every key is masked
  View views[NUM_VIEWS];  // in the order of `AttentionView`
};

struct BlockWeights {  // as nn.Linear and nn.LayerNorm have them
  float *qkv, *qkv_bias, *out, *out_bias, *gain, *shift, *first, *first_bias, *second, *second_bias;
};

struct BlockArguments {
  int64_t size, version;
  Kind kind;
  int64_t depth;  // blocks, one behind another
  int64_t samples, length, dim, heads, hidden, far, span, threads;
  int64_t saving;            // whether activations are kept for the backward pass, by sample and block; else by thread
  int64_t same_far;          // whether samples have the same `far_share`
  double eps;
  float *log_weights, *far_log_weights;  // as in `AttentionArguments`
  float *far_share;                      // (B or 1, F, N): of which rows far keys are made
  float *activations, *gradients;        // room for `Activations` and `Gradients`
  float *x, *y;                          // (B, N, D)
  const BlockWeights *weights;           // of each block
  float *grad_out, *dx;
  const BlockWeights *dweights;
};

struct EmbedArguments {
  int64_t size, version;
  int64_t samples, length, features, dim, positions, threads;
  float *x, *y;                           // (B, N, F), (B, 1 + N, D)
  float *weight, *bias, *cls, *position;  // (D, F), (D), (D), (positions, D)
  float *grad_out, *d_weight, *d_bias, *d_cls, *d_position;
};

}  // extern "C"

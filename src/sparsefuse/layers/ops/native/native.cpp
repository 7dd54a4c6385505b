// The library: attention with narrow heads, blocks around it, and the embedding, for one instruction set. `arguments.h`
// says what its functions are called with; they say what `Status` it came to.

#ifndef LANES
#error "LANES must be 8 (AVX2) or 16 (AVX-512)"
#endif

#include "block.h"
#include "embed.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

bool supported(const AttentionArguments &args) { return 0 < args.head_dim && args.head_dim <= MAX_HEAD_DIM; }

bool supported(const BlockArguments &args) {
  if (args.heads <= 0 || args.dim % args.heads || args.dim / args.heads > MAX_HEAD_DIM) return false;
  return 0 < args.dim && args.dim <= MAX_DIM && 0 <= args.hidden && args.hidden <= MAX_DIM;
}

bool supported(const EmbedArguments &args) { return 0 < args.dim && args.dim <= MAX_DIM; }

template <class Arguments, class Work>
Status run(const Arguments &args, Work work) {
  if (args.size != sizeof(Arguments) || args.version != VERSION) return OTHER_LAYOUT;
  if (!supported(args)) return UNSUPPORTED;
  work();
  return DONE;
}

}  // namespace

EXPORT void use_openmp(const OpenMP &functions) { openmp = functions; }

EXPORT Status attention_forward(const AttentionArguments &args) {
  return run(args, [&] {
    with_padded_heads(args, 5, 1, [](const AttentionArguments &args) {
      parallel(args.threads, [&](Team team) { attention_forward(args, team); });
    });
  });
}

EXPORT Status attention_backward(const AttentionArguments &args) {
  return run(args, [&] {
    with_padded_heads(args, 7, 5, [](const AttentionArguments &args) {
      parallel(args.threads, [&](Team team) { attention_backward(args, team); });
    });
  });
}

// Floats to have ready at `activations`, for each sample and block or each thread, and at `gradients`, for each thread.
EXPORT Status block_room(const BlockArguments &args, int64_t *room) {
  return run(args, [&] {
    room[0] = Activations::size(args);
    room[1] = Gradients::size(args);
  });
}

EXPORT Status blocks_forward(const BlockArguments &args) { return run(args, [&] { block_forward(args); }); }

EXPORT Status blocks_backward(const BlockArguments &args) { return run(args, [&] { block_backward(args); }); }

EXPORT Status embed_forward(const EmbedArguments &args) {
  return run(args, [&] { Embedding{args}.forward(); });
}

EXPORT Status embed_backward(const EmbedArguments &args) {
  return run(args, [&] { Embedding{args}.backward(); });
}

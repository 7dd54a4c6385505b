// Attention with narrow heads, forward and backward (FlashAttention, Dao et al. 2022; no score is kept).
//
// Forward, a vector's lanes are queries, each with its own softmax, and one key after another is read by all of them;
// backward they are keys, read by one query after another. So nothing is summed across lanes, and heads may be as
// narrow as they like. Only CLS, a query alone, has its keys in lanes forward too.
//
// Scores are powers of two. Threads share queries forward, heads backward. What is NaN or infinite in the definition
// (plain softmax attention, masked keys with a score of -1e4) is NaN or infinite here; in sparse patterns it may be for
// neighbours too that share a vector with a query that sees it.

#pragma once

#include <numeric>

#include "patterns.h"
#include "threads.h"

namespace {

const float LOG2E = 1 / std::log((float)2);

template <int C>
class Attention {
  const AttentionArguments &args;
  // Of scores, as powers of e and of two. Channels of 0 that make heads wider do not count.
  const float temperature = 1 / std::sqrt((float)args.head_dim), scale = temperature * LOG2E;

 public:
  explicit Attention(const AttentionArguments &args) : args(args) {}
  void forward(Team team) const;
  void backward(Team team) const;

 private:
  // Groups of all heads.
  template <class Work>
  void each(Team team, int64_t groups, Work work) const {
    team.deal(args.samples * args.heads * groups, [&](int64_t i) {
      int64_t sequence = i / groups;
      work(Head{args, sequence / args.heads, sequence % args.heads}, i % groups);
    });
  }
  struct Queries;
  struct KeyBlock;
  struct GradOut;
  Queries alone(const float *q, Keys keys, Range range) const;
};

// --------------------------------------------------------------------------------------------------------- forward

constexpr int CHUNK = 16;  // keys between two looks at the largest score

// Queries in lanes, and what they have attended to.
template <int C>
struct Attention<C>::Queries {
  Vec q[C]{}, out[C]{}, sum{}, row_max = UNSEEN;
  Positions positions;

  void attend(Keys keys, Range range, Band band) {
    in_chunks<CHUNK>(range, [&](int64_t first, auto count) {
      band.all() ? chunk<false>(keys, first, count, band) : chunk<true>(keys, first, count, band);
    });
  }

  template <bool BAND, class Count>
  void chunk(Keys keys, int64_t first, Count count, Band band) {
    Vec scores[CHUNK], most = row_max;
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      scores[i] = dot(q, keys.k[j], Vec{});
      if (keys.log_weights.at) scores[i] += keys.log_weights[j];
      if (BAND) scores[i] = positions.masked(scores[i], j, band);
      most = larger(most, scores[i]);
    }
    rescale(most);
    Vec base = at_least(row_max);
    for (int64_t i = 0; i < count; i++) sum += scores[i] = exp2(scores[i] - base);
    accumulate(out, scores, keys.v, first, count);
  }

  // A NaN stays: whoever has the score NaN has NaN in all sums, now or later.
  static Vec at_least(Vec score) { return score < LEAST ? Vec{} + LEAST : score; }

  // To another largest score.
  void rescale(Vec most) {
    Vec factor = exp2(at_least(row_max) - at_least(most));
    row_max = most;
    sum *= factor;
    for (Vec &vec : out) vec *= factor;
  }

  // Where all keys are masked, 0; where all scores are -inf, NaN, as in the definition. `sum` becomes one over the sum.
  void finish() {
    sum = sum == 0.0f ? Vec{} : 1.0f / sum;
    sum = row_max == UNSEEN ? Vec{} + NAN : sum;
    row_max = at_least(row_max);
    for (Vec &vec : out) vec *= sum;
  }
};

// Keys in lanes, and what one query attends to: each lane by itself, then all together.
template <int C>
typename Attention<C>::Queries Attention<C>::alone(const float *q, Keys keys, Range range) const {
  Queries query{.positions = Positions(0)};
  for (int64_t first = range.first; first < range.end(); first += LANES) {
    Range some = within(first, first + LANES, range);
    Vec k[C], v[C];
    load(k, keys.k, some, scale);
    load(v, keys.v, some);
    Vec score = dot(k, q, keys.lanes(some));
    query.rescale(larger(query.row_max, score));
    Vec p = exp2(score - query.at_least(query.row_max));
    query.sum += p;
    for (int c = 0; c < C; c++) query.out[c] += p * v[c];
  }
  float most = query.row_max[0];
  for (int i = 1; i < LANES; i++) most = std::max(most, query.row_max[i]);
  query.rescale(Vec{} + most);
  query.sum = Vec{} + sum(query.sum);
  for (Vec &vec : query.out) vec = Vec{} + sum(vec);
  query.finish();
  return query;
}

template <int C>
void Attention<C>::forward(Team team) const {
  Pattern pattern{args, args.queries};
  auto keep = [&](Head head, Group group, const Queries &queries) {
    store(queries.out, head.rows(OUT).every(group.comb), group.rows);
    if (!args.row_max) return;
    store(queries.row_max, head.line(args.row_max).every(group.comb), group.rows);
    store(queries.sum, head.line(args.inv_sum).every(group.comb), group.rows);
  };
  each(team, pattern.groups(), [&](Head head, int64_t place) {
    Group group = pattern.group(place);
    if (!group.rows.count) return;
    if (place < pattern.cls) return keep(head, group, alone(head.rows(Q)[0], head.near(), {0, args.keys}));
    Queries queries{.positions = Positions(group.rows.first)};
    if (!args.keys) queries.row_max = Vec{} + LEAST;  // no key is as if all were masked
    load(queries.q, head.rows(Q), group.rows, scale);
    head.seen_by(pattern, place, group.rows, [&](Keys keys, Range some, Band band) {
      queries.attend(keys, some, band);
    });
    if (args.kind != STRIDED) queries.finish();
    keep(head, group, queries);
  });
  each(team, pattern.residues(), [&](Head head, int64_t place) {  // go on with what was kept
    Group group = pattern.residue(place);
    if (!group.rows.count) return;
    Queries queries{.positions = Positions(group.rows.first)};
    load(queries.q, head.rows(Q).every(group.comb), group.rows, scale);
    load(queries.out, head.rows(OUT).every(group.comb), group.rows);
    queries.row_max = load(head.line(args.row_max).every(group.comb), group.rows);
    queries.sum = load(head.line(args.inv_sum).every(group.comb), group.rows);
    queries.attend(head.near().every(group.comb), pattern.of_residue(group.comb), {1, INT64_MAX});
    queries.finish();
    keep(head, group, queries);
  });
}

// -------------------------------------------------------------------------------------------------------- backward

// Of a head's queries, what flows back to their outputs, over the sums of powers: once and not for every key.
template <int C>
struct Attention<C>::GradOut {
  Rows q;
  Line row_max;
  Buffer grad, delta;  // delta: of each query, the sum of grad x out

  GradOut(Head head, Comb comb, Range all)
      : q(head.rows(Q).every(comb)),
        row_max(head.line(head.args.row_max).every(comb)),
        grad(all.count * C),
        delta(all.count) {
    const AttentionArguments &args = head.args;
    for (int64_t first = 0; first < all.count; first += LANES) {
      Range some = within(first, first + LANES, all);
      Vec scaled[C], out[C], deltas{}, inv_sum = load(head.line(args.inv_sum).every(comb), some);
      load(scaled, head.rows(GRAD_OUT).every(comb), some);
      load(out, head.rows(OUT).every(comb), some);
      for (int c = 0; c < C; c++) {
        scaled[c] *= inv_sum;
        deltas += scaled[c] * out[c];
      }
      store(scaled, {grad, C}, some);
      store(deltas, {delta}, some);
    }
  }
};

// Gradients of queries, to which keys add: a line of each channel, so that a vector holds neighbours.
template <int C>
struct QueryGradients {
  int64_t step;
  Buffer room;
  float *at;

  // `first`: the query where vectors begin
  QueryGradients(int64_t count, int64_t first)
      : step((count / LANES + 3) * LANES), room(C * step, true), at(room + LANES - first) {}
  float *operator()(int c, int64_t query) { return at + c * step + query; }

  void load(Vec (&vecs)[C], int64_t first) {
    for (int c = 0; c < C; c++) std::memcpy(&vecs[c], (*this)(c, first), sizeof vecs[c]);
  }
  void store(const Vec (&vecs)[C], int64_t first) {
    for (int c = 0; c < C; c++) std::memcpy((*this)(c, first), &vecs[c], sizeof vecs[c]);
  }
  // Gives `work` the gradients of some queries after another.
  template <class Work>
  void each(Range range, Work work) {
    for (int64_t first = range.first; first < range.end(); first += LANES) {
      Vec vecs[C];
      load(vecs, first);
      work(vecs, within(first, first + LANES, range));
    }
  }
};

// Keys and values in lanes, and their gradients.
template <int C>
struct Attention<C>::KeyBlock {
  Rows rows;  // the keys
  Range range;
  Vec k[C], v[C], log_weights, dk[C]{}, dv[C]{};
  Positions positions;

  KeyBlock(Keys keys, Range range, float scale) : rows(keys.k), range(range), positions(range.first) {
    load(k, keys.k, range, scale);
    load(v, keys.v, range);
    log_weights = keys.lanes(range);
  }

  void attended_by(const GradOut &from, Range some, QueryGradients<C> &dq, Band band = ALL) {
    in_chunks<LANES>(some, [&](int64_t first, auto count) {
      Vec dscores[LANES];
      band.all() ? chunk<false>(dscores, from, first, count, band) : chunk<true>(dscores, from, first, count, band);
      for (int64_t i = count; i < LANES; i++) dscores[i] = Vec{};
      transpose(dscores);
      Vec sums[C];
      dq.load(sums, first);
      counted(range, [&](auto count) { accumulate(sums, dscores, rows, range.first, count); });
      dq.store(sums, first);
    });
  }

  // By the first query alone, whose gradient is not yet summed over lanes.
  void attended_by_first(const GradOut &from, Vec (&dq)[C]) {
    Vec dscores[1];
    chunk<false>(dscores, from, 0, std::integral_constant<int64_t, 1>{}, ALL);
    for (int c = 0; c < C; c++) dq[c] += dscores[0] * k[c];
  }

  template <bool BAND, class Count>
  void chunk(Vec *dscores, const GradOut &from, int64_t first, Count count, Band band) {
    Rows grad{from.grad, C};
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      Vec score = dot(k, from.q[j], log_weights - from.row_max[j]);
      if (BAND) score = positions.masked(score, j, band);
      dscores[i] = exp2(score);
    }
    accumulate(dv, dscores, grad, first, count);
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      dscores[i] *= dot(v, grad[j], Vec{} - from.delta[j]);
    }
    accumulate(dk, dscores, from.q, first, count);
  }
};

template <int C>
void Attention<C>::backward(Team team) const {
  Pattern pattern{args, args.keys};
  int64_t early = args.kind == LOCAL ? args.span / 2 : 0;
  each(team, 1, [&](Head head, int64_t) {
    GradOut from(head, {}, {0, args.queries});
    QueryGradients<C> dq(args.queries, pattern.cls);
    Vec cls[C]{};
    for (int64_t place = 0; place < pattern.groups(early); place++) {
      Range rows = pattern.group(place, early).rows;
      if (!rows.count) continue;
      KeyBlock keys(head.near(), rows, scale);
      if (pattern.cls) keys.attended_by_first(from, cls);
      head.seeing(pattern, place, rows, [&](Range some, Band band) { keys.attended_by(from, some, dq, band); });
      store(keys.dk, head.rows(DK), rows, temperature);
      store(keys.dv, head.rows(DV), rows);
    }
    for (int64_t first = 0; first < args.far; first += LANES) {
      Range rows = within(first, first + LANES, {0, args.far});
      KeyBlock keys(head.far(), rows, scale);
      keys.attended_by(from, pattern.tokens, dq);
      store(keys.dk, head.rows(D_FAR_K), rows, temperature);
      store(keys.dv, head.rows(D_FAR_V), rows);
    }
    float *first = head.rows(DQ)[0];
    for (int c = 0; pattern.cls && c < C; c++) first[c] = sum(cls[c]) * (temperature / scale);
    dq.each({pattern.cls, args.queries - pattern.cls},
            [&](const Vec(&vecs)[C], Range some) { store(vecs, head.rows(DQ), some, temperature); });
  });
  int64_t residues = args.kind == STRIDED ? args.span : 0;
  each(team, residues, [&](Head head, int64_t first) {
    Comb comb = {pattern.cls + first, args.span};
    Range all = pattern.of_residue(comb);
    GradOut from(head, comb, all);
    QueryGradients<C> dq(all.count, 0);
    Keys near = head.near().every(comb);
    for (int64_t first = 0; first < all.count; first += LANES) {
      Range some = within(first, first + LANES, all);
      KeyBlock keys(near, some, scale);
      keys.attended_by(from, all, dq, {1, INT64_MAX});
      add(keys.dk, head.rows(DK).every(comb), some, temperature);
      add(keys.dv, head.rows(DV).every(comb), some, 1);
    }
    dq.each(all, [&](const Vec(&vecs)[C], Range some) { add(vecs, head.rows(DQ).every(comb), some, temperature); });
  });
}

// --------------------------------------------------------------------------------------------------- heads' widths

constexpr int64_t MAX_HEAD_DIM = 16;

// Channels that a head has in memory: those behind its own are 0.
constexpr int64_t head_step(int64_t head_dim) { return head_dim <= 4 ? 4 : head_dim <= 8 ? 8 : 16; }

// Attention by the template for heads that are `head_step` wide.
template <class Work>
void with_attention(const AttentionArguments &args, Work work) {
  switch (head_step(args.head_dim)) {
    case 4: return work(Attention<4>(args));
    case 8: return work(Attention<8>(args));
    default: return work(Attention<16>(args));
  }
}

void attention_forward(const AttentionArguments &args, Team team) {
  with_attention(args, [&](const auto &attention) { attention.forward(team); });
}
void attention_backward(const AttentionArguments &args, Team team) {
  with_attention(args, [&](const auto &attention) { attention.backward(team); });
}

// Calls `work` with a call whose heads are as wide as they have to be: with copies of its rows, if they are not. Of the
// views from q on, `inputs` are read and `outputs` written.
template <class Work>
void with_padded_heads(const AttentionArguments &args, int inputs, int outputs, Work work) {
  int64_t step = head_step(args.head_dim);
  if (step == args.head_dim) return work(args);
  const int64_t rows[] = {args.queries, args.keys, args.keys, args.far, args.far, args.queries,  // q .. out
                          args.queries, args.queries, args.keys, args.keys, args.far, args.far};
  auto copy = [&](View from, View to, int64_t rows, int64_t channels) {
    for (int64_t i = 0; i < args.samples * args.heads * rows; i++) {
      int64_t row = i % rows, head = i / rows % args.heads, sample = i / rows / args.heads;
      const float *source = from.data + sample * from.sample + head * from.head + row * from.token;
      float *target = to.data + sample * to.sample + head * to.head + row * to.token;
      for (int64_t c = 0; c < channels; c++) target[c] = c < args.head_dim ? source[c] : 0;
    }
  };
  int64_t all_rows = std::accumulate(rows, rows + inputs + outputs, int64_t(0));
  Buffer room(all_rows * args.samples * args.heads * step);
  AttentionArguments padded = args;
  const View *given = args.views;
  View *copies = padded.views;
  float *at = room;
  for (int i = 0; i < inputs + outputs; i++) {
    copies[i] = {at, args.heads * rows[i] * step, rows[i] * step, step};
    at += args.samples * args.heads * rows[i] * step;
    if (i < inputs) copy(given[i], copies[i], rows[i], step);
  }
  work(padded);
  for (int i = inputs; i < inputs + outputs; i++) copy(copies[i], given[i], rows[i], args.head_dim);
}

}  // namespace

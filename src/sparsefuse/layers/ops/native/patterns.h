// Who sees what (torch/attention.py says it in full), and where it lies:
//
//   dense    all see all
//   local    row 0, CLS, sees all; tokens see their block of l, l / 2 tokens either side, and the far keys: CLS, means
//   strided  row 0, CLS, sees all; tokens see it, those less than l away, and those a multiple of l away

#pragma once

#include "lanes.h"

namespace {

// ----------------------------------------------------------------------------------------------- what Python gives

struct View {  // (B, H, N, C)
  float *at;
  int64_t sample, head, token;
};

enum Kind : int64_t { DENSE, LOCAL, STRIDED };

struct Call {  // in the order of `call.py`
  Kind kind;
  int64_t samples, heads, queries, keys, far, span, threads;
  View q, k, v, far_k, far_v, x;  // x: what is read
  float *weights;                 // (B, N) logarithms of the keys' weights, to base 2; none if all are 1
  float *far_weights;             // (B, F)
  float *top, *share;             // (B, H, N) largest score; one over the sum of powers, 0 where nothing is seen
  View grad, dq, dk, dv, d_far_k, d_far_v;  // the way back: `grad` flows to x
};

// ---------------------------------------------------------------------------------------------------- the patterns

// Which others a lane sees: those that are from `least` to `most` away from it.
struct Band {
  int64_t least, most;
  bool all() const { return least == 0 && most == INT64_MAX; }
};
constexpr Band ALL = {0, INT64_MAX};

// Lanes' places among the others.
struct Places {
  Vec at{};

  explicit Places(int64_t first) {
    for (int i = 0; i < LANES; i++) at[i] = first + i;
  }
  Vec seen(Vec scores, int64_t other, Band band) const {
    Vec away = at - (float)other;
    away = larger(away, -away);
    scores = away < (float)band.least ? Vec{} - 1e30f : scores;
    return away > (float)band.most ? Vec{} - 1e30f : scores;
  }
};

// Rows in lanes: of every `comb`-th row, those in `rows`.
struct Group {
  Comb comb;
  Range rows;
};

// Who sees what, by row. Rows 1 .. are the tokens, if row 0 is CLS.
struct Pattern {
  const Call &call;
  int64_t rows;
  int64_t l = call.span, cls = call.kind != DENSE;
  Range tokens{cls, rows - cls};

  // CLS by itself, then tokens in blocks that begin `early` rows before the first, in lanes that do not leave a block.
  int64_t block() const { return call.kind == LOCAL ? l : std::max<int64_t>(tokens.count, 1); }
  int64_t lanes() const { return (block() + LANES - 1) / LANES; }
  int64_t groups(int64_t early = 0) const { return cls + (tokens.count + early + block() - 1) / block() * lanes(); }
  int64_t begin(int64_t group, int64_t early = 0) const { return cls + (group - cls) / lanes() * block() - early; }
  Group group(int64_t group, int64_t early = 0) const {
    if (group < cls) return {{}, {0, 1}};
    int64_t from = begin(group, early), first = from + (group - cls) % lanes() * LANES;
    return {{}, within(first, std::min(first + LANES, from + block()), tokens)};
  }

  // Of the strided pattern: tokens a multiple of l away from each other.
  int64_t per_residue() const { return ((tokens.count + l - 1) / l + LANES - 1) / LANES; }
  int64_t residues() const { return call.kind == STRIDED ? l * per_residue() : 0; }
  Group residue(int64_t group) const {
    int64_t first = group / per_residue();
    Range all = {0, std::max<int64_t>(tokens.count - first + l - 1, 0) / l},
          some = {group % per_residue() * LANES, LANES};
    return {{cls + first, l}, within(some.first, some.end(), all)};
  }
  Range of_residue(Comb comb) const { return {0, std::max<int64_t>(rows - comb.first + l - 1, 0) / l}; }

  // Less than l away from rows: first those that only some of them see.
  template <class See>
  void surroundings(Range rows, See see) const {
    Range any = within(rows.first - l + 1, rows.end() + l - 1, tokens),
          all = within(rows.end() - l, rows.first + l, any);
    Band near = {0, l - 1};
    if (!all.count) return see(any, near);
    see({any.first, all.first - any.first}, near);
    see({all.end(), any.end() - all.end()}, near);
    see(all, ALL);
  }
};

// --------------------------------------------------------------------------------------------------- a head's rows

struct Keys {
  Rows k, v;
  Line weights;
  Keys every(Comb comb) const { return {k.every(comb), v.every(comb), weights.every(comb)}; }

  // Of keys in lanes; where there is no key, nothing must come.
  Vec weights_of(Range range) const {
    Vec found = weights.at ? load(weights, range) : Vec{};
    for (int64_t i = range.count; i < LANES; i++) found[i] = -1e30f;
    return found;
  }
};

// A head of a sample.
struct Head {
  const Call &call;
  int64_t sample, head;

  Rows rows(const View &view) const { return {view.at + sample * view.sample + head * view.head, view.token}; }
  Line line(float *at) const { return {at ? at + (sample * call.heads + head) * call.queries : nullptr}; }
  Keys near() const {
    return {rows(call.k), rows(call.v), {call.weights ? call.weights + sample * call.keys : nullptr}};
  }
  Keys far() const {
    return {rows(call.far_k), rows(call.far_v), {call.far_weights ? call.far_weights + sample * call.far : nullptr}};
  }

  // All keys that a group of queries sees, but for CLS's and residues.
  template <class See>
  void seen_by(const Pattern &pattern, int64_t group, Range rows, See see) const {
    if (call.kind == DENSE) return see(near(), Range{0, call.keys}, ALL);
    if (call.kind == LOCAL) {
      int64_t begin = pattern.begin(group), half = call.span / 2;
      see(near(), within(begin - half, begin + call.span + half, pattern.tokens), ALL);
      return see(far(), Range{0, call.far}, ALL);
    }
    see(near(), Range{0, 1}, ALL);
    pattern.surroundings(rows, [&](Range some, Band band) { see(near(), some, band); });
  }

  // All queries but CLS that see a group of keys, but for residues. (CLS as a key of the local pattern is far.)
  template <class See>
  void that_see(const Pattern &pattern, int64_t group, Range rows, See see) const {
    if (call.kind == DENSE) return see(Range{0, call.queries}, ALL);
    if (call.kind == STRIDED) return group ? pattern.surroundings(rows, see) : see(pattern.tokens, ALL);
    if (group == 0) return;
    int64_t begin = pattern.begin(group, call.span / 2);  // seen by the block around it and the one before
    begin += call.span / 2 - call.span;
    see(within(begin, begin + 2 * call.span, pattern.tokens), ALL);
  }
};

}  // namespace

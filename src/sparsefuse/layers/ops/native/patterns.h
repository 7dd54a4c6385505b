// Who sees what (torch/patterns.py says it in full), and where it lies in memory:
//
//   dense    all see all
//   local    row 0, CLS, sees all; tokens see their block of l, l / 2 tokens either side, and the far keys: CLS, means
//   strided  row 0, CLS, sees all; tokens see it, those less than l away, and those a multiple of l away

#pragma once

#include "arguments.h"
#include "rows.h"

namespace {

// ---------------------------------------------------------------------------------------------------- the patterns

// Which others a lane sees: those that are from `least` to `most` away from it.
struct Band {
  int64_t least, most;
  bool all() const { return least == 0 && most == INT64_MAX; }
};
constexpr Band ALL = {0, INT64_MAX};

// The score of what is not seen. What is seen, but has no weight, has MASKED (attention.py), -1e38: finite, for in the
// definition scores that are all -inf give NaN, and those of keys that are all masked do not. Neither adds to a sum, as
// LEAST or more is taken off all scores.
const Vec UNSEEN = Vec{} - INFINITY;
constexpr float LEAST = -1e37f;

// Lanes' positions among the others.
struct Positions {
  Vec at{};

  explicit Positions(int64_t first) {
    for (int i = 0; i < LANES; i++) at[i] = first + i;
  }
  Vec masked(Vec scores, int64_t other, Band band) const {
    Vec away = at - (float)other;
    away = larger(away, -away);
    scores = away < (float)band.least ? UNSEEN : scores;
    return away > (float)band.most ? UNSEEN : scores;
  }
};

// Rows in lanes: of every `comb`-th row, those in `rows`.
struct Group {
  Comb comb;
  Range rows;
};

// Who sees what, by row. Rows 1 .. are the tokens, if row 0 is CLS.
struct Pattern {
  const AttentionArguments &args;
  int64_t rows;
  int64_t l = args.span, cls = args.kind != DENSE;
  Range tokens{cls, rows - cls};

  // CLS by itself, then tokens in blocks that begin `early` rows before the first, in lanes that do not leave a block.
  int64_t block() const { return args.kind == LOCAL ? l : std::max<int64_t>(tokens.count, 1); }
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
  int64_t residues() const { return args.kind == STRIDED ? l * per_residue() : 0; }
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
  Line log_weights;
  Keys every(Comb comb) const { return {k.every(comb), v.every(comb), log_weights.every(comb)}; }

  // Of keys in lanes; none where there is no key.
  Vec lanes(Range range) const {
    Vec lanes = log_weights.at ? load(log_weights, range) : Vec{};
    for (int64_t i = range.count; i < LANES; i++) lanes[i] = -INFINITY;
    return lanes;
  }
};

// A head of a sample.
struct Head {
  const AttentionArguments &args;
  int64_t sample, head;

  Rows rows(AttentionView which) const {
    const View &view = args.views[which];
    return {view.data + sample * view.sample + head * view.head, view.token};
  }
  Line line(float *at) const { return {at ? at + (sample * args.heads + head) * args.queries : nullptr}; }
  Keys near() const {
    return {rows(K), rows(V), {args.log_weights ? args.log_weights + sample * args.keys : nullptr}};
  }
  Keys far() const {
    return {rows(FAR_K), rows(FAR_V), {args.far_log_weights ? args.far_log_weights + sample * args.far : nullptr}};
  }

  // All keys that a group of queries sees, but for CLS's and residues.
  template <class See>
  void seen_by(const Pattern &pattern, int64_t group, Range rows, See see) const {
    if (args.kind == DENSE) return see(near(), Range{0, args.keys}, ALL);
    if (args.kind == LOCAL) {
      int64_t begin = pattern.begin(group), half = args.span / 2;
      see(near(), within(begin - half, begin + args.span + half, pattern.tokens), ALL);
      return see(far(), Range{0, args.far}, ALL);
    }
    see(near(), Range{0, 1}, ALL);
    pattern.surroundings(rows, [&](Range some, Band band) { see(near(), some, band); });
  }

  // All queries but CLS that see a group of keys, but for residues. (CLS as a key of the local pattern is far.)
  template <class See>
  void seeing(const Pattern &pattern, int64_t group, Range rows, See see) const {
    if (args.kind == DENSE) return see(Range{0, args.queries}, ALL);
    if (args.kind == STRIDED) return group ? pattern.surroundings(rows, see) : see(pattern.tokens, ALL);
    if (group == 0) return;
    int64_t begin = pattern.begin(group, args.span / 2);  // seen by the block around it and the one before
    begin += args.span / 2 - args.span;
    see(within(begin, begin + 2 * args.span, pattern.tokens), ALL);
  }
};

}  // namespace

// Attention with narrow heads, forward and back (FlashAttention, Dao et al. 2022; no score is kept).
//
// A vector's lanes are queries (on the way back to keys and values: keys), each with its own softmax, and one key after
// another is read by all of them. So nothing is summed across lanes, and heads may be as narrow as they like. Who sees
// what (`sparse.py` says it in full):
//
//   dense    all see all
//   local    row 0, CLS, sees all; tokens see their block of l, l / 2 tokens either side, and the far keys: CLS, means
//   strided  row 0, CLS, sees all; tokens see it, those less than l away, and those a multiple of l away
//
// Scores are powers of two. Each row of a result is written by one thread at a time, whatever their number.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace {

constexpr int C = WIDTH;  // channels of a head
constexpr int CHUNK = 16;  // others between two looks at the largest score

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

// ---------------------------------------------------------------------------------------------------- what Python gives

struct View {  // (B, H, N, C)
  float *at;
  int64_t sample, head, token;
};

enum Kind : int64_t { DENSE, LOCAL, STRIDED };

struct Call {  // in the order of `call.py`
  Kind kind;
  int64_t samples, heads, queries, keys, far, span, threads;
  double scale;                   // of products, to powers of two
  double steepness;               // of scores, as powers of e
  View q, k, v, far_k, far_v, x;  // x: what is read
  float *weights;                 // (B, N) logarithms of the keys' weights, to base 2; none if all are 1
  float *far_weights;             // (B, F)
  float *top, *share;             // (B, H, N) largest score; one over the sum of powers, 0 where nothing is seen
  float *flow;                    // (B, H, N) grad . x
  View grad, dq, dk, dv, d_far_k, d_far_v;  // the way back: `grad` flows to x

  // The call for one sample.
  Call of(int64_t b) const {
    Call one = *this;
    one.samples = 1;
    for (View *view : {&one.q, &one.k, &one.v, &one.far_k, &one.far_v, &one.x, &one.grad, &one.dq, &one.dk, &one.dv,
                       &one.d_far_k, &one.d_far_v})
      view->at += b * view->sample;
    if (weights) one.weights += b * keys;
    if (far_weights) one.far_weights += b * far;
    for (float **line : {&one.top, &one.share, &one.flow})
      if (*line) *line += b * heads * queries;
    return one;
  }
};

// ------------------------------------------------------------------------------------------------------- rows and lanes

struct Range {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

Range within(int64_t first, int64_t end, Range range) {
  first = std::max(first, range.first);
  return {first, std::max<int64_t>(std::min(end, range.end()) - first, 0)};
}

struct Comb {  // every `step`-th of something, from `first` on
  int64_t first = 0, step = 1;
};

struct Rows {
  float *at;
  int64_t step;
  float *operator[](int64_t i) const { return at + i * step; }
  Rows every(Comb comb) const { return {at + comb.first * step, comb.step * step}; }
};

struct Line {
  float *at;
  int64_t step = 1;
  float &operator[](int64_t i) const { return at[i * step]; }
  Line every(Comb comb) const { return {at ? at + comb.first * step : nullptr, comb.step * step}; }
};

// Channels as rows and back, in registers: blocks of C x C, by swapping neighbours, then pairs, then fours.
constexpr bool SQUARE = (C == 4 || C == 8 || C == 16) && (LANES == C || LANES == 2 * C);

template <size_t STEP, size_t... LANE>
void swap(Vec &a, Vec &b, std::index_sequence<LANE...>) {
  Vec low = __builtin_shufflevector(a, b, (LANE & STEP ? LANES + LANE - STEP : LANE)...);
  b = __builtin_shufflevector(a, b, (LANE & STEP ? LANES + LANE : LANE + STEP)...);
  a = low;
}

template <size_t STEP = 1>
void transpose(Vec (&vecs)[C]) {
  if constexpr (STEP < C) {
    for (size_t i = 0; i < C; i++)
      if (!(i & STEP)) swap<STEP>(vecs[i], vecs[i + STEP], std::make_index_sequence<LANES>());
    transpose<2 * STEP>(vecs);
  }
}

typedef float Part __attribute__((vector_size(4 * (SQUARE ? C : LANES))));

template <size_t... LANE>
Vec joined(Part a, Part b, std::index_sequence<LANE...>) {
  return __builtin_shufflevector(a, b, LANE...);
}

void load(Vec (&to)[C], Rows rows, Range range, float factor = 1) {
  if constexpr (SQUARE) {
    auto part = [&](int64_t i) {
      Part found{};
      if (i < range.count) std::memcpy(&found, rows[range.first + i], sizeof found);
      return found;
    };
    for (int i = 0; i < C; i++) to[i] = joined(part(i), part(i + C), std::make_index_sequence<LANES>());
    transpose(to);
    for (Vec &vec : to) vec *= factor;
  } else {
    for (Vec &vec : to) vec = Vec{};
    for (int64_t i = 0; i < range.count; i++)
      for (int c = 0; c < C; c++) to[c][i] = rows[range.first + i][c] * factor;
  }
}

// Gives `put` each row of C channels, to be written where it is told.
template <class Put>
void each_row(const Vec (&from)[C], Rows rows, Range range, Put put) {
  if constexpr (SQUARE) {
    Vec turned[C];
    std::copy(from, from + C, turned);
    transpose(turned);
    for (int64_t i = 0; i < range.count; i++) put(rows[range.first + i], (const float *)&turned[i % C] + i / C * C);
  } else {
    for (int64_t i = 0; i < range.count; i++) {
      float row[C];
      for (int c = 0; c < C; c++) row[c] = from[c][i];
      put(rows[range.first + i], row);
    }
  }
}

void store(const Vec (&from)[C], Rows rows, Range range, float factor = 1) {
  each_row(from, rows, range, [&](float *to, const float *row) {
    for (int c = 0; c < C; c++) to[c] = row[c] * factor;
  });
}

void add(const Vec (&from)[C], Rows rows, Range range, float factor) {
  each_row(from, rows, range, [&](float *to, const float *row) {
    for (int c = 0; c < C; c++) to[c] += row[c] * factor;
  });
}

Vec load(Line from, Range range) {
  Vec to{};
  for (int64_t i = 0; from.at && i < range.count; i++) to[i] = from[range.first + i];
  return to;
}

void store(Vec from, Line to, Range range) {
  for (int64_t i = 0; i < range.count; i++) to[range.first + i] = from[i];
}

inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// 2^x for x <= 0, to 2e-7 of it; 0 below 2^-100: what is so small would slow sums down and change none. The whole part
// goes to the exponent, the rest through a polynomial.
inline Vec power(Vec x) {
  const float magic = 0x1.8p23f;  // what is added to it is rounded to its last digit
  Vec whole = x + magic, rest = x - (whole - magic);
  Vec y = rest * 1.32647272e-3f + 9.67151264e-3f;
  y = y * rest + 5.550733743e-2f;
  y = y * rest + 2.402224209e-1f;
  y = y * rest + 6.931469776e-1f;
  y = y * rest + 1.0f;
  y = (Vec)(((Ints)whole << 23) + (Ints)y);
  return x > -100.0f ? y : Vec{};
}

inline Vec product(const Vec (&a)[C], const float *b, Vec sum) {
  for (int c = 0; c < C; c++) sum += a[c] * b[c];
  return sum;
}

// into += factors x rows
template <class Count>
inline void gather(Vec (&into)[C], const Vec *factors, Rows rows, int64_t first, Count count) {
  Vec sums[C];  // not in memory, where `rows` might lie too
  std::copy(into, into + C, sums);
  for (int64_t i = 0; i < count; i++) {
    const float *row = rows[first + i];
    for (int c = 0; c < C; c++) sums[c] += factors[i] * row[c];
  }
  std::copy(sums, sums + C, into);
}

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

// Ranges in parts of CHUNK, whose length the compiler knows, and a rest.
template <class Do>
void in_chunks(Range range, Do chunk) {
  int64_t i = range.first;
  for (; i + CHUNK <= range.end(); i += CHUNK) chunk(i, std::integral_constant<int64_t, CHUNK>{});
  if (i < range.end()) chunk(i, range.end() - i);
}

// ----------------------------------------------------------------------------------------------------- lanes at work

struct Keys {
  Rows k, v;
  Line weights;
  Keys every(Comb comb) const { return {k.every(comb), v.every(comb), weights.every(comb)}; }
};

// Queries in lanes, and what they have read.
struct Reader {
  Vec q[C]{}, x[C]{}, sum{}, top = Vec{} - 1e20f;
  Places places;

  void read(Keys keys, Range range, Band band = ALL) {
    in_chunks(range, [&](int64_t first, auto count) {
      band.all() ? chunk<false>(keys, first, count, band) : chunk<true>(keys, first, count, band);
    });
  }

  template <bool BAND, class Count>
  void chunk(Keys keys, int64_t first, Count count, Band band) {
    Vec scores[CHUNK], most = top;
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      scores[i] = product(q, keys.k[j], Vec{});
      if (keys.weights.at) scores[i] += keys.weights[j];
      if (BAND) scores[i] = places.seen(scores[i], j, band);
      most = larger(most, scores[i]);
    }
    Vec shrink = power(top - most);
    top = most;
    sum *= shrink;
    for (Vec &vec : x) vec *= shrink;
    for (int64_t i = 0; i < count; i++) sum += scores[i] = power(scores[i] - top);
    gather(x, scores, keys.v, first, count);
  }
};

// Queries in lanes, what flows to what they read, and the slopes of the queries.
struct Returner {
  Vec q[C]{}, grad[C]{}, top{}, flow{}, dq[C]{};
  Places places;

  // The share of what flows, once and not for every key.
  void take(Vec share) {
    for (Vec &vec : grad) vec *= share;
    flow *= share;
  }

  void read(Keys keys, Range range, Band band = ALL) {
    in_chunks(range, [&](int64_t first, auto count) {
      band.all() ? chunk<false>(keys, first, count, band) : chunk<true>(keys, first, count, band);
    });
  }

  template <bool BAND, class Count>
  void chunk(Keys keys, int64_t first, Count count, Band band) {
    Vec steep[CHUNK];
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      Vec score = product(q, keys.k[j], -top);
      if (keys.weights.at) score += keys.weights[j];
      if (BAND) score = places.seen(score, j, band);
      steep[i] = power(score);
    }
    for (int64_t i = 0; i < count; i++) steep[i] *= product(grad, keys.v[first + i], -flow);
    gather(dq, steep, keys.k, first, count);
  }
};

struct Queries {
  Rows q, grad;
  Line top, share, flow;
  Queries every(Comb comb) const {
    return {q.every(comb), grad.every(comb), top.every(comb), share.every(comb), flow.every(comb)};
  }
};

// Keys and values in lanes, and their slopes.
struct Collector {
  Vec k[C]{}, v[C]{}, weights{}, dk[C]{}, dv[C]{};
  Places places;

  void read(Queries from, Range range, Band band = ALL) {
    in_chunks(range, [&](int64_t first, auto count) {
      band.all() ? chunk<false>(from, first, count, band) : chunk<true>(from, first, count, band);
    });
  }

  template <bool BAND, class Count>
  void chunk(Queries from, int64_t first, Count count, Band band) {
    Vec p[CHUNK];
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      Vec score = product(k, from.q[j], weights - from.top[j]);
      if (BAND) score = places.seen(score, j, band);
      p[i] = power(score) * from.share[j];
    }
    gather(dv, p, from.grad, first, count);
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      p[i] *= product(v, from.grad[j], Vec{} - from.flow[j]);
    }
    gather(dk, p, from.q, first, count);
  }
};

// ----------------------------------------------------------------------------------------------------------- the patterns

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
    Range all = {0, std::max<int64_t>(tokens.count - first + l - 1, 0) / l}, some = {group % per_residue() * LANES, LANES};
    return {{cls + first, l}, within(some.first, some.end(), all)};
  }
  Range of_residue(Comb comb) const { return {0, std::max<int64_t>(rows - comb.first + l - 1, 0) / l}; }

  // Less than l away from rows: first those that only some of them see.
  template <class See>
  void surroundings(Range rows, See see) const {
    Range any = within(rows.first - l + 1, rows.end() + l - 1, tokens), all = within(rows.end() - l, rows.first + l, any);
    Band near = {0, l - 1};
    if (!all.count) return see(any, near);
    see({any.first, all.first - any.first}, near);
    see({all.end(), any.end() - all.end()}, near);
    see(all, ALL);
  }
};

// A head of a sample.
struct Head {
  const Call &call;
  int64_t sample, head;

  Rows rows(const View &view) const { return {view.at + sample * view.sample + head * view.head, view.token}; }
  Line line(float *at) const { return {at ? at + (sample * call.heads + head) * call.queries : nullptr}; }
  Keys near() const { return {rows(call.k), rows(call.v), {call.weights ? call.weights + sample * call.keys : nullptr}}; }
  Keys far() const {
    return {rows(call.far_k), rows(call.far_v), {call.far_weights ? call.far_weights + sample * call.far : nullptr}};
  }
  Queries queries() const { return {rows(call.q), rows(call.grad), line(call.top), line(call.share), line(call.flow)}; }

  // All keys that a group of queries sees, but for residues.
  template <class Lanes>
  void see(const Pattern &pattern, int64_t group, Range rows, Lanes &lanes) const {
    if (group < pattern.cls || call.kind == DENSE) return lanes.read(near(), {0, call.keys});
    if (call.kind == LOCAL) {
      int64_t begin = pattern.begin(group), half = call.span / 2;
      lanes.read(near(), within(begin - half, begin + call.span + half, pattern.tokens));
      return lanes.read(far(), {0, call.far});
    }
    lanes.read(near(), {0, 1});
    pattern.surroundings(rows, [&](Range some, Band band) { lanes.read(near(), some, band); });
  }

  // All queries that see a group of keys, but for residues. (CLS as a key of the local pattern is far.)
  void seen(const Pattern &pattern, int64_t group, Range rows, Collector &lanes) const {
    if (call.kind == DENSE || (group == 0 && call.kind == STRIDED)) return lanes.read(queries(), {0, call.queries});
    lanes.read(queries(), {0, 1});
    if (group == 0) return;
    if (call.kind == STRIDED)
      return pattern.surroundings(rows, [&](Range some, Band band) { lanes.read(queries(), some, band); });
    int64_t begin = pattern.begin(group, call.span / 2);  // seen by the block around it and the one before
    begin += call.span / 2 - call.span;
    lanes.read(queries(), within(begin, begin + 2 * call.span, pattern.tokens));
  }
};

// The threads that share some work, and which of them this is.
struct Team {
  int64_t me = 0, size = 1;

  // Deals `count` pieces of work; all are done when it returns.
  template <class Work>
  void deal(int64_t count, Work work) const {
    for (int64_t i = count * me / size; i < count * (me + 1) / size; i++) work(i);
    if (size > 1) {
#pragma omp barrier
    }
  }
};

// Groups of all heads.
template <class Work>
void each(const Call &call, Team team, int64_t groups, Work work) {
  team.deal(call.samples * call.heads * groups, [&](int64_t i) {
    int64_t sequence = i / groups;
    work(Head{call, sequence / call.heads, sequence % call.heads}, i % groups);
  });
}

// ---------------------------------------------------------------------------------------------------------------- forward

void read(const Call &call, Team team) {
  Pattern pattern{call, call.queries};
  auto finish = [](Reader &reader) {
    Vec share = reader.sum > 0 ? 1.0f / reader.sum : Vec{};
    for (Vec &vec : reader.x) vec *= share;
    reader.sum = share;
  };
  auto keep = [&](Head head, Group group, const Reader &reader) {
    store(reader.x, head.rows(call.x).every(group.comb), group.rows);
    if (!call.top) return;
    store(reader.top, head.line(call.top).every(group.comb), group.rows);
    store(reader.sum, head.line(call.share).every(group.comb), group.rows);
  };
  each(call, team, pattern.groups(), [&](Head head, int64_t place) {
    Group group = pattern.group(place);
    if (!group.rows.count) return;
    Reader reader{.places = Places(group.rows.first)};
    load(reader.q, head.rows(call.q), group.rows, call.scale);
    head.see(pattern, place, group.rows, reader);
    if (call.kind != STRIDED || place < pattern.cls) finish(reader);
    keep(head, group, reader);
  });
  each(call, team, pattern.residues(), [&](Head head, int64_t place) {  // go on with what was kept
    Group group = pattern.residue(place);
    if (!group.rows.count) return;
    Reader reader{.places = Places(group.rows.first)};
    load(reader.q, head.rows(call.q).every(group.comb), group.rows, call.scale);
    load(reader.x, head.rows(call.x).every(group.comb), group.rows);
    reader.top = load(head.line(call.top).every(group.comb), group.rows);
    reader.sum = load(head.line(call.share).every(group.comb), group.rows);
    reader.read(head.near().every(group.comb), pattern.of_residue(group.comb), {1, INT64_MAX});
    finish(reader);
    keep(head, group, reader);
  });
}

// --------------------------------------------------------------------------------------------------------------- the way back

void to_queries(const Call &call, Team team) {
  Pattern pattern{call, call.queries};
  each(call, team, pattern.groups(), [&](Head head, int64_t place) {
    Group group = pattern.group(place);
    if (!group.rows.count) return;
    Returner returner{.places = Places(group.rows.first)};
    Vec x[C];
    load(x, head.rows(call.x), group.rows);
    load(returner.q, head.rows(call.q), group.rows, call.scale);
    load(returner.grad, head.rows(call.grad), group.rows);
    returner.top = load(head.line(call.top), group.rows);
    returner.flow = Vec{};
    for (int c = 0; c < C; c++) returner.flow += returner.grad[c] * x[c];
    store(returner.flow, head.line(call.flow), group.rows);
    returner.take(load(head.line(call.share), group.rows));
    head.see(pattern, place, group.rows, returner);
    store(returner.dq, head.rows(call.dq), group.rows, call.steepness);
  });
  each(call, team, pattern.residues(), [&](Head head, int64_t place) {
    Group group = pattern.residue(place);
    if (!group.rows.count) return;
    Returner returner{.places = Places(group.rows.first)};
    Queries queries = head.queries().every(group.comb);
    load(returner.q, queries.q, group.rows, call.scale);
    load(returner.grad, queries.grad, group.rows);
    returner.top = load(queries.top, group.rows);
    returner.flow = load(queries.flow, group.rows);
    returner.take(load(queries.share, group.rows));
    returner.read(head.near().every(group.comb), pattern.of_residue(group.comb), {1, INT64_MAX});
    add(returner.dq, head.rows(call.dq).every(group.comb), group.rows, call.steepness);
  });
}

void to_keys(const Call &call, Team team) {
  Pattern pattern{call, call.keys};
  auto loaded = [&](Keys keys, Range rows) {
    Collector collector{.places = Places(rows.first)};
    load(collector.k, keys.k, rows, call.scale);
    load(collector.v, keys.v, rows);
    collector.weights = load(keys.weights, rows);
    return collector;
  };
  int64_t early = call.kind == LOCAL ? call.span / 2 : 0, near = pattern.groups(early);
  each(call, team, near, [&](Head head, int64_t place) {
    Range rows = pattern.group(place, early).rows;
    if (!rows.count) return;
    Collector collector = loaded(head.near(), rows);
    head.seen(pattern, place, rows, collector);
    store(collector.dk, head.rows(call.dk), rows, call.steepness);
    store(collector.dv, head.rows(call.dv), rows);
  });
  each(call, team, (call.far + LANES - 1) / LANES, [&](Head head, int64_t place) {
    Range rows = within(place * LANES, (place + 1) * LANES, {0, call.far});
    Collector collector = loaded(head.far(), rows);
    collector.read(head.queries(), pattern.tokens);
    store(collector.dk, head.rows(call.d_far_k), rows, call.steepness);
    store(collector.dv, head.rows(call.d_far_v), rows);
  });
  each(call, team, pattern.residues(), [&](Head head, int64_t place) {
    Group group = pattern.residue(place);
    if (!group.rows.count) return;
    Collector collector = loaded(head.near().every(group.comb), group.rows);
    collector.read(head.queries().every(group.comb), pattern.of_residue(group.comb), {1, INT64_MAX});
    add(collector.dk, head.rows(call.dk).every(group.comb), group.rows, call.steepness);
    add(collector.dv, head.rows(call.dv).every(group.comb), group.rows, 1);
  });
}

}  // namespace

extern "C" const int64_t forward_numbers = sizeof(Call) / sizeof(int64_t);

extern "C" void forward(const Call &call) {
#pragma omp parallel num_threads(call.threads)
  read(call, {omp_get_thread_num(), omp_get_num_threads()});
}

extern "C" void backward(const Call &call) {
#pragma omp parallel num_threads(call.threads)
  {
    Team team{omp_get_thread_num(), omp_get_num_threads()};
    to_queries(call, team);
    to_keys(call, team);
  }
}

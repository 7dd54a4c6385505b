// Attention with narrow heads, forward and back (FlashAttention, Dao et al. 2022; no score is kept).
//
// On the way there a vector's lanes are queries, each with its own softmax, and one key after another is read by all of
// them; on the way back they are keys, read by one query after another. So nothing is summed across lanes, and heads may
// be as narrow as they like. Only CLS, a query alone, has its keys in lanes. Who sees what (`sparse.py` says it in full):
//
//   dense    all see all
//   local    row 0, CLS, sees all; tokens see their block of l, l / 2 tokens either side, and the far keys: CLS, means
//   strided  row 0, CLS, sees all; tokens see it, those less than l away, and those a multiple of l away
//
// Scores are powers of two. Threads share queries on the way there, heads on the way back.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

constexpr int C = WIDTH;  // channels of a head
constexpr int CHUNK = 16;  // keys between two looks at the largest score

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t Ints __attribute__((vector_size(4 * LANES)));

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
  View grad, dq, dk, dv, d_far_k, d_far_v;  // the way back: `grad` flows to x

  // The call for `count` samples from `b` on.
  Call of(int64_t b, int64_t count) const {
    Call some = *this;
    some.samples = count;
    for (View *view : {&some.q, &some.k, &some.v, &some.far_k, &some.far_v, &some.x, &some.grad, &some.dq, &some.dk,
                       &some.dv, &some.d_far_k, &some.d_far_v})
      view->at += b * view->sample;
    if (weights) some.weights += b * keys;
    if (far_weights) some.far_weights += b * far;
    for (float **line : {&some.top, &some.share})
      if (*line) *line += b * heads * queries;
    return some;
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

// Channels as rows and back, in registers, C x C at a time.
constexpr bool SQUARE = (C == 4 || C == 8 || C == 16) && (LANES == C || LANES == 2 * C);

template <size_t STEP, size_t... LANE>
void swap(Vec &a, Vec &b, std::index_sequence<LANE...>) {
  Vec low = __builtin_shufflevector(a, b, (LANE & STEP ? LANES + LANE - STEP : LANE)...);
  b = __builtin_shufflevector(a, b, (LANE & STEP ? LANES + LANE : LANE + STEP)...);
  a = low;
}

// Blocks of SIZE x SIZE, by swapping neighbours, then pairs, then fours.
template <size_t SIZE, size_t STEP = 1>
void transpose(Vec (&vecs)[SIZE]) {
  if constexpr (STEP < SIZE) {
    for (size_t i = 0; i < SIZE; i++)
      if (!(i & STEP)) swap<STEP>(vecs[i], vecs[i + STEP], std::make_index_sequence<LANES>());
    transpose<SIZE, 2 * STEP>(vecs);
  }
}

// Each lane and the one HALF away, then half as far.
template <size_t HALF, size_t... LANE>
float total(Vec vec, std::index_sequence<LANE...> lanes) {
  vec += __builtin_shufflevector(vec, vec, (LANE ^ HALF)...);
  if constexpr (HALF > 1) return total<HALF / 2>(vec, lanes);
  return vec[0];
}

inline float total(Vec vec) { return total<LANES / 2>(vec, std::make_index_sequence<LANES>()); }

typedef float Part __attribute__((vector_size(4 * (SQUARE ? C : LANES))));

template <size_t... LANE>
Vec joined(Part a, Part b, std::index_sequence<LANE...>) {
  return __builtin_shufflevector(a, b, LANE...);
}

template <size_t FIRST, size_t... LANE>
Part part(Vec vec, std::index_sequence<LANE...>) {
  return __builtin_shufflevector(vec, vec, (FIRST + LANE)...);
}

// Calls `work` with a range's length, which the compiler knows if it is LANES.
template <class Work>
void counted(Range range, Work work) {
  if (range.count == LANES) work(std::integral_constant<int64_t, LANES>{});
  else work(range.count);
}

void load(Vec (&to)[C], Rows rows, Range range, float factor = 1) {
  if constexpr (SQUARE) {
    counted(range, [&](auto count) {
      auto part = [&](int64_t i) {
        Part found{};
        if (i < count) std::memcpy(&found, rows[range.first + i], sizeof found);
        return found;
      };
      for (int i = 0; i < C; i++) to[i] = joined(part(i), part(i + C), std::make_index_sequence<LANES>());
    });
    transpose(to);
    for (Vec &vec : to) vec *= factor;
  } else {
    for (Vec &vec : to) vec = Vec{};
    for (int64_t i = 0; i < range.count; i++)
      for (int c = 0; c < C; c++) to[c][i] = rows[range.first + i][c] * factor;
  }
}

// Rows become vectors of channels, times a factor, or grow by them.
template <bool ADD>
void put(const Vec (&from)[C], Rows rows, Range range, float factor) {
  if constexpr (SQUARE) {
    constexpr auto lanes = std::make_index_sequence<C>();
    Vec turned[C];
    for (int c = 0; c < C; c++) turned[c] = from[c] * factor;
    transpose(turned);
    counted(range, [&](auto count) {
      auto put = [&](int64_t i, Part row) {
        if (i >= count) return;
        Part before{};
        if (ADD) std::memcpy(&before, rows[range.first + i], sizeof before);
        row += before;
        std::memcpy(rows[range.first + i], &row, sizeof row);
      };
      for (int i = 0; i < C; i++) put(i, part<0>(turned[i], lanes));
      for (int i = C; i < LANES; i++) put(i, part<LANES - C>(turned[i - C], lanes));
    });
  } else {
    for (int64_t i = 0; i < range.count; i++)
      for (int c = 0; c < C; c++) {
        float &to = rows[range.first + i][c];
        to = from[c][i] * factor + (ADD ? to : 0);
      }
  }
}

void store(const Vec (&from)[C], Rows rows, Range range, float factor = 1) { put<false>(from, rows, range, factor); }
void add(const Vec (&from)[C], Rows rows, Range range, float factor) { put<true>(from, rows, range, factor); }

Vec load(Line from, Range range) {
  Vec to{};
  if (from.step == 1 && range.count == LANES) std::memcpy(&to, &from[range.first], sizeof to);
  else
    for (int64_t i = 0; i < range.count; i++) to[i] = from[range.first + i];
  return to;
}

void store(Vec from, Line to, Range range) {
  if (to.step == 1 && range.count == LANES) std::memcpy(&to[range.first], &from, sizeof from);
  else
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

// Ranges in parts of SIZE, whose length the compiler knows, and a rest.
template <int64_t SIZE, class Do>
void in_chunks(Range range, Do chunk) {
  int64_t i = range.first;
  for (; i + SIZE <= range.end(); i += SIZE) chunk(i, std::integral_constant<int64_t, SIZE>{});
  if (i < range.end()) chunk(i, range.end() - i);
}

// ----------------------------------------------------------------------------------------------------- lanes at work

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

// Queries in lanes, and what they have read.
struct Reader {
  Vec q[C]{}, x[C]{}, sum{}, top = Vec{} - 1e20f;
  Places places;

  void read(Keys keys, Range range, Band band = ALL) {
    in_chunks<CHUNK>(range, [&](int64_t first, auto count) {
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
    shrink(most);
    for (int64_t i = 0; i < count; i++) sum += scores[i] = power(scores[i] - top);
    gather(x, scores, keys.v, first, count);
  }

  // To another largest score.
  void shrink(Vec most) {
    Vec less = power(top - most);
    top = most;
    sum *= less;
    for (Vec &vec : x) vec *= less;
  }

  void finish() {
    sum = sum > 0 ? 1.0f / sum : Vec{};
    for (Vec &vec : x) vec *= sum;
  }
};

// Keys in lanes, and what one query has read: each lane by itself, then all together.
Reader alone(const float *q, Keys keys, Range range, float scale) {
  Reader reader{.places = Places(0)};
  for (int64_t first = range.first; first < range.end(); first += LANES) {
    Range some = within(first, first + LANES, range);
    Vec k[C], v[C];
    load(k, keys.k, some, scale);
    load(v, keys.v, some);
    Vec score = product(k, q, keys.weights_of(some));
    reader.shrink(larger(reader.top, score));
    Vec p = power(score - reader.top);
    reader.sum += p;
    for (int c = 0; c < C; c++) reader.x[c] += p * v[c];
  }
  float most = reader.top[0];
  for (int i = 1; i < LANES; i++) most = std::max(most, reader.top[i]);
  reader.shrink(Vec{} + most);
  reader.sum = Vec{} + total(reader.sum);
  for (Vec &vec : reader.x) vec = Vec{} + total(vec);
  return reader;
}

// What queries bring to the way back.
struct Queries {
  Rows q, grad;  // of grad and flow, a query's share: once and not for every key
  Line top, flow;
};

// Slopes of queries, to which keys add: a line of each channel, so that a vector holds neighbours.
struct Lines {
  int64_t step;
  std::vector<Vec> room;
  float *at;

  // `first`: the query where vectors begin
  Lines(int64_t count, int64_t first) : step(count / LANES + 3), room(C * step) {
    at = (float *)room.data() + LANES - first;
    step *= LANES;
  }
  float *operator()(int c, int64_t query) { return at + c * step + query; }

  void take(Vec (&vecs)[C], int64_t first) {
    for (int c = 0; c < C; c++) std::memcpy(&vecs[c], (*this)(c, first), sizeof vecs[c]);
  }
  void put(const Vec (&vecs)[C], int64_t first) {
    for (int c = 0; c < C; c++) std::memcpy((*this)(c, first), &vecs[c], sizeof vecs[c]);
  }
  // Gives `work` the slopes of some queries after another.
  template <class Work>
  void each(Range range, Work work) {
    for (int64_t first = range.first; first < range.end(); first += LANES) {
      Vec vecs[C];
      take(vecs, first);
      work(vecs, within(first, first + LANES, range));
    }
  }
};

// Keys and values in lanes, and their slopes.
struct Collector {
  Rows rows;  // the keys
  Range range;
  Vec k[C], v[C], weights, dk[C]{}, dv[C]{};
  Places places;

  Collector(Keys keys, Range range, float scale) : rows(keys.k), range(range), places(range.first) {
    load(k, keys.k, range, scale);
    load(v, keys.v, range);
    weights = keys.weights_of(range);
  }

  void read(Queries from, Range some, Lines &dq, Band band = ALL) {
    in_chunks<LANES>(some, [&](int64_t first, auto count) {
      Vec steep[LANES];
      band.all() ? chunk<false>(steep, from, first, count, band) : chunk<true>(steep, from, first, count, band);
      for (int64_t i = count; i < LANES; i++) steep[i] = Vec{};
      transpose(steep);
      Vec sums[C];
      dq.take(sums, first);
      counted(range, [&](auto count) { gather(sums, steep, rows, range.first, count); });
      dq.put(sums, first);
    });
  }

  // By the first query alone, whose slope is not yet summed over lanes.
  void read_first(Queries from, Vec (&dq)[C]) {
    Vec steep[1];
    chunk<false>(steep, from, 0, std::integral_constant<int64_t, 1>{}, ALL);
    for (int c = 0; c < C; c++) dq[c] += steep[0] * k[c];
  }

  // What flows to the scores of some queries.
  template <bool BAND, class Count>
  void chunk(Vec *steep, Queries from, int64_t first, Count count, Band band) {
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      Vec score = product(k, from.q[j], weights - from.top[j]);
      if (BAND) score = places.seen(score, j, band);
      steep[i] = power(score);
    }
    gather(dv, steep, from.grad, first, count);
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      steep[i] *= product(v, from.grad[j], Vec{} - from.flow[j]);
    }
    gather(dk, steep, from.q, first, count);
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

  // All keys that a group of queries sees, but for CLS's and residues.
  void see(const Pattern &pattern, int64_t group, Range rows, Reader &lanes) const {
    if (call.kind == DENSE) return lanes.read(near(), {0, call.keys});
    if (call.kind == LOCAL) {
      int64_t begin = pattern.begin(group), half = call.span / 2;
      lanes.read(near(), within(begin - half, begin + call.span + half, pattern.tokens));
      return lanes.read(far(), {0, call.far});
    }
    lanes.read(near(), {0, 1});
    pattern.surroundings(rows, [&](Range some, Band band) { lanes.read(near(), some, band); });
  }

  // All queries but CLS that see a group of keys, but for residues. (CLS as a key of the local pattern is far.)
  template <class See>
  void seen(const Pattern &pattern, int64_t group, Range rows, See see) const {
    if (call.kind == DENSE) return see(Range{0, call.queries}, ALL);
    if (call.kind == STRIDED) return group ? pattern.surroundings(rows, see) : see(pattern.tokens, ALL);
    if (group == 0) return;
    int64_t begin = pattern.begin(group, call.span / 2);  // seen by the block around it and the one before
    begin += call.span / 2 - call.span;
    see(within(begin, begin + 2 * call.span, pattern.tokens), ALL);
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
  auto keep = [&](Head head, Group group, const Reader &reader) {
    store(reader.x, head.rows(call.x).every(group.comb), group.rows);
    if (!call.top) return;
    store(reader.top, head.line(call.top).every(group.comb), group.rows);
    store(reader.sum, head.line(call.share).every(group.comb), group.rows);
  };
  each(call, team, pattern.groups(), [&](Head head, int64_t place) {
    Group group = pattern.group(place);
    if (!group.rows.count) return;
    bool cls = place < pattern.cls;
    Reader reader = cls ? alone(head.rows(call.q)[0], head.near(), {0, call.keys}, call.scale)
                        : Reader{.places = Places(group.rows.first)};
    if (!cls) {
      load(reader.q, head.rows(call.q), group.rows, call.scale);
      head.see(pattern, place, group.rows, reader);
    }
    if (cls || call.kind != STRIDED) reader.finish();
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
    reader.finish();
    keep(head, group, reader);
  });
}

// --------------------------------------------------------------------------------------------------------------- the way back

// Of a head's queries, what flows back to what they have read, and to their scores.
struct Returned {
  Rows q;
  Line top;
  std::vector<float> grad, flow;

  Returned(Head head, Comb comb, Range all)
      : q(head.rows(head.call.q).every(comb)), top(head.line(head.call.top).every(comb)), grad(all.count * C), flow(all.count) {
    const Call &call = head.call;
    for (int64_t first = 0; first < all.count; first += LANES) {
      Range some = within(first, first + LANES, all);
      Vec flows[C], x[C], sum{}, share = load(head.line(call.share).every(comb), some);
      load(flows, head.rows(call.grad).every(comb), some);
      load(x, head.rows(call.x).every(comb), some);
      for (int c = 0; c < C; c++) {
        flows[c] *= share;
        sum += flows[c] * x[c];
      }
      store(flows, {grad.data(), C}, some);
      store(sum, {flow.data()}, some);
    }
  }
  Queries queries() { return {q, {grad.data(), C}, top, {flow.data()}}; }
};

void back(const Call &call, Team team) {
  Pattern pattern{call, call.keys};
  int64_t early = call.kind == LOCAL ? call.span / 2 : 0;
  each(call, team, 1, [&](Head head, int64_t) {
    Returned returned(head, {}, {0, call.queries});
    Queries queries = returned.queries();
    Lines lines(call.queries, pattern.cls);
    Vec cls[C]{};
    for (int64_t place = 0; place < pattern.groups(early); place++) {
      Range rows = pattern.group(place, early).rows;
      if (!rows.count) continue;
      Collector collector(head.near(), rows, call.scale);
      if (pattern.cls) collector.read_first(queries, cls);
      head.seen(pattern, place, rows, [&](Range some, Band band) { collector.read(queries, some, lines, band); });
      store(collector.dk, head.rows(call.dk), rows, call.steepness);
      store(collector.dv, head.rows(call.dv), rows);
    }
    for (int64_t first = 0; first < call.far; first += LANES) {
      Range rows = within(first, first + LANES, {0, call.far});
      Collector collector(head.far(), rows, call.scale);
      collector.read(queries, pattern.tokens, lines);
      store(collector.dk, head.rows(call.d_far_k), rows, call.steepness);
      store(collector.dv, head.rows(call.d_far_v), rows);
    }
    float *first = head.rows(call.dq)[0];
    for (int c = 0; pattern.cls && c < C; c++) first[c] = total(cls[c]) * (float)(call.steepness / call.scale);
    lines.each({pattern.cls, call.queries - pattern.cls}, [&](const Vec (&dq)[C], Range some) {
      store(dq, head.rows(call.dq), some, call.steepness);
    });
  });
  int64_t residues = call.kind == STRIDED ? call.span : 0;
  each(call, team, residues, [&](Head head, int64_t first) {
    Comb comb = {pattern.cls + first, call.span};
    Range all = pattern.of_residue(comb);
    Returned returned(head, comb, all);
    Queries queries = returned.queries();
    Lines lines(all.count, 0);
    Keys keys = head.near().every(comb);
    for (int64_t first = 0; first < all.count; first += LANES) {
      Range some = within(first, first + LANES, all);
      Collector collector(keys, some, call.scale);
      collector.read(queries, all, lines, {1, INT64_MAX});
      add(collector.dk, head.rows(call.dk).every(comb), some, call.steepness);
      add(collector.dv, head.rows(call.dv).every(comb), some, 1);
    }
    lines.each(all, [&](const Vec (&dq)[C], Range some) {
      add(dq, head.rows(call.dq).every(comb), some, call.steepness);
    });
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
  back(call, {omp_get_thread_num(), omp_get_num_threads()});
}

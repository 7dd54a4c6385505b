// Attention with narrow heads, forward and back (FlashAttention, Dao et al. 2022; no score is kept).
//
// On the way there a vector's lanes are queries, each with its own softmax, and one key after another is read by all of
// them; on the way back they are keys, read by one query after another. So nothing is summed across lanes, and heads may
// be as narrow as they like. Only CLS, a query alone, has its keys in lanes on the way there too.
//
// Scores are powers of two. Threads share queries on the way there, heads on the way back.

#include <vector>

#include "lanes.h"
#include "patterns.h"
#include "team.h"

namespace {

const float STEEPNESS = 1 / std::sqrt((float)C);     // of scores, as powers of e
const float SCALE = STEEPNESS / std::log((float)2);  // as powers of two

// Groups of all heads.
template <class Work>
void each(const Call &call, Team team, int64_t groups, Work work) {
  team.deal(call.samples * call.heads * groups, [&](int64_t i) {
    int64_t sequence = i / groups;
    work(Head{call, sequence / call.heads, sequence % call.heads}, i % groups);
  });
}

// --------------------------------------------------------------------------------------------------------- forward

constexpr int CHUNK = 16;  // keys between two looks at the largest score

// Queries in lanes, and what they have read.
struct Reader {
  Vec q[C]{}, x[C]{}, sum{}, top = Vec{} - 1e20f;
  Places places;

  void read(Keys keys, Range range, Band band) {
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
Reader alone(const float *q, Keys keys, Range range) {
  Reader reader{.places = Places(0)};
  for (int64_t first = range.first; first < range.end(); first += LANES) {
    Range some = within(first, first + LANES, range);
    Vec k[C], v[C];
    load(k, keys.k, some, SCALE);
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
  reader.finish();
  return reader;
}

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
    if (place < pattern.cls) return keep(head, group, alone(head.rows(call.q)[0], head.near(), {0, call.keys}));
    Reader reader{.places = Places(group.rows.first)};
    load(reader.q, head.rows(call.q), group.rows, SCALE);
    head.seen_by(pattern, place, group.rows, [&](Keys keys, Range some, Band band) { reader.read(keys, some, band); });
    if (call.kind != STRIDED) reader.finish();
    keep(head, group, reader);
  });
  each(call, team, pattern.residues(), [&](Head head, int64_t place) {  // go on with what was kept
    Group group = pattern.residue(place);
    if (!group.rows.count) return;
    Reader reader{.places = Places(group.rows.first)};
    load(reader.q, head.rows(call.q).every(group.comb), group.rows, SCALE);
    load(reader.x, head.rows(call.x).every(group.comb), group.rows);
    reader.top = load(head.line(call.top).every(group.comb), group.rows);
    reader.sum = load(head.line(call.share).every(group.comb), group.rows);
    reader.read(head.near().every(group.comb), pattern.of_residue(group.comb), {1, INT64_MAX});
    reader.finish();
    keep(head, group, reader);
  });
}

// ---------------------------------------------------------------------------------------------------- the way back

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

  Collector(Keys keys, Range range) : rows(keys.k), range(range), places(range.first) {
    load(k, keys.k, range, SCALE);
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

// Of a head's queries, what flows back to what they have read, and to their scores.
struct Returned {
  Rows q;
  Line top;
  std::vector<float> grad, flow;

  Returned(Head head, Comb comb, Range all)
      : q(head.rows(head.call.q).every(comb)),
        top(head.line(head.call.top).every(comb)),
        grad(all.count * C),
        flow(all.count) {
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
      Collector collector(head.near(), rows);
      if (pattern.cls) collector.read_first(queries, cls);
      head.that_see(pattern, place, rows, [&](Range some, Band band) { collector.read(queries, some, lines, band); });
      store(collector.dk, head.rows(call.dk), rows, STEEPNESS);
      store(collector.dv, head.rows(call.dv), rows);
    }
    for (int64_t first = 0; first < call.far; first += LANES) {
      Range rows = within(first, first + LANES, {0, call.far});
      Collector collector(head.far(), rows);
      collector.read(queries, pattern.tokens, lines);
      store(collector.dk, head.rows(call.d_far_k), rows, STEEPNESS);
      store(collector.dv, head.rows(call.d_far_v), rows);
    }
    float *first = head.rows(call.dq)[0];
    for (int c = 0; pattern.cls && c < C; c++) first[c] = total(cls[c]) * (STEEPNESS / SCALE);
    lines.each({pattern.cls, call.queries - pattern.cls},
               [&](const Vec(&dq)[C], Range some) { store(dq, head.rows(call.dq), some, STEEPNESS); });
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
      Collector collector(keys, some);
      collector.read(queries, all, lines, {1, INT64_MAX});
      add(collector.dk, head.rows(call.dk).every(comb), some, STEEPNESS);
      add(collector.dv, head.rows(call.dv).every(comb), some, 1);
    }
    lines.each(all, [&](const Vec(&dq)[C], Range some) { add(dq, head.rows(call.dq).every(comb), some, STEEPNESS); });
  });
}

}  // namespace

extern "C" const int64_t forward_numbers = sizeof(Call) / sizeof(int64_t);

extern "C" void forward(const Call &call) {
#pragma omp parallel num_threads(call.threads)
  read(call, Team::all());
}

extern "C" void backward(const Call &call) {
#pragma omp parallel num_threads(call.threads)
  back(call, Team::all());
}

//   y[t] = softmax(q[t] · K[0…t]ᵀ / sqrt(headDim)) · V[0…t]
//
// Online softmax (Milakov & Gimelshein 2018, arXiv 1805.02867) page by page; the query heads of one KV head go together, so a
// page is read once for all of them. Keys lie transposed, so that lanes are tokens. Sums run within segments of about a
// thousand tokens that are merged in order: few queries over a long context are split over threads at the same borders
// that one thread would use, so the bits are the same.
#pragma once
#include "../simd.h"
#include "../step.h"

namespace jamba::JAMBA_LEVEL {

constexpr int64_t segmentTokens = 1024;
/** Queries (tokens times heads) of a task, about. */
constexpr int64_t taskQueries = 64;

struct AttentionPlan {
  const StateLayout* states;
  AttentionShape kv;
  int64_t offset, group, headDim16, pagesPerSegment, blockTokens, queries;
  bool split;

  AttentionPlan(const Command& c, const Step& step) : states(step.states) {
    const LayerSpec& layer = states->layers[c.layer];
    kv = layer.kv, offset = layer.offset;
    group = c.in[0].columns / kv.headDim / kv.nKvHeads;
    headDim16 = roundUp(kv.headDim, 16);
    pagesPerSegment = (segmentTokens + states->pageTokens - 1) / states->pageTokens;
    blockTokens = taskQueries / group > 1 ? taskQueries / group : 1;
    queries = blockTokens * group;
    int64_t tasks = 0;
    for (const Sequence& s : step.sequences) tasks += blocks(s) * kv.nKvHeads;
    split = tasks < 4 * step.threads;
  }
  int64_t blocks(const Sequence& s) const { return (s.to - s.from + blockTokens - 1) / blockTokens; }
  int64_t segments(const Sequence& s) const {
    const int64_t pages = (s.seen + s.to - s.from + states->pageTokens - 1) / states->pageTokens;
    return (pages + pagesPerSegment - 1) / pagesPerSegment;
  }
  int64_t tasks(const Sequence& s) const { return blocks(s) * kv.nKvHeads * (split ? segments(s) : 1); }
  uint8_t* head(const Sequence& s, int64_t page, int64_t head) const {
    return s.pages[page] + offset + head * (states->kElements(kv) + states->vElements(kv)) * states->kvBytes();
  }
  /** Floats of one block's sums: most, total, and y of every query. */
  int64_t sumFloats() const { return queries * (2 + headDim16); }
  int64_t stripFloats() const { return 2 * W * (kv.headDim > states->pageStride() ? kv.headDim : states->pageStride()); }
  /** What a page wants: a strip of keys or values at a time, its scores, and what each query keeps of its sums. */
  int64_t pageFloats() const { return stripFloats() + states->pageStride() * queries + roundUp(queries, 16); }
  /** Scratch of a task: queries, what a page wants, sums of a segment and of all so far. */
  int64_t localFloats() const {
    return queries * kv.headDim + pageFloats() + 2 * sumFloats() + 64;
  }
};

/** For each query the largest score, the sum of e^(score - most), and the sum of values with those weights. */
struct Sums {
  float *most, *total, *y;
  Sums(float* at, const AttentionPlan& a) : most(at), total(at + a.queries), y(at + 2 * a.queries) {}
};

static void appendTask(const Phase& p, int task, Worker&) {
  const Command& c = *p.command;
  const Step& step = *p.step;
  const StateLayout& states = *step.states;
  const LayerSpec& layer = states.layers[c.layer];
  const Tensor tensors[2] = {c.in[1], c.in[2]};
  // Tasks count tokens of the step.
  const int64_t t = task;
  const Sequence* s = step.sequences.data();
  while (t >= s->to) s++;
  const int64_t position = s->seen + t - s->from, slot = position % states.pageTokens, headDim = layer.kv.headDim;
  for (int64_t head = 0; head < layer.kv.nKvHeads; head++) {
    uint8_t* base = s->pages[position / states.pageTokens] + layer.offset + head * (states.kElements(layer.kv) + states.vElements(layer.kv)) * states.kvBytes();
    for (int which = 0; which < 2; which++) {
      const float* from = step.at(tensors[which]) + t * tensors[which].stride + head * headDim;
      const int64_t first = which == 0 ? slot : states.kElements(layer.kv) + slot * roundUp(headDim, 16);
      const int64_t stride = which == 0 ? states.pageStride() : 1;
      for (int64_t i = 0; i < headDim; i += W) {
        const int n = headDim - i < W ? (int)(headDim - i) : W;
        // f16 ends at 65504; a larger value must not become infinite.
        const F32 v = loadFirst(from + i, n), held = states.kvDtype == Dtype::f16 ? min(set1(65504.0f), max(set1(-65504.0f), v)) : v;
        float wide[W];
        uint16_t half[W] = {};
        store(wide, held);
        if (states.kvDtype == Dtype::f16) storeF16(half, held);
        if (states.kvDtype == Dtype::bf16) storeBf16(half, held);
        for (int j = 0; j < n; j++) {
          const int64_t at = first + (i + j) * stride;
          if (states.kvDtype == Dtype::f32)
            ((float*)base)[at] = wide[j];
          else
            ((uint16_t*)base)[at] = half[j];
        }
      }
    }
  }
}

/** A strip of C vectors of each row, as floats without gaps: rows a power of two apart would push each other out of the first-level cache. */
template <int C>
JAMBA_INLINE void widenStrip(float* to, const uint8_t* from, Dtype dtype, int64_t rows, int64_t stride) {
  const auto each = [&](auto load) {
    for (int64_t i = 0; i < rows; i++)
      for (int c = 0; c < C; c++) store(to + (i * C + c) * W, load(i * stride + c * W));
  };
  if (dtype == Dtype::f32) each([&](int64_t at) { return load((const float*)from + at); });
  if (dtype == Dtype::f16) each([&](int64_t at) { return loadF16((const uint16_t*)from + at); });
  if (dtype == Dtype::bf16) each([&](int64_t at) { return loadBf16((const uint16_t*)from + at); });
}

/** Queries that go together: with two vectors each their sums fill the registers, and a value that is loaded serves two products. */
constexpr int rowsAtOnce = W == 16 ? 10 : W == 8 ? 5 : 4;  // of four lanes, engines of WebAssembly keep one for themselves

/** Calls f.operator()<R>(r) for rows r … r + R - 1, until all are had. */
template <class F>
JAMBA_INLINE void byRows(int64_t n, const F& f) {
  int64_t r = 0;
  for (; r + rowsAtOnce <= n; r += rowsAtOnce) f.template operator()<rowsAtOnce>(r);
  for (; r + 4 <= n; r += 4) f.template operator()<4>(r);
  for (; r < n; r++) f.template operator()<1>(r);
}

/** scores[r] = q[r] · k for R queries and a strip of C vectors of tokens. */
template <int R, int C>
JAMBA_INLINE void scoreTile(const float* q, const float* k, int64_t headDim, int64_t stride, float* scores) {
  F32 sums[R][C] = {};
  for (int64_t i = 0; i < headDim; i++) {
    F32 keys[C];
    for (int c = 0; c < C; c++) keys[c] = load(k + (i * C + c) * W);
#pragma GCC unroll 10
    for (int r = 0; r < R; r++) {
      const F32 x = set1(q[r * headDim + i]);
      for (int c = 0; c < C; c++) sums[r][c] = fma(x, keys[c], sums[r][c]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) store(scores + r * stride + c * W, sums[r][c]);
}

/** y[r] = keep[r] y[r] + Σ_s weights[r][s] v[s] for R queries and a strip of C vectors of columns. */
template <int R, int C>
JAMBA_INLINE void valueTile(const float* weights, int64_t stride, const float* v, int64_t headDim16, int64_t n, const float* keep, float* y) {
  F32 sums[R][C];
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) sums[r][c] = mul(load(y + r * headDim16 + c * W), set1(keep[r]));
  for (int64_t s = 0; s < n; s++) {
    F32 values[C];
    for (int c = 0; c < C; c++) values[c] = load(v + (s * C + c) * W);
#pragma GCC unroll 10
    for (int r = 0; r < R; r++) {
      const F32 x = set1(weights[r * stride + s]);
      for (int c = 0; c < C; c++) sums[r][c] = fma(x, values[c], sums[r][c]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) store(y + r * headDim16 + c * W, sums[r][c]);
}

/** Calls f.operator()<C>(i) for vectors i … of n lanes, two at a time: so many keys or values stay in the first-level cache for all queries. */
template <class F>
JAMBA_INLINE void byStrips(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + W < n; i += 2 * W) f.template operator()<2>(i);
  for (; i < n; i += W) f.template operator()<1>(i);
}

JAMBA_INLINE float scalarExp(float x) {
  float lanes[W];
  store(lanes, exp(set1(x)));
  return lanes[0];
}

/** One segment of one block of queries; query r is of token t0 + r / group. */
static void attendSegment(const AttentionPlan& a, const Sequence& s, int64_t kvHead, const float* q, int64_t nQueries, int64_t firstPosition, int64_t segment,
                          float* local, const Sums& sums) {
  const int64_t pageTokens = a.states->pageTokens, stride = a.states->pageStride(), headDim = a.kv.headDim;
  const int64_t kvBytes = a.states->kvBytes();
  float *strip = local, *scores = strip + a.stripFloats(), *keep = scores + a.queries * stride;
  for (int64_t r = 0; r < nQueries; r++) sums.most[r] = -__builtin_inff(), sums.total[r] = 0;
  memset(sums.y, 0, nQueries * a.headDim16 * 4);
  const int64_t lastPosition = firstPosition + (nQueries - 1) / a.group;
  for (int64_t page = segment * a.pagesPerSegment; page < (segment + 1) * a.pagesPerSegment && page * pageTokens <= lastPosition; page++) {
    const int64_t start = page * pageTokens, n = lastPosition + 1 - start < pageTokens ? lastPosition + 1 - start : pageTokens;
    const uint8_t *keys = a.head(s, page, kvHead), *values = keys + a.states->kElements(a.kv) * kvBytes;
    byStrips(n, [&]<int C>(int64_t s) {
      widenStrip<C>(strip, keys + s * kvBytes, a.states->kvDtype, headDim, stride);
      byRows(nQueries, [&]<int R>(int64_t r) { scoreTile<R, C>(q + r * headDim, strip, headDim, stride, scores + r * stride + s); });
    });
    const auto soften = [&](int64_t r) {
      float* row = scores + r * stride;
      int64_t visible = firstPosition + r / a.group + 1 - start;
      visible = visible < n ? visible : n;
      if (visible <= 0) {
        memset(row, 0, n * 4);
        return 1.0f;
      }
      const int64_t filled = roundUp(visible, W);
      for (int64_t i = visible; i < filled; i++) row[i] = -__builtin_inff();
      F32 most = set1(sums.most[r]);
      for (int64_t i = 0; i < filled; i += W) most = max(most, load(row + i));
      const float now = largest(most);
      F32 total = zero();
      for (int64_t i = 0; i < filled; i += W) {
        const F32 e = exp(add(load(row + i), set1(-now)));
        total = add(total, e);
        store(row + i, e);
      }
      for (int64_t i = visible; i < n; i++) row[i] = 0;
      const float kept = scalarExp(sums.most[r] - now);
      sums.total[r] = sums.total[r] * kept + sum(total);
      sums.most[r] = now;
      return kept;
    };
    for (int64_t r = 0; r < nQueries; r++) keep[r] = soften(r);
    byStrips(a.headDim16, [&]<int C>(int64_t i) {
      widenStrip<C>(strip, values + i * kvBytes, a.states->kvDtype, n, a.headDim16);
      byRows(nQueries, [&]<int R>(int64_t r) {
        valueTile<R, C>(scores + r * stride, stride, strip, a.headDim16, n, keep + r, sums.y + r * a.headDim16 + i);
      });
    });
  }
}

/** Adds the sums of a later segment to those of all before. */
static void mergeSegment(const AttentionPlan& a, int64_t nQueries, const Sums& into, const Sums& from, bool first) {
  for (int64_t r = 0; r < nQueries; r++) {
    if (!first && from.total[r] == 0) continue;
    const float now = first || from.most[r] > into.most[r] ? from.most[r] : into.most[r];
    const float keep = first ? 0.0f : scalarExp(into.most[r] - now), take = first ? 1.0f : scalarExp(from.most[r] - now);
    for (int64_t i = 0; i < a.headDim16; i += W) {
      float *to = into.y + r * a.headDim16 + i, *more = from.y + r * a.headDim16 + i;
      store(to, first ? load(more) : fma(load(more), set1(take), mul(load(to), set1(keep))));
    }
    into.total[r] = first ? from.total[r] : from.total[r] * take + into.total[r] * keep;
    into.most[r] = now;
  }
}

static void emitBlock(const AttentionPlan& a, const Command& c, const Step& step, int64_t kvHead, int64_t t0, int64_t nQueries, const Sums& sums) {
  const Tensor& y = c.out[0];
  for (int64_t r = 0; r < nQueries; r++) {
    float* to = step.at(y) + (t0 + r / a.group) * y.stride + (kvHead * a.group + r % a.group) * a.kv.headDim;
    const F32 scale = set1(1.0f / sums.total[r]);
    for (int64_t i = 0; i < a.kv.headDim; i += W) {
      const int n = a.kv.headDim - i < W ? (int)(a.kv.headDim - i) : W;
      storeFirst(to + i, mul(load(sums.y + r * a.headDim16 + i), scale), n);
    }
  }
}

/** Which sequence, KV head, block of tokens and segment a task is. */
struct AttentionTask {
  const Sequence* s;
  int64_t kvHead, block, segment, t0, nQueries, index;

  AttentionTask(const AttentionPlan& a, const Step& step, int64_t task) {
    int64_t before = 0;
    for (s = step.sequences.data(); task >= a.tasks(*s); s++) task -= a.tasks(*s), before += a.tasks(*s);
    const int64_t segments = a.split ? a.segments(*s) : 1;
    index = before + task;
    segment = task % segments;
    kvHead = task / segments % a.kv.nKvHeads;
    block = task / segments / a.kv.nKvHeads;
    t0 = s->from + block * a.blockTokens;
    const int64_t left = s->to - t0;
    nQueries = (left < a.blockTokens ? left : a.blockTokens) * a.group;
  }
};

static void attendTask(const Phase& p, int task, Worker& worker) {
  const Command& c = *p.command;
  const Step& step = *p.step;
  const AttentionPlan a(c, step);
  const AttentionTask at(a, step, task);
  const Tensor& qs = c.in[0];
  const int64_t headDim = a.kv.headDim;
  float* q = (float*)worker.local;
  float* local = q + roundUp(a.queries * headDim, 16);
  float* sums = local + a.pageFloats();
  const F32 scale = set1(1.0f / __builtin_sqrtf((float)headDim));
  for (int64_t r = 0; r < at.nQueries; r++) {
    const float* row = step.at(qs) + (at.t0 + r / a.group) * qs.stride + (at.kvHead * a.group + r % a.group) * headDim;
    for (int64_t i = 0; i < headDim; i += W) {
      const int n = headDim - i < W ? (int)(headDim - i) : W;
      storeFirst(q + r * headDim + i, mul(loadFirst(row + i, n), scale), n);
    }
  }
  const int64_t position = at.s->seen + at.t0 - at.s->from;
  if (a.split) {
    const Sums into((float*)(step.scratch) + at.index * a.sumFloats(), a);
    return attendSegment(a, *at.s, at.kvHead, q, at.nQueries, position, at.segment, local, into);
  }
  const Sums all(sums, a), one(sums + a.sumFloats(), a);
  const int64_t last = (position + (at.nQueries - 1) / a.group) / (a.pagesPerSegment * a.states->pageTokens);
  for (int64_t segment = 0; segment <= last; segment++) {
    attendSegment(a, *at.s, at.kvHead, q, at.nQueries, position, segment, local, one);
    mergeSegment(a, at.nQueries, all, one, segment == 0);
  }
  emitBlock(a, c, step, at.kvHead, at.t0, at.nQueries, all);
}

/** One task for all segments of a block, whose sums lie in scratch one after another. */
static void mergeTask(const Phase& p, int task, Worker& worker) {
  const Command& c = *p.command;
  const Step& step = *p.step;
  const AttentionPlan a(c, step);
  const AttentionTask at(a, step, task);
  if (at.segment != 0) return;
  const Sums all((float*)worker.local, a);
  for (int64_t segment = 0; segment < a.segments(*at.s); segment++)
    mergeSegment(a, at.nQueries, all, Sums((float*)step.scratch + (at.index + segment) * a.sumFloats(), a), segment == 0);
  emitBlock(a, c, step, at.kvHead, at.t0, at.nQueries, all);
}

static void planAttention(const Command& c, Step& step) {
  const AttentionPlan a(c, step);
  step.add(appendTask, c, c.in[0].rows);
  int64_t tasks = 0;
  for (const Sequence& s : step.sequences) tasks += a.tasks(s);
  step.needLocal((a.localFloats() + 16) * 4);
  step.add(attendTask, c, tasks);
  if (!a.split) return;
  step.needScratch(tasks * a.sumFloats() * 4);
  step.add(mergeTask, c, tasks);
}

}  // namespace jamba::JAMBA_LEVEL

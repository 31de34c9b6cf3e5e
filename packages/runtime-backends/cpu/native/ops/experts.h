//   y[t] = Σ_j weights[t, j] · down_e (silu(gate_e x[t]) · up_e x[t]),   e = experts[t, j]   (+ y)
//
// Tokens are grouped by expert, so that a panel is read once for all tokens that were routed to it, and only routed experts
// are read. A (token, j) pair keeps a row of its own until the sum over j, whose order is therefore always the same.
#pragma once
#include "matmul.h"

namespace jamba::JAMBA_LEVEL {

/** In scratch: pairs sorted by expert. */
struct Groups {
  int32_t* start;   // [nExperts + 1]: pairs of expert e are [start[e], start[e + 1])
  int32_t* active;  // [nExperts]: experts that have pairs, then -1
  int32_t* token;   // [pairs]: of the pair at this place
  int32_t* place;   // [L, nActive]: where a pair went
};

struct ExpertShape {
  int64_t L, nActive, pairs, nExperts, dModel, dFf;
  Form inForm[2], hiddenForm;
  int64_t input[2], hidden, hiddenActs, result;  // offsets in scratch, behind the groups
  int64_t bytes, maxActive;
};

JAMBA_INLINE ExpertShape expertShape(const Command& c) {
  const Tensor &x = c.in[0], &experts = c.in[1];
  ExpertShape s{};
  s.L = x.rows, s.nActive = experts.columns, s.pairs = s.L * s.nActive;
  s.nExperts = c.weights[0].stack, s.dModel = c.weights[0].columns, s.dFf = c.weights[0].rows;
  s.maxActive = s.pairs < s.nExperts ? s.pairs : s.nExperts;
  int64_t at = roundUp((2 * s.nExperts + 1 + 2 * s.pairs) * 4, 64);
  const auto take = [&](int64_t bytes) {
    const int64_t from = at;
    at += roundUp(bytes, 64);
    return from;
  };
  for (int i = 0; i < 2; i++) {
    s.inForm[i] = formOf(c.weights[i].dtype);
    s.input[i] = i == 1 && s.inForm[1] == s.inForm[0] ? s.input[0] : take(s.pairs * formBytes(s.inForm[i], s.dModel));
  }
  s.hiddenForm = formOf(c.weights[2].dtype);
  s.hidden = take(s.pairs * s.dFf * 4);
  s.hiddenActs = take(s.pairs * formBytes(s.hiddenForm, s.dFf));
  s.result = take(s.pairs * s.dModel * 4);
  s.bytes = at;
  return s;
}

JAMBA_INLINE Groups groupsOf(const ExpertShape& s, uint8_t* scratch) {
  int32_t* at = (int32_t*)scratch;
  return {at, at + s.nExperts + 1, at + 2 * s.nExperts + 1, at + 2 * s.nExperts + 1 + s.pairs};
}

static void groupTask(const Phase& p, int, Worker&) {
  const ExpertShape s = expertShape(*p.command);
  const Groups g = groupsOf(s, p.step->scratch);
  const Tensor& experts = p.command->in[1];
  const int32_t* chosen = p.step->integers(experts);
  memset(g.start, 0, (s.nExperts + 1) * 4);
  // A route that came from outside may name no expert at all; it counts as the nearest one that exists.
  const auto expertOf = [&](int64_t t, int64_t j) {
    const int64_t e = chosen[t * experts.stride + j];
    return e < 0 ? 0 : e < s.nExperts ? e : s.nExperts - 1;
  };
  for (int64_t t = 0; t < s.L; t++)
    for (int64_t j = 0; j < s.nActive; j++) g.start[expertOf(t, j) + 1]++;
  int n = 0;
  for (int64_t e = 0; e < s.nExperts; e++) {
    if (g.start[e + 1] > 0) g.active[n++] = (int32_t)e;
    g.start[e + 1] += g.start[e];
  }
  for (int64_t i = n; i < s.nExperts; i++) g.active[i] = -1;
  for (int64_t e = s.nExperts; e > 0; e--) g.start[e] = g.start[e - 1];
  // start[e + 1] is where the next pair of expert e goes; after the last it is the end of expert e.
  for (int64_t t = 0; t < s.L; t++)
    for (int64_t j = 0; j < s.nActive; j++) {
      const int32_t at = g.start[expertOf(t, j) + 1]++;
      g.token[at] = (int32_t)t;
      g.place[t * s.nActive + j] = at;
    }
}

/** Brings the rows of some pairs of one expert into a weight's form. `row(pair)` gives the row. */
template <class Row>
JAMBA_INLINE void placePairs(int64_t first, int64_t last, int64_t from, int64_t to, Form form, uint8_t* acts, int64_t columns, float* local, const Row& row) {
  acts += first * formBytes(form, columns);
  for (int64_t start = from; start < to;) {
    const int T = tileSizes[tileKind(start - first, last - first)];
    for (int t = 0; t < T; t++)
      place(padded(row(start + t), columns, local), columns, form, acts + (start - first) * formBytes(form, columns), T, t);
    start += T;
  }
}

constexpr int64_t pairsPerTask = 4 * tileTokens;

/** Tasks by place in the sorted pairs; a task takes the tiles that start within its share. */
template <class Each>
JAMBA_INLINE void tilesOfShare(const Groups& g, const ExpertShape& s, int task, const Each& each) {
  const int64_t from = task * pairsPerTask, to = from + pairsPerTask;
  for (int64_t i = 0; i < s.nExperts && g.active[i] >= 0; i++) {
    const int64_t first = g.start[g.active[i]], last = g.start[g.active[i] + 1];
    if (last <= from) continue;
    if (first >= to) break;
    // The share of this expert in whole tiles, counted from its first pair.
    const int64_t a = first >= from ? first : first + roundUp(from - first, tileTokens), b = first + roundUp(to - first, tileTokens);
    if (a < last) each(first, last, a, b < last ? b : last);
  }
}

static void placeInputTask(const Phase& p, int task, Worker& worker) {
  const Command& c = *p.command;
  const ExpertShape s = expertShape(c);
  const Groups g = groupsOf(s, p.step->scratch);
  const Tensor& x = c.in[0];
  const auto row = [&](int64_t pair) { return p.step->at(x) + (int64_t)g.token[pair] * x.stride; };
  tilesOfShare(g, s, task, [&](int64_t first, int64_t last, int64_t a, int64_t b) {
    for (int i = 0; i < (s.input[1] == s.input[0] ? 1 : 2); i++)
      placePairs(first, last, a, b, s.inForm[i], p.step->scratch + s.input[i], s.dModel, (float*)worker.local, row);
  });
}

static void placeHiddenTask(const Phase& p, int task, Worker& worker) {
  const ExpertShape s = expertShape(*p.command);
  const Groups g = groupsOf(s, p.step->scratch);
  const float* hidden = (const float*)(p.step->scratch + s.hidden);
  tilesOfShare(g, s, task, [&](int64_t first, int64_t last, int64_t a, int64_t b) {
    placePairs(first, last, a, b, s.hiddenForm, p.step->scratch + s.hiddenActs, s.dFf, (float*)worker.local,
               [&](int64_t pair) { return hidden + pair * s.dFf; });
  });
}

JAMBA_INLINE void storePanel(float* to, int64_t stride, int64_t rows, int64_t panel, int T, const float* out) {
  for (int t = 0; t < T; t++)
    for (int v = 0; v < V; v++) {
      const int64_t n = rows - panel * panelRows - v * W;
      if (n > 0) storeFirst(to + t * stride + panel * panelRows + v * W, load(out + t * panelRows + v * W), n < W ? (int)n : W);
    }
}

/** Tasks: expert by chunk of panels, args[0] panels in a chunk, args[1] chunks. */
static void gateUpExpertsTask(const Phase& p, int task, Worker& worker) {
  const Command& c = *p.command;
  const ExpertShape s = expertShape(c);
  const Groups g = groupsOf(s, p.step->scratch);
  const int64_t expert = g.active[task / p.args[1]];
  if (expert < 0) return;
  const int64_t first = g.start[expert], n = g.start[expert + 1] - first;
  const int64_t p0 = task % p.args[1] * p.args[0], p1 = p0 + p.args[0] < c.weights[0].panels() ? p0 + p.args[0] : c.weights[0].panels();
  float* hidden = (float*)(p.step->scratch + s.hidden) + first * s.dFf;
  const uint8_t* x[2];
  for (int i = 0; i < 2; i++) x[i] = p.step->scratch + s.input[i] + first * formBytes(s.inForm[i], s.dModel);
  constexpr int64_t together = 32 * tileTokens;
  for (int64_t a = 0; a < n; a += together)
    multiplyGateUp(c.weights[0], c.weights[1], expert, p0, p1, x[0], x[1], a, a + together < n ? a + together : n, n, (float*)worker.local,
                   [&](int64_t panel, int64_t t, int T, const float* out) { storePanel(hidden + t * s.dFf, s.dFf, s.dFf, panel, T, out); });
}

static void downExpertsTask(const Phase& p, int task, Worker&) {
  const Command& c = *p.command;
  const ExpertShape s = expertShape(c);
  const Groups g = groupsOf(s, p.step->scratch);
  const int64_t expert = g.active[task / p.args[1]];
  if (expert < 0) return;
  const Matrix& down = c.weights[2];
  const int64_t first = g.start[expert], n = g.start[expert + 1] - first;
  const int64_t p0 = task % p.args[1] * p.args[0], p1 = p0 + p.args[0] < down.panels() ? p0 + p.args[0] : down.panels();
  float* result = (float*)(p.step->scratch + s.result) + first * s.dModel;
  multiply(down, expert, p0, p1, p.step->scratch + s.hiddenActs + first * formBytes(s.hiddenForm, s.dFf), 0, n, n,
           [&](int64_t panel, int64_t t, int T, const float* out) { storePanel(result + t * s.dModel, s.dModel, s.dModel, panel, T, out); });
}

static void combineTask(const Phase& p, int task, Worker&) {
  const Command& c = *p.command;
  const ExpertShape s = expertShape(c);
  const Groups g = groupsOf(s, p.step->scratch);
  const Tensor &weights = c.in[2], &y = c.out[0];
  const float* result = (const float*)(p.step->scratch + s.result);
  for (int64_t t = task * p.args[0]; t < s.L && t < (task + 1) * p.args[0]; t++) {
    const float* share = p.step->at(weights) + t * weights.stride;
    float* to = p.step->at(y) + t * y.stride;
    for (int64_t i = 0; i < s.dModel; i += W) {
      const int n = s.dModel - i < W ? (int)(s.dModel - i) : W;
      F32 sum = zero();
      for (int64_t j = 0; j < s.nActive; j++) sum = fma(set1(share[j]), loadFirst(result + g.place[t * s.nActive + j] * s.dModel + i, n), sum);
      if (c.accumulate) sum = add(sum, loadFirst(to + i, n));
      storeFirst(to + i, sum, n);
    }
  }
}

static void planExperts(const Command& c, Step& step) {
  const ExpertShape s = expertShape(c);
  if (s.L == 0) return;
  step.needScratch(s.bytes);
  step.add(groupTask, c, 1);
  const int64_t shares = (s.pairs + pairsPerTask - 1) / pairsPerTask;
  step.add(placeInputTask, c, shares);
  const int64_t widest = s.dModel > s.dFf ? s.dModel : s.dFf;
  step.needLocal(roundUp(widest, 64) * 4);
  const auto addPanels = [&](Phase::Run run, const Matrix& m, const Matrix& other) {
    const Cut k = cutBoth(m, other, (s.pairs + s.maxActive - 1) / s.maxActive, step.threads);
    Phase& p = step.add(run, c, s.maxActive * k.panelChunks);
    p.args[0] = k.panels, p.args[1] = k.panelChunks;
    step.needLocal(k.panels * 32 * tileTokens * panelRows * 4);
  };
  addPanels(gateUpExpertsTask, c.weights[0], c.weights[1]);
  step.add(placeHiddenTask, c, shares);
  addPanels(downExpertsTask, c.weights[2], c.weights[2]);
  constexpr int64_t tokensPerTask = 32;
  step.add(combineTask, c, (s.L + tokensPerTask - 1) / tokensPerTask).args[0] = tokensPerTask;
}

}  // namespace jamba::JAMBA_LEVEL

// Of each row of logits l the k best, best first and ties to the lower id, and over all that are finite, with T the row's temperature:
//
//   max,  Σ e^(l - max),  Σ e^(l - max) (max - l),  Σ e^((l - max) / T),  count
//
// A row goes in chunks, so that one row keeps all threads busy. Its logits fall into sets, one for each lane of a chunk's vectors. Where k
// sets have a logit of at least some bound, so do the k best of all: what is below the bound is never looked at again. Chunks and the order
// of their sums are the same for any number of threads.
#pragma once
#include <bit>
#include <cfloat>
#include <cmath>
#include <utility>

#include "../exponentials.h"
#include "../step.h"

namespace jamba::JAMBA_LEVEL {

/** Logits of one task: 16 KB, which stay in the first-level cache between its passes. */
constexpr int64_t chunkLogits = 4096;
constexpr int setVectors = 8, nSets = setVectors * W;
static_assert(chunkLogits % nSets == 0 && setVectors % together == 0);

struct Candidate {
  uint32_t order;
  int32_t id;
};
/** Falls where logits rise; -0 and 0 are one. */
JAMBA_INLINE uint32_t orderOf(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);
  return bits >> 31 ? bits : ~(bits | 0x80000000);
}
JAMBA_INLINE float logitOf(uint32_t order) { return std::bit_cast<float>(order >> 31 ? order : ~order & 0x7fffffff); }

/** By order; what is equal stays as it lies. `room` holds as many. */
static void sortCandidates(Candidate* found, Candidate* room, int64_t n) {
  for (int shift = 0; shift < 32; shift += 8) {
    int32_t at[256] = {};
    for (int64_t i = 0; i < n; i++) at[found[i].order >> shift & 255]++;
    int32_t sum = 0;
    for (int32_t& count : at) count = (sum += count) - count;
    for (int64_t i = 0; i < n; i++) room[at[found[i].order >> shift & 255]++] = found[i];
    std::swap(found, room);
  }
}

struct TopChunk {
  float most;
  /** Finite logits; if fewer than the chunk has, it is read through a copy. */
  int32_t count;
  int64_t nFound;
  double sums[3];
};
struct TopRow {
  float most, bound;
};

/** Where the parts of a command lie in scratch, which holds some rows at a time. */
struct TopPlan {
  const Step& step;
  const Tensor &logits, &ids;
  int64_t chunks, mostFound;

  TopPlan(const Command& c, const Step& step) : step(step), logits(c.in[0]), ids(c.out[0]) {
    chunks = (logits.columns + chunkLogits - 1) / chunkLogits;
    mostFound = ids.columns < chunkLogits ? ids.columns : chunkLogits;
  }
  int64_t rowBytes() const { return (int64_t)sizeof(TopRow) + chunks * ((int64_t)sizeof(TopChunk) + nSets * 4 + mostFound * (int64_t)sizeof(Candidate)); }
  int64_t localBytes() const { return chunkLogits * 4 + (2 * chunkLogits + chunks * mostFound) * (int64_t)sizeof(Candidate); }
  /** As many as take a few megabytes. */
  int64_t rowsAtOnce() const {
    const int64_t rows = (4 << 20) / rowBytes();
    return rows < 1 ? 1 : rows > 64 ? 64 : rows;
  }

  TopRow& row(int64_t i) const { return *(TopRow*)(step.scratch + i * rowBytes()); }
  TopChunk* chunk(int64_t i) const { return (TopChunk*)(&row(i) + 1); }
  float* sets(int64_t i) const { return (float*)(chunk(i) + chunks); }
  Candidate* found(int64_t i) const { return (Candidate*)(sets(i) + chunks * nSets); }
  int64_t length(int64_t chunk) const { return logits.columns - chunk * chunkLogits < chunkLogits ? logits.columns - chunk * chunkLogits : chunkLogits; }
  const float* at(int64_t row, int64_t chunk) const { return step.at(logits) + row * logits.stride + chunk * chunkLogits; }
};

/** A copy of n logits in whole rounds of all sets, with -∞ for what is not finite and what is not there. @returns how many are finite */
static int32_t copyFinite(float* to, const float* from, int64_t n) {
  int32_t count = 0;
  for (int64_t i = 0; i < roundUp(n, nSets); i++) {
    const bool finite = i < n && std::fabs(from[i]) <= FLT_MAX;
    to[i] = finite ? from[i] : -INFINITY;
    count += finite;
  }
  return count;
}

/** The largest of each set. @returns whether all n, a whole number of rounds, are finite */
JAMBA_INLINE bool findMost(const float* x, int64_t n, float* sets) {
  // Only what is finite gives 0 when multiplied by 0; the rest gives NaN.
  F32 most[setVectors], zeros[4] = {zero(), zero(), zero(), zero()};
  for (F32& one : most) one = set1(-INFINITY);
  for (int64_t i = 0; i < n; i += nSets)
#pragma GCC unroll 8
    for (int j = 0; j < setVectors; j++) {
      const F32 v = load(x + i + j * W);
      most[j] = max(v, most[j]);
      zeros[j % 4] = fma(v, zero(), zeros[j % 4]);
    }
  for (int j = 0; j < setVectors; j++) store(sets + j * W, most[j]);
  return sum(add(add(zeros[0], zeros[1]), add(zeros[2], zeros[3]))) == 0.0f;
}

static void scanTask(const Phase& p, int task, Worker& worker) {
  const TopPlan a(*p.command, *p.step);
  const int64_t i = task / a.chunks, which = task % a.chunks, n = a.length(which);
  const float* x = a.at(p.args[0] + i, which);
  TopChunk& chunk = a.chunk(i)[which];
  float* sets = a.sets(i) + which * nSets;
  chunk.count = (int32_t)n;
  if (n % nSets != 0 || !findMost(x, n, sets)) {
    chunk.count = copyFinite((float*)worker.local, x, n);
    findMost((float*)worker.local, roundUp(n, nSets), sets);
  }
  F32 most = load(sets);
  for (int j = 1; j < setVectors; j++) most = max(most, load(sets + j * W));
  chunk.most = largest(most);
}

/** A bound that at least k of n logits reach, hardly more than k if possible; the lowest finite one if there are not as many. */
static float boundOf(const float* sets, int64_t n, int64_t k, float most) {
  const auto count = [&](float bound) {
    int64_t reached = 0;
    for (int64_t i = 0; i < n; i += W) reached += __builtin_popcount(atLeast(load(sets + i), set1(bound)));
    return reached;
  };
  uint32_t first = orderOf(most), last = orderOf(-FLT_MAX);
  while (first < last) {
    const uint32_t middle = first + (last - first) / 2;
    const int64_t reached = count(logitOf(middle));
    if (reached < k)
      first = middle + 1;
    else
      last = middle;
    if (reached >= k && reached <= k + k / 8) break;
  }
  return logitOf(last);
}

static void boundTask(const Phase& p, int i, Worker&) {
  const TopPlan a(*p.command, *p.step);
  TopRow& row = a.row(i);
  row.most = -INFINITY;
  for (int64_t j = 0; j < a.chunks; j++) row.most = a.chunk(i)[j].most > row.most ? a.chunk(i)[j].most : row.most;
  row.bound = row.most < -FLT_MAX ? -FLT_MAX : boundOf(a.sets(i), a.chunks * nSets, a.ids.columns, row.most);
}

static void sumTask(const Phase& p, int task, Worker& worker) {
  const TopPlan a(*p.command, *p.step);
  const int64_t i = task / a.chunks, which = task % a.chunks, row = p.args[0] + i, n = roundUp(a.length(which), nSets);
  const TopRow& known = a.row(i);
  TopChunk& chunk = a.chunk(i)[which];
  chunk.nFound = 0, chunk.sums[0] = chunk.sums[1] = chunk.sums[2] = 0;
  if (chunk.count == 0) return;
  const float* x = a.at(row, which);
  float* local = (float*)worker.local;
  if (chunk.count < n) copyFinite(local, x, a.length(which)), x = local;
  const float temperature = p.step->temperatures[row];
  (temperature == 1 ? addExponentials<false> : addExponentials<true>)(x, n, known.most, temperature, chunk.sums);
  if (chunk.most < known.bound) return;
  Candidate* found = (Candidate*)(local + chunkLogits);
  const F32 bound = set1(known.bound);
  for (int64_t round = 0; round < n; round += nSets) {
    F32 highest = load(x + round);
    for (int j = 1; j < setVectors; j++) highest = max(highest, load(x + round + j * W));
    if (!atLeast(highest, bound)) continue;
    for (int64_t j = round; j < round + nSets; j += W)
      for (uint32_t reached = atLeast(load(x + j), bound); reached; reached &= reached - 1) {
        const int64_t id = j + __builtin_ctz(reached);
        found[chunk.nFound++] = {orderOf(x[id]), (int32_t)(which * chunkLogits + id)};
      }
  }
  if (chunk.nFound > a.mostFound) {
    sortCandidates(found, found + chunkLogits, chunk.nFound);
    chunk.nFound = a.mostFound;
  }
  memcpy(a.found(i) + which * a.mostFound, found, chunk.nFound * sizeof(Candidate));
}

static void finishTask(const Phase& p, int i, Worker& worker) {
  const TopPlan a(*p.command, *p.step);
  const Step& step = *p.step;
  const Command& c = *p.command;
  const int64_t row = p.args[0] + i, k = a.ids.columns;
  const float* logits = a.at(row, 0);
  Candidate* found = a.found(i);
  int64_t n = 0, count = 0;
  double sums[3] = {};
  for (int64_t j = 0; j < a.chunks; j++) {
    const TopChunk& chunk = a.chunk(i)[j];
    memmove(found + n, found + j * a.mostFound, chunk.nFound * sizeof(Candidate));
    n += chunk.nFound, count += chunk.count;
    for (int s = 0; s < 3; s++) sums[s] += chunk.sums[s];
  }
  sortCandidates(found, (Candidate*)worker.local, n);
  int32_t* ids = step.integers(a.ids) + row * a.ids.stride;
  float *values = step.at(c.out[1]) + row * c.out[1].stride, *to = step.at(c.out[2]) + row * c.out[2].stride;
  for (int64_t j = 0; j < k; j++) ids[j] = j < n ? found[j].id : -1, values[j] = j < n ? logits[found[j].id] : -INFINITY;
  to[0] = a.row(i).most + 0.0f, to[4] = (float)count;  // never -0, whichever zero came first
  for (int s = 0; s < 3; s++) to[1 + s] = (float)sums[s];
  if (step.askedStarts.empty()) return;
  float* asked = (float*)step.outputs[c.host].data;
  for (int64_t j = step.askedStarts[row]; j < step.askedStarts[row + 1]; j++) asked[j] = logits[step.askedIds[j]];
}

static void planTop(const Command& c, Step& step) {
  if (c.in[0].rows == 0) return;
  const TopPlan a(c, step);
  const int64_t rows = a.logits.rows, atOnce = a.rowsAtOnce();
  step.needScratch(atOnce * a.rowBytes()), step.needLocal(a.localBytes());
  for (int64_t from = 0; from < rows; from += atOnce) {
    const int64_t n = rows - from < atOnce ? rows - from : atOnce;
    step.add(scanTask, c, n * a.chunks).args[0] = from;
    step.add(boundTask, c, n).args[0] = from;
    step.add(sumTask, c, n * a.chunks).args[0] = from;
    step.add(finishTask, c, n).args[0] = from;
  }
}

}  // namespace jamba::JAMBA_LEVEL

// What one step is made of: commands with their operands, the tokens of each sequence, and the phases that do the work.
#pragma once
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <vector>

#include "layout.h"

namespace jamba {

enum class Op : int32_t { input, embed, rmsNorm, matmul, causalConv, selectiveScan, attention, swiglu, route, experts, gatherRows, read, gateUp, top, keep };
constexpr const char* opNames[] = {"input", "embed", "rmsNorm", "matmul",     "causalConv", "selectiveScan", "attention", "swiglu",
                                   "route", "experts", "gatherRows", "read", "gateUp",     "top",           "keep"};
constexpr int nOps = std::size(opNames);
static_assert(nOps == (int)Op::keep + 1);

/** A matrix in the arena; `offset` and `stride` in 4-byte words. */
struct Tensor {
  int32_t offset = 0, stride = 0, rows = 0, columns = 0;
};

/** One command of a list. Which fields mean something depends on the op; names are those of core's command.ts. */
struct Command {
  Op op;
  /** x, z, dt, B, C | q, k, v | gate, up | logits | x, experts, weights: in the order of core's command.ts. */
  Tensor in[5];
  /** Of top: ids, values, sums. */
  Tensor out[4];
  /** matmul: one per out. experts and gateUp: gate, up, down. scan: A, D, dtBias. conv: weight, bias. */
  Matrix weights[4];
  int32_t nWeights = 0;
  /** Of matmul and gateUp: a norm of x that is taken on the way. */
  Matrix norm;
  bool hasBias = false, accumulate = false;
  Matrix bias;
  float eps = 0;
  int32_t layer = 0;
  /** Of input, read, top and keep: the how-manieth of the step's inputs, outputs or kept values. */
  int32_t host = 0;
};

struct MambaShape {
  int32_t dInner, dState, dConv;
};
struct AttentionShape {
  int32_t nKvHeads, headDim;
};
/** Of one layer, and where its part of a slot or a page starts, in bytes. */
struct LayerSpec {
  bool mamba = true;
  MambaShape ssm{};
  AttentionShape kv{};
  int64_t offset = 0;
};

inline int64_t roundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/**
 * Layout of slots and pages. Mamba: the convolution window [dConv - 1][dInner16], then h [dInner16 / 16][dState][16], f32.
 * Attention, per KV head: k transposed [headDim][pageTokens16], then v [pageTokens16][headDim16], in the KV dtype.
 * The 16 marks a width rounded up to panels.
 */
struct StateLayout {
  std::vector<LayerSpec> layers;
  int32_t pageTokens = 0;
  Dtype kvDtype = Dtype::f32;
  int64_t slotBytes = 0, pageBytes = 0;

  int64_t pageStride() const { return roundUp(pageTokens, 16); }
  int64_t kvBytes() const { return kvDtype == Dtype::f32 ? 4 : 2; }
  /** Of a slot or a page where it lies beside others. */
  static int64_t heldBytes(int64_t bytes) { return roundUp(bytes > 0 ? bytes : 1, 64); }
  static int64_t convFloats(const MambaShape& s) { return (s.dConv - 1) * roundUp(s.dInner, 16); }
  static int64_t hFloats(const MambaShape& s) { return roundUp(s.dInner, 16) * s.dState; }
  /** Elements of one KV head's k, which v follows. */
  int64_t kElements(const AttentionShape& s) const { return s.headDim * pageStride(); }
  int64_t vElements(const AttentionShape& s) const { return roundUp(s.headDim, 16) * pageStride(); }
};

struct Sequence {
  int32_t from = 0, to = 0;
  int64_t seen = 0;
  uint8_t* slot = nullptr;
  std::vector<uint8_t*> pages;
};

struct HostBuffer {
  uint8_t* data = nullptr;
  size_t bytes = 0;
};

struct Step;
/** Work of one thread: `local` is scratch of its own. */
struct Worker {
  uint8_t* local = nullptr;
};
/** Tasks 0 … nTasks - 1 in any order, on any threads; the next phase starts when all are done. */
struct Phase {
  using Run = void (*)(const Phase&, int task, Worker&);
  Run run = nullptr;
  const Step* step = nullptr;
  const Command* command = nullptr;
  int32_t nTasks = 0;
  /** What the op's plan wants its tasks to know. */
  int64_t args[10] = {};
  alignas(64) std::atomic<int32_t> next{0};
  alignas(64) std::atomic<int32_t> done{0};
};

struct Step {
  const StateLayout* states = nullptr;
  float* arena = nullptr;
  std::vector<int32_t> ids, rows;
  /** Of each of `rows`, for top. */
  std::vector<float> temperatures;
  /** Of row i, the ids from askedStarts[i] to askedStarts[i + 1]: top hands over their logits. */
  std::vector<int32_t> askedStarts, askedIds;
  std::vector<Sequence> sequences;
  std::vector<HostBuffer> inputs, outputs, kept;
  int threads = 1;

  /** In blocks, so that a phase stays where it is. */
  std::vector<std::unique_ptr<Phase[]>> blocks;
  int nPhases = 0;
  /** Scratch that all threads see; commands follow each other, so they share it. */
  int64_t scratchBytes = 0, localBytes = 0;
  uint8_t* scratch = nullptr;

  float* at(const Tensor& t) const { return arena + t.offset; }
  int32_t* integers(const Tensor& t) const { return (int32_t*)(arena + t.offset); }
  void needScratch(int64_t bytes) { scratchBytes = bytes > scratchBytes ? bytes : scratchBytes; }
  void needLocal(int64_t bytes) { localBytes = bytes > localBytes ? bytes : localBytes; }

  static constexpr int blockPhases = 32;
  Phase& phase(int i) const { return blocks[i / blockPhases][i % blockPhases]; }
  Phase& add(Phase::Run run, const Command& command, int64_t nTasks);
};

/** Operations a second of one thread; multiply and add are two. */
struct Limits {
  double q4Ops, q8Ops, bf16Flops, f32Flops;
};

/** One instruction set: plans of every op, packing of rows, and loops that measure what it can do at best. */
struct Kernels {
  const char* name;
  void (*plan[nOps])(const Command&, Step&);
  void (*packRows)(uint8_t* panel, Dtype dtype, const uint8_t* rows, Stored stored, int64_t count, int64_t columns, float* local);
  void (*decode)(float* to, const uint8_t* from, Stored stored, int64_t n);
  bool (*encodeRow)(const float* x, const float* w, int64_t columns, Stored stored, uint8_t* to);
  Limits (*measureOperations)();
  float (*readRange)(const uint8_t* from, int64_t bytes);
};

/** Of the levels that this build has and this machine can run, best first; ends with a null. */
const Kernels* const* usableKernels();

}  // namespace jamba

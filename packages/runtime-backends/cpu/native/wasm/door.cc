// The door to JavaScript in WebAssembly: functions of numbers and of places in memory, called by the thread that owns the module, one at a
// time. `src/wasm/owner-code.ts` is the other side. A call that fails ends in `env.fail`, and the other side calls `rollBack`.
#include <cstring>

#include "checks.h"
#include "heap.h"
#include "machine.h"
#include "simd.h"

#define DOOR(name) extern "C" __attribute__((export_name(#name)))
#define IMPORT(name) extern "C" __attribute__((import_module("env"), import_name(#name)))

namespace jamba::JAMBA_LEVEL {
extern const Kernels kernels;
}

IMPORT(fail) [[noreturn]] void thrown(const char* code, size_t codeLength, const char* message, size_t length);
IMPORT(now) double now();

namespace jamba {

void fail(const char* code, const char* message) { thrown(code, strlen(code), message, strlen(message)); }
void fail(const char* code, const std::string& message) { thrown(code, strlen(code), message.data(), message.size()); }

namespace {

using WeightRef = std::shared_ptr<Weight>;
using StatesRef = std::shared_ptr<States>;
using ProgramRef = std::shared_ptr<Program>;

Machine* machine = nullptr;

/**
 * A run from `beginRun` to `endRun`. What a call that may fail holds is kept here as well, since nobody else lets go of it then: `dropRun` does,
 * before `rollBack`.
 */
struct Run {
  ProgramRef program;
  StatesRef states;
  std::vector<WeightRef> weights;
  std::shared_ptr<Job> job;
};
Run running;

/** A run whose token lies here, at its token's place, ends early. Other threads write here. */
constexpr int32_t cancelWords = 1024;
std::atomic<int32_t> cancelled[cancelWords];

double deadline = 0;
bool isLate() { return now() > deadline; }

/** Numbers or bytes that JavaScript put into memory. */
struct Span {
  uint8_t* at;
  uint32_t bytes;

  std::vector<int32_t> integers() const { return std::vector<int32_t>((const int32_t*)at, (const int32_t*)at + bytes / 4); }
  HostBuffer buffer() const { return {at, bytes}; }
};

Weight described(const char* name, uint32_t length, int32_t dtype, int32_t isVector, double stack, int32_t rows, int32_t columns) {
  Weight weight;
  weight.name = std::string(name, length);
  Matrix& m = weight.matrix;
  if (dtype < 0 || dtype >= (int32_t)std::size(dtypeNames) || !(stack >= 0 && stack < 9e15) || rows < 0 || columns < 0)
    fail("SHAPE", weight.name + ": expected a dtype and sizes of a weight, found others");
  m.dtype = (Dtype)dtype, m.isVector = isVector != 0, m.stack = (int64_t)stack, m.rows = rows, m.columns = columns;
  weight.bytes = m.bytes();
  return weight;
}

}  // namespace
}  // namespace jamba

using namespace jamba;

// ---- the module

DOOR(start) void start(int32_t threads) {
  machine = new Machine(JAMBA_LEVEL::kernels, threads);
  commit();
}
/** Its own stack for a thread that runs `work`: the place where it begins, from which it grows down. */
DOOR(stackOf) uintptr_t stackOf(uint32_t bytes) {
  void* data = allocate(bytes);
  if (!data) fail("OUT_OF_MEMORY", "wasm backend: expected memory for a thread's stack, found none");
  commit();
  return (uintptr_t)data + bytes;
}
DOOR(work) void work(int32_t thread) { machine->pool.work(thread); }
DOOR(take) void* take(uint32_t bytes) {
  void* data = allocate(bytes);
  if (!data) fail("OUT_OF_MEMORY", "wasm backend: expected memory for a call's arguments, found none left of WebAssembly's 4 GiB");
  return data;
}
DOOR(give) void give(void* data) { release(data); }
DOOR(commit) void commitCall() { commit(); }
DOOR(rollBack) void rollBackCall() { rollBack(); }
DOOR(takenBytes) double taken() { return (double)takenBytes(); }
DOOR(arenaBytes) double arenaBytes() { return (double)machine->arenaBytes.load(); }
DOOR(cancelWords) std::atomic<int32_t>* cancelPlace() { return cancelled; }

/** "level;op,op…;dtype,…;name values bytes,…" with a zero behind. The caller gives it back. */
DOOR(names) char* names() {
  std::string text = std::string(JAMBA_LEVEL::kernels.name) + ";";
  for (const char* op : opNames) text += std::string(op) + ",";
  text += ";";
  for (const char* dtype : dtypeNames) text += std::string(dtype) + ",";
  text += ";";
  for (const StoredFormat& format : storedFormats) text += std::string(format.name) + " " + std::to_string(format.values) + " " + std::to_string(format.bytes) + ",";
  char* copy = (char*)take((uint32_t)text.size() + 1);
  memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

/** Whether this engine rounds a product and a sum once, as it may with relaxed SIMD. */
DOOR(roundsOnce) int32_t roundsOnce() {
  static volatile float values[] = {1.0f + 0x1p-12f, -1.0f - 0x1p-11f};
  namespace level = JAMBA_LEVEL;
  const level::F32 sum = level::fma(level::set1(values[0]), level::set1(values[0]), level::set1(values[1]));
  return sum[0] != 0;
}

// ---- weights

DOOR(weightBytes) double weightBytes(const char* name, uint32_t length, int32_t dtype, int32_t isVector, double stack, int32_t rows, int32_t columns) {
  return (double)described(name, length, dtype, isVector, stack, rows, columns).bytes;
}
DOOR(createWeight) WeightRef* createWeight(const char* name, uint32_t length, int32_t dtype, int32_t isVector, double stack, int32_t rows, int32_t columns) {
  auto weight = std::make_shared<Weight>(described(name, length, dtype, isVector, stack, rows, columns));
  weight->pages = std::make_shared<Pages>(weight->bytes > 0 ? weight->bytes : 64);
  weight->matrix.data = weight->pages->data();
  return new WeightRef(std::move(weight));
}
DOOR(releaseWeight) void releaseWeight(WeightRef* weight) { delete weight; }
DOOR(packRows) void packRows(const WeightRef& weight, double from, double to, const uint8_t* bytes, double size, int32_t stored) {
  const Stored checked = expectRows(*weight, (int64_t)from, (int64_t)to, stored, (int64_t)size);
  machine->pack(*weight, (int64_t)from, (int64_t)to, bytes, checked);
}
/** Where bytes of the packed layout lie, to be read and written. */
DOOR(packedAt) uint8_t* packedAt(const WeightRef& weight, double from, double bytes) {
  expectRange(*weight, (int64_t)from, (int64_t)bytes);
  return weight->pages->data() + (int64_t)from;
}
DOOR(encodeBlocks) void encodeBlocks(const float* values, uint32_t nValues, int32_t columns, int32_t stored, const float* importance, uint32_t nImportance, uint8_t* blocks, uint32_t bytes) {
  const int64_t rows = expectBlocks(nValues, columns, stored, nImportance, bytes);
  machine->encode(values, rows, columns, (Stored)stored, nImportance ? importance : nullptr, blocks);
}

// ---- states

DOOR(stateSizes) void stateSizes(Span& layout, double* sizes) {
  const StateLayout found = layoutOf((const int32_t*)layout.at, layout.bytes / 4);
  sizes[0] = (double)StateLayout::heldBytes(found.slotBytes), sizes[1] = (double)StateLayout::heldBytes(found.pageBytes);
}
DOOR(createStates) StatesRef* createStates(Span& layout) {
  auto states = std::make_shared<States>();
  states->layout = layoutOf((const int32_t*)layout.at, layout.bytes / 4);
  return new StatesRef(std::move(states));
}
DOOR(releaseStates) void releaseStates(StatesRef* states) { delete states; }
DOOR(reserveStates) double reserveStates(const StatesRef& states, double nSlots, double nPages) {
  states->reserve((int64_t)nSlots, (int64_t)nPages);
  return (double)states->bytes;
}
DOOR(shrinkStates) void shrinkStates(const StatesRef& states, double nSlots, double nPages) { states->shrink((int64_t)nSlots, (int64_t)nPages); }
DOOR(copyStates) void copyStates(const StatesRef& states, Span& slots, Span& pages) { machine->copy(copiesOf(*states, slots.integers(), pages.integers())); }
DOOR(movePart) void movePart(const StatesRef& states, Span& address, int32_t layer, int32_t part, Span& bytes, int32_t write) {
  machine->movePart(partMove(*states, address.integers(), layer, part, bytes.buffer(), write != 0));
}

// ---- programs

DOOR(createProgram) ProgramRef* createProgram(Span& words, Span& weights, const StatesRef& states) {
  for (const int32_t weight : weights.integers()) running.weights.push_back(*(WeightRef*)(uintptr_t)weight);
  auto* program = new ProgramRef(std::make_shared<Program>((const int32_t*)words.at, words.bytes / 4, running.weights, states->layout));
  running = {};
  return program;
}
DOOR(releaseProgram) void releaseProgram(ProgramRef* program) { delete program; }

/** Spans, in the order of the addon's `run`: ids … copiedPages, then inputs and outputs. */
DOOR(beginRun) void beginRun(const ProgramRef& program, const StatesRef& states, const Span* spans, int32_t nInputs, int32_t nOutputs, int32_t token) {
  running = {program, states, {}, std::make_shared<Job>()};
  running.weights = program->hold();
  Step& step = running.job->step;
  running.job->cancelWord = &cancelled[(uint32_t)token % cancelWords], running.job->token = token;
  step.ids = spans[0].integers(), step.rows = spans[1].integers();
  const std::vector<int32_t> starts = spans[2].integers(), words = spans[3].integers();
  size_t at = 0;
  for (size_t i = 0; i + 1 < starts.size(); i++) {
    Sequence s = addressOf(*states, words, at);
    s.from = starts[i], s.to = starts[i + 1];
    step.sequences.push_back(std::move(s));
  }
  step.temperatures.assign((const float*)spans[4].at, (const float*)spans[4].at + spans[4].bytes / 4);
  step.askedStarts = spans[5].integers(), step.askedIds = spans[6].integers();
  const std::vector<Copy> before = copiesOf(*states, spans[7].integers(), spans[8].integers());
  for (int32_t i = 0; i < nInputs; i++) step.inputs.push_back(spans[9 + i].buffer());
  for (int32_t i = 0; i < nOutputs; i++) step.outputs.push_back(spans[9 + nInputs + i].buffer());
  checkStep(*program, step, starts);
  checkBuffers(*program, step);
  machine->copy(before);
  machine->begin(*running.program, running.job, token);
}
/** Until it is done, or for about so many milliseconds. @returns whether it is done */
DOOR(advanceRun) int32_t advanceRun(double ms) {
  deadline = now() + ms;
  return machine->advance(ms < 1e9 ? isLate : nullptr);
}
/** @returns whether it was cancelled */
DOOR(endRun) int32_t endRun() {
  machine->end();
  const bool was = running.job->isCancelled();
  running = {};
  return was;
}
/** After a call that failed. */
DOOR(dropRun) void dropRun() { running = {}; }

DOOR(keptAt) uint8_t* keptAt(int32_t token, int32_t index, double from, double to, double bytes) {
  return machine->kept(token, index, (int64_t)from, (int64_t)to, (int64_t)bytes).data;
}
DOOR(dropKept) void dropKept(int32_t token) { machine->dropKept(token); }

/** `described`: of each weight dtype, isVector, stack, rows, columns. sizes: arena, scratch, local, kept. */
DOOR(roomOf) void roomOf(Span& words, Span& descriptions, Span& layout, double seen, double* sizes) {
  static const uint8_t nothing = 0;  // plans ask whether there is a weight, never what it holds
  std::vector<WeightRef> weights;
  const double* d = (const double*)descriptions.at;
  for (const double* end = d + descriptions.bytes / 8; d < end; d += 5) {
    weights.push_back(std::make_shared<Weight>(described("", 0, (int32_t)d[0], d[1] != 0, d[2], (int32_t)d[3], (int32_t)d[4])));
    weights.back()->matrix.data = &nothing;
  }
  const Program program((const int32_t*)words.at, words.bytes / 4, weights, layoutOf((const int32_t*)layout.at, layout.bytes / 4));
  const Room room = machine->roomOf(program, (int64_t)seen);
  sizes[0] = (double)room.arena, sizes[1] = (double)room.scratch, sizes[2] = (double)room.local, sizes[3] = (double)room.kept;
}

/** calls, seconds for each op since the last time */
DOOR(profile) void profile(double* all) {
  for (int i = 0; i < nOps; i++) all[2 * i] = (double)machine->times[i].calls, all[2 * i + 1] = machine->times[i].seconds;
  for (OpTime& time : machine->times) time = {};
}
DOOR(measureLimits) void measureLimits(double* found) {
  std::array<double, 5> limits;
  machine->measureLimits(limits);
  memcpy(found, limits.data(), sizeof limits);
}

#include "machine.h"

#include <algorithm>
#include <cstring>

namespace jamba {

namespace {

/** With up to an eighth to spare, so that what grows step by step is not made anew in each; the same whatever came before. */
int64_t withSpare(int64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  return bytes;
#else
  int64_t unit = 4096;
  while (16 * unit <= bytes) unit *= 2;
  return roundUp(bytes, unit);
#endif
}

/** Grows to at least `bytes`; what it held is lost. */
void ensure(std::unique_ptr<Pages>& pages, int64_t bytes) {
#if !defined(__SANITIZE_ADDRESS__)
  if (pages && pages->bytes() >= bytes) return;
#endif
  pages.reset();
  pages = std::make_unique<Pages>(bytes);
  outlives(pages.get()), outlives(pages->data());
}

int64_t strideOf(int64_t localBytes) { return roundUp(localBytes, 64) + 64; }

}  // namespace

Room Machine::plan(const Program& program, Step& step) const {
  step.states = &program.states;
  step.threads = threads;
  for (const Command& command : program.commands) kernels.plan[(int)command.op](command, step);
  return {withSpare(program.arenaWords * 4 + 64), withSpare(step.scratchBytes + 64), withSpare(threads * strideOf(step.localBytes)),
          2 * withSpare(program.keptBytes)};
}

Room Machine::roomOf(const Program& program, int64_t seen) const {
  Step step;
  for (int64_t i = 0; i < program.nSequences; i++) {
    Sequence s;
    s.seen = seen;
    s.from = (int32_t)(i * program.L / program.nSequences), s.to = (int32_t)((i + 1) * program.L / program.nSequences);
    step.sequences.push_back(s);
  }
  return plan(program, step);
}

void Machine::begin(const Program& program, const std::shared_ptr<Job>& job, int64_t token) {
  Step& step = job->step;
  const Room room = plan(program, step);
  spread_.reset();
  ensure(arena_, room.arena), ensure(scratch_, room.scratch), ensure(local_, room.local);
  step.arena = (float*)arena_->data();
  step.scratch = scratch_->data();
  job->local = local_->data(), job->localStride = strideOf(step.localBytes), job->isStep = true;
  if (program.keptBytes > 0) {
    if (spareKept_.empty()) spareKept_.emplace_back();
    outlives(spareKept_.data());
    ensure(spareKept_.back(), room.kept / 2);
  }
  // Nothing fails from here on.
  keeps_.tensors = program.kept;
  if (program.keptBytes > 0) keeps_.memory = std::move(spareKept_.back()), spareKept_.pop_back();
  for (const KeptTensor& t : keeps_.tensors) step.kept.push_back({keeps_.memory ? keeps_.memory->data() + t.offset : nullptr, (size_t)(t.rows * t.columns * 4)});
  token_ = token, job_ = job.get(), timed_ = nullptr;
  lastTime_ = std::chrono::steady_clock::now();
  pool.start(job);
}

bool Machine::advance(bool (*isLate)()) {
  const auto count = [](void* context, int phase) {
    Machine& machine = *(Machine*)context;
    const auto now = std::chrono::steady_clock::now();
    const Command* command = machine.job_->step.phase(phase).command;
    OpTime& time = machine.times[(int)command->op];
    time.seconds += std::chrono::duration<double>(now - machine.lastTime_).count();
    time.calls += command != machine.timed_;
    machine.timed_ = command, machine.lastTime_ = now;
  };
  return pool.advance({count, this}, isLate);
}

void Machine::end() {
  pool.finish();
  job_ = nullptr;
  if (!keeps_.tensors.empty()) kept_[token_] = std::move(keeps_);
  keeps_ = {};
  countBytes();
}

void Machine::countBytes() {
  int64_t bytes = arena_->bytes() + scratch_->bytes() + local_->bytes();
  for (const auto& [token, one] : kept_) bytes += one.memory ? one.memory->bytes() : 0;
  for (const auto& one : spareKept_) bytes += one ? one->bytes() : 0;
  arenaBytes = bytes;
}

void Machine::giveBack() {
  arena_.reset(), scratch_.reset(), local_.reset(), spread_.reset();
  kept_.clear(), spareKept_.clear();
  arenaBytes = 0;
}

void Machine::dropKept(int64_t token) {
  const auto found = kept_.find(token);
  if (found == kept_.end()) return;
  if (found->second.memory) spareKept_.push_back(std::move(found->second.memory));
  kept_.erase(found);
}

HostBuffer Machine::kept(int64_t token, int64_t index, int64_t from, int64_t to, int64_t bytes) const {
  const auto found = kept_.find(token);
  if (found == kept_.end()) fail("BACKEND", "readKept: expected a run that kept something and was not dropped, found run " + std::to_string(token));
  const KeptRun& run = found->second;
  const int64_t count = (int64_t)run.tensors.size();
  if (index < 0 || index >= count) fail("SHAPE", "readKept: expected one of the " + std::to_string(count) + " values that the run kept, found number " + std::to_string(index));
  const KeptTensor& t = run.tensors[index];
  const int64_t rowBytes = t.columns * 4;
  if (from < 0 || from > to || to > t.rows || bytes != (to - from) * rowBytes)
    fail("SHAPE", "readKept: expected rows of " + std::to_string(t.columns) + " values in [0, " + std::to_string(t.rows) + "), found " + std::to_string(bytes / 4) +
                      " values for rows " + std::to_string(from) + " … " + std::to_string(to));
  // Values without numbers have no memory.
  return {bytes > 0 ? run.memory->data() + t.offset + from * rowBytes : nullptr, (size_t)bytes};
}

void Machine::copy(const std::vector<Copy>& copies) {
  // What one thread copies while another one wakes up.
  constexpr int64_t pieceBytes = 256 << 10;
  std::vector<Copy> pieces;
  for (const Copy& c : copies)
    for (int64_t at = 0; at < c.bytes; at += pieceBytes) pieces.push_back({c.to + at, c.from + at, std::min(pieceBytes, c.bytes - at)});
  const auto move = [&](int64_t i) { memmove(pieces[i].to, pieces[i].from, (size_t)pieces[i].bytes); };
  if (pieces.size() > 4)
    spread((int64_t)pieces.size(), 0, [&](int64_t i, uint8_t*) { move(i); });
  else
    for (size_t i = 0; i < pieces.size(); i++) move(i);
}

void Machine::movePart(const PartMove& move) {
  spread(move.tasks(), 0, [&](int64_t i, uint8_t*) { move.run(i); });
}

void Machine::spread(int64_t nTasks, int64_t localBytes, const std::function<void(int64_t, uint8_t*)>& task) {
  auto job = std::make_shared<Job>();
  const Command none{};
  Phase& phase = job->step.add([](const Phase& p, int i, Worker& worker) { (*(const std::function<void(int64_t, uint8_t*)>*)p.args[0])(i, worker.local); }, none, nTasks);
  phase.args[0] = (int64_t)&task;
  job->localStride = strideOf(localBytes);
  ensure(spread_, withSpare(threads * job->localStride));
  job->local = spread_->data();
  pool.run(job);
}

void Machine::measureLimits(std::array<double, 5>& found) {
  std::vector<Limits> each(threads);
  found = {};
  // The best of some passes: what the units can do does not change, only how much of them others take.
  constexpr int passes = 5;
  for (int pass = 0; pass < passes; pass++) {
    spread(threads, 0, [&](int64_t i, uint8_t*) { each[i] = kernels.measureOperations(); });
    double sums[4] = {};
    for (const Limits& one : each) sums[0] += one.q4Ops, sums[1] += one.q8Ops, sums[2] += one.bf16Flops, sums[3] += one.f32Flops;
    for (int i = 0; i < 4; i++) found[i] = sums[i] > found[i] ? sums[i] : found[i];
  }
  // Well beyond any cache.
  constexpr int64_t bytes = 768ll << 20, pieces = 768;
  const Pages memory(bytes);
  spread(pieces, 0, [&](int64_t i, uint8_t*) { memset(memory.data() + i * (bytes / pieces), 1, bytes / pieces); });
  std::vector<float> kept(pieces);
  std::array<double, passes> rates;
  for (int pass = 0; pass < passes; pass++) {
    const auto start = std::chrono::steady_clock::now();
    spread(pieces, 0, [&](int64_t i, uint8_t*) { kept[i] = kernels.readRange(memory.data() + i * (bytes / pieces), bytes / pieces); });
    rates[pass] = (double)bytes / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  // The median: memory is shared with neighbours, and what it gives for a moment is no limit of anything longer.
  std::nth_element(rates.begin(), rates.begin() + passes / 2, rates.end());
  found[4] = rates[passes / 2];
}

}  // namespace jamba

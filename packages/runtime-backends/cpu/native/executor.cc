#include "executor.h"

#include <algorithm>
#include <cstring>

namespace jamba {

namespace {
Failure disposed() { return Failure("DISPOSED", "cpu backend: expected an open backend, found it disposed"); }
}  // namespace

Executor::Executor(const Kernels& kernels, int threads) : kernels(kernels), threads(threads), pool_(threads) {
  thread_ = std::thread([this] { loop(); });
}

Executor::~Executor() { stop(); }

void Executor::queue(Work work) {
  {
    std::lock_guard lock(mutex_);
    if (!ending_) {
      queue_.push_back(std::move(work));
      ready_.notify_one();
      return;
    }
  }
  if (work.done) work.done(std::make_exception_ptr(disposed()));
}

void Executor::interrupt() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  if (running_) running_->cancelled = true;
}

void Executor::stop() {
  interrupt();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ready_.notify_one();
  if (thread_.joinable()) thread_.join();
  // Not left to the destructor, which runs when JavaScript collects the executor.
  pool_.stop();
  arena_.reset(), scratch_.reset(), local_.reset(), spread_.reset();
  kept_.clear(), spareKept_.clear();
  arenaBytes = 0;
}

void Executor::loop() {
  for (;;) {
    Work next;
    bool stopping;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [&] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      next = std::move(queue_.front());
      queue_.pop_front();
      stopping = stopping_;
    }
    std::exception_ptr error;
    try {
      if (stopping) throw disposed();
      next.work();
    } catch (...) {
      error = std::current_exception();
    }
    next.work = nullptr;
    if (next.done) next.done(error);
  }
}

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
}

int64_t strideOf(int64_t localBytes) { return roundUp(localBytes, 64) + 64; }

struct Clock {
  Executor* executor;
  const Job* job;
  std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();
  const Command* command = nullptr;
};

}  // namespace

Room Executor::plan(const Program& program, Step& step) const {
  step.states = &program.states;
  step.threads = threads;
  for (const Command& command : program.commands) kernels.plan[(int)command.op](command, step);
  return {withSpare(program.arenaWords * 4 + 64), withSpare(step.scratchBytes + 64), withSpare(threads * strideOf(step.localBytes)),
          2 * withSpare(program.keptBytes)};
}

KeptRun Executor::makeRoom(const Program& program, Job& job) {
  Step& step = job.step;
  const Room room = plan(program, step);
  spread_.reset();
  ensure(arena_, room.arena), ensure(scratch_, room.scratch), ensure(local_, room.local);
  step.arena = (float*)arena_->data();
  step.scratch = scratch_->data();
  job.local = local_->data(), job.localStride = strideOf(step.localBytes);
  KeptRun kept{program.kept, nullptr};
  if (program.keptBytes > 0) {
    if (!spareKept_.empty()) kept.memory = std::move(spareKept_.back()), spareKept_.pop_back();
    ensure(kept.memory, room.kept / 2);
  }
  for (const KeptTensor& t : kept.tensors) step.kept.push_back({kept.memory ? kept.memory->data() + t.offset : nullptr, (size_t)(t.rows * t.columns * 4)});
  return kept;
}

void Executor::countBytes() {
  int64_t bytes = arena_->bytes() + scratch_->bytes() + local_->bytes();
  for (const auto& [token, one] : kept_) bytes += one.memory ? one.memory->bytes() : 0;
  for (const auto& one : spareKept_) bytes += one->bytes();
  arenaBytes = bytes;
}

void Executor::run(const std::shared_ptr<Program>& program, const std::shared_ptr<Job>& job, int64_t token) {
  KeptRun kept = makeRoom(*program, *job);
  {
    std::lock_guard lock(mutex_);
    running_ = job;
    if (stopping_) job->cancelled = true;
  }
  Clock clock{this, job.get()};
  pool_.run(
      job,
      [](void* context, int phase) {
        Clock& clock = *(Clock*)context;
        const auto now = std::chrono::steady_clock::now();
        const Command* command = clock.job->step.phase(phase).command;
        OpTime& time = clock.executor->times[(int)command->op];
        time.seconds += std::chrono::duration<double>(now - clock.last).count();
        time.calls += command != clock.command;
        clock.command = command;
        clock.last = now;
      },
      &clock);
  std::lock_guard lock(mutex_);
  running_.reset();
  if (!kept.tensors.empty()) kept_[token] = std::move(kept);
  countBytes();
  if (stopping_) throw disposed();
  if (job->cancelled) throw Failure("ABORTED", "cancelled");
}

void Executor::dropKept(int64_t token) {
  const auto found = kept_.find(token);
  if (found == kept_.end()) return;
  if (found->second.memory) spareKept_.push_back(std::move(found->second.memory));
  kept_.erase(found);
}

void Executor::readKept(int64_t token, int64_t index, int64_t from, int64_t to, const HostBuffer& out) {
  const auto found = kept_.find(token);
  if (found == kept_.end()) throw Failure("BACKEND", "readKept: expected a run that kept something and was not dropped, found run " + std::to_string(token));
  const KeptRun* kept = &found->second;
  const int64_t count = (int64_t)kept->tensors.size();
  if (index < 0 || index >= count) throw Failure("SHAPE", "readKept: expected one of the " + std::to_string(count) + " values that the run kept, found number " + std::to_string(index));
  const KeptTensor& t = kept->tensors[index];
  const int64_t rowBytes = t.columns * 4;
  if (from < 0 || from > to || to > t.rows || (int64_t)out.bytes != (to - from) * rowBytes)
    throw Failure("SHAPE", "readKept: expected rows of " + std::to_string(t.columns) + " values in [0, " + std::to_string(t.rows) + "), found " + std::to_string(out.bytes / 4) +
                               " values for rows " + std::to_string(from) + " … " + std::to_string(to));
  // Values without numbers have no memory.
  if (out.bytes > 0) copy({{out.data, kept->memory->data() + t.offset + from * rowBytes, (int64_t)out.bytes}});
}

void Executor::copy(const std::vector<Copy>& copies) {
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

void Executor::movePart(const PartMove& move) {
  spread(move.tasks(), 0, [&](int64_t i, uint8_t*) { move.run(i); });
}

void Executor::spread(int64_t nTasks, int64_t localBytes, const std::function<void(int64_t, uint8_t*)>& task) {
  auto job = std::make_shared<Job>();
  const Command none{};
  Phase& phase = job->step.add([](const Phase& p, int i, Worker& worker) { (*(const std::function<void(int64_t, uint8_t*)>*)p.args[0])(i, worker.local); }, none, nTasks);
  phase.args[0] = (int64_t)&task;
  job->localStride = strideOf(localBytes);
  ensure(spread_, withSpare(threads * job->localStride));
  job->local = spread_->data();
  pool_.run(job, nullptr, nullptr);
}

void Executor::measureLimits(std::array<double, 5>& found) {
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
  std::sort(rates.begin(), rates.end());
  found[4] = rates[passes / 2];
}

}  // namespace jamba

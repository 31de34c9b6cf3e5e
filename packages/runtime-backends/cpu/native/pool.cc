#include "pool.h"

#include "failure.h"

namespace jamba {

namespace {

/** About 20 µs: longer than most phases of a step, far shorter than what a thread that lost its core waits for it. */
#if defined(__wasm__)
constexpr int spins = 20'000;
#else
constexpr int spins = 1500;
#endif
/** After a step. In browsers a thread that sleeps takes milliseconds to wake, longer than from one token to the next. */
#if defined(__wasm__)
constexpr int idleSpins = 1'000'000;
#else
constexpr int idleSpins = spins;
#endif

/** Where more of them had to wait for a late thread, their room is given back. */
constexpr size_t fewJobs = 8;

/** Until all tasks of a phase are done. */
void awaitDone(const Phase& phase) {
  for (int i = 0; i < spins; i++) {
    if (phase.done.load(std::memory_order_acquire) == phase.nTasks) return;
    pause();
  }
  for (int32_t done; (done = phase.done.load(std::memory_order_acquire)) != phase.nTasks;) park(phase.done, done);
}

}  // namespace

Phase& Step::add(Phase::Run run, const Command& command, int64_t nTasks) {
  if (nPhases == (int)blocks.size() * blockPhases) blocks.emplace_back(new Phase[blockPhases]);
  Phase& added = phase(nPhases++);
  added.run = run, added.step = this, added.command = &command, added.nTasks = (int32_t)nTasks;
  return added;
}

void Pool::stop() {
  stopping_ = true;
  generation_.fetch_add(1);
  wakeAll(generation_);
}

void Pool::start(std::shared_ptr<Job> job) {
  if (jobs_.capacity() == 0) jobs_.reserve(fewJobs);
  jobs_.push_back(std::move(job));
  outlives(jobs_.data());
  phase_ = 0;
  current_ = jobs_.back().get();
  generation_.fetch_add(1);
  wakeAll(generation_);
}

bool Pool::advance(AfterPhase after, bool (*isLate)()) { return takePart(*jobs_.back(), 0, phase_, after, isLate); }

void Pool::finish() {
  current_ = nullptr;
  // Who enters from here on finds none. A thread that is late finds every task taken, and its job here as long as it looks.
  if (inside_ != 0) return;
  jobs_.clear();
  if (jobs_.capacity() > fewJobs) jobs_.shrink_to_fit();
}

void Pool::work(int thread) {
  int most = spins;
  for (int32_t seen = 0;;) {
    for (int i = 0; i < most && generation_.load(std::memory_order_acquire) == seen; i++) pause();
    while (generation_.load(std::memory_order_acquire) == seen) park(generation_, seen);
    if (stopping_) return;
    seen = generation_.load(std::memory_order_acquire);
    inside_++;
    if (Job* job = current_) {
      int phase = 0;
      takePart(*job, thread, phase, {}, nullptr);
      most = job->isStep ? idleSpins : spins;
    }
    inside_--;
  }
}

bool Pool::takePart(Job& job, int thread, int& at, AfterPhase after, bool (*isLate)()) {
  Worker worker{job.local + thread * job.localStride};
  for (; at < job.step.nPhases; at++) {
    Phase& phase = job.step.phase(at);
    for (int32_t task; (task = phase.next.fetch_add(1, std::memory_order_relaxed)) < phase.nTasks;) {
      if (!job.isCancelled()) phase.run(phase, task, worker);
      if (phase.done.fetch_add(1, std::memory_order_acq_rel) + 1 == phase.nTasks) wakeAll(phase.done);
      if (isLate && isLate()) return false;
    }
    awaitDone(phase);
    if (after.call) after.call(after.context, at);
  }
  return true;
}

}  // namespace jamba

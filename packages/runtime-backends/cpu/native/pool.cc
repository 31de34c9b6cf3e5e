#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace jamba {

namespace {

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/** About 20 µs: longer than most phases of a step, far shorter than what a thread that lost its core waits for it. */
constexpr int spins = 1500;

/** Until `value` is no longer `old`. */
void await(const std::atomic<int32_t>& value, int32_t old) {
  for (int i = 0; i < spins; i++) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

/** Until all tasks of a phase are done. */
void awaitDone(const Phase& phase) {
  for (int i = 0; i < spins; i++) {
    if (phase.done.load(std::memory_order_acquire) == phase.nTasks) return;
    pause();
  }
  for (int32_t done; (done = phase.done.load(std::memory_order_acquire)) != phase.nTasks;) phase.done.wait(done, std::memory_order_acquire);
}

}  // namespace

Phase& Step::add(Phase::Run run, const Command& command, int64_t nTasks) {
  if (nPhases == (int)blocks.size() * blockPhases) blocks.emplace_back(new Phase[blockPhases]);
  Phase& added = phase(nPhases++);
  added.run = run, added.step = this, added.command = &command, added.nTasks = (int32_t)nTasks;
  return added;
}

Pool::Pool(int threads) {
  for (int thread = 1; thread < threads; thread++) workers_.emplace_back([this, thread] { work(thread); });
}

Pool::~Pool() { stop(); }

void Pool::stop() {
  stopping_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void Pool::run(const std::shared_ptr<Job>& job, void (*afterPhase)(void*, int), void* context) {
  {
    std::lock_guard lock(mutex_);
    current_ = job;
  }
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  takePart(*job, 0, afterPhase, context);
  std::lock_guard lock(mutex_);
  current_.reset();
}

void Pool::work(int thread) {
  for (int32_t seen = 0;;) {
    await(generation_, seen);
    if (stopping_) return;
    seen = generation_.load(std::memory_order_acquire);
    std::shared_ptr<Job> job;
    {
      std::lock_guard lock(mutex_);
      job = current_;
    }
    if (job) takePart(*job, thread, nullptr, nullptr);
  }
}

void Pool::takePart(Job& job, int thread, void (*afterPhase)(void*, int), void* context) {
  Worker worker{job.local + thread * job.localStride};
  for (int i = 0; i < job.step.nPhases; i++) {
    Phase& phase = job.step.phase(i);
    for (int32_t task; (task = phase.next.fetch_add(1, std::memory_order_relaxed)) < phase.nTasks;) {
      if (!job.cancelled.load(std::memory_order_relaxed)) phase.run(phase, task, worker);
      if (phase.done.fetch_add(1, std::memory_order_acq_rel) + 1 == phase.nTasks) phase.done.notify_all();
    }
    awaitDone(phase);
    if (afterPhase) afterPhase(context, i);
  }
}

}  // namespace jamba

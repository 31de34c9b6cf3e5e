// Runs the phases of one step after another on all threads. Knows nothing of what they compute, nor where its threads come from.
//
// A phase is over when its tasks are done, not when all threads have arrived: a thread that lost its core between two
// tasks holds nobody up. Who has nothing to do spins a little, then sleeps, which gives the core to whoever needs it.
#pragma once
#include <memory>
#include <vector>

#include "park.h"
#include "step.h"

namespace jamba {

/** A step on its way through the pool. */
struct Job {
  Step step;
  uint8_t* local = nullptr;
  int64_t localStride = 0;
  std::atomic<bool> cancelled{false};
  /** Where there is such a word, the job is cancelled as well while it has the job's token. */
  const std::atomic<int32_t>* cancelWord = nullptr;
  int32_t token = 0;
  /** Another one follows soon: threads stay awake for it. After weights are packed, the page that loads them needs their processors. */
  bool isStep = false;

  bool isCancelled() const {
    return cancelled.load(std::memory_order_relaxed) || (cancelWord && cancelWord->load(std::memory_order_relaxed) == token);
  }
};

/** Called by `advance` after each phase. */
struct AfterPhase {
  void (*call)(void* context, int phase) = nullptr;
  void* context = nullptr;
};

class Pool {
 public:
  /** What each thread but the caller's runs, from 1 on; returns after `stop`. */
  void work(int thread);
  /** Whoever is in `work` leaves it. */
  void stop();

  // On the caller's thread:
  /** All threads begin to take tasks. */
  void start(std::shared_ptr<Job> job);
  /**
   * Takes part until every phase is done, or skipped after the job was cancelled. @returns false if `isLate`, which is asked after each task
   * where there is one, ended it before: the other threads go on, and so does the next call.
   */
  bool advance(AfterPhase after = {}, bool (*isLate)() = nullptr);
  /** After `advance` returned true. */
  void finish();
  void run(std::shared_ptr<Job> job, AfterPhase after = {}) { start(std::move(job)), advance(after), finish(); }

 private:
  static bool takePart(Job& job, int thread, int& phase, AfterPhase after, bool (*isLate)());

  std::atomic<int32_t> generation_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<Job*> current_{nullptr};
  /** Threads that may hold what `current_` was. */
  std::atomic<int32_t> inside_{0};
  /** The running job, behind it those that a late thread may still look at. */
  std::vector<std::shared_ptr<Job>> jobs_;
  int phase_ = 0;
};

}  // namespace jamba

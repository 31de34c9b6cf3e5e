// Runs the phases of one step after another on all threads. Knows nothing of what they compute.
//
// A phase is over when its tasks are done, not when all threads have arrived: a thread that lost its core between two
// tasks holds nobody up. Who has nothing to do spins a little, then sleeps, which gives the core to whoever needs it.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "step.h"

namespace jamba {

/** A step on its way through the pool. Held by every thread that looks at it, so that a late one finds it finished, not gone. */
struct Job {
  Step step;
  uint8_t* local = nullptr;
  int64_t localStride = 0;
  std::atomic<bool> cancelled{false};
};

class Pool {
 public:
  /** `threads` counts the one that calls `run`. */
  explicit Pool(int threads);
  ~Pool();
  /** Ends the threads; nothing runs any more. */
  void stop();
  /** Blocks until every phase is done, or skipped after `cancelled` was set. `afterPhase` is called on this thread. */
  void run(const std::shared_ptr<Job>& job, void (*afterPhase)(void*, int phase), void* context);

 private:
  void work(int thread);
  static void takePart(Job& job, int thread, void (*afterPhase)(void*, int), void* context);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::shared_ptr<Job> current_;
  std::atomic<int32_t> generation_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace jamba

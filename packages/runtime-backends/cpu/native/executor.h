// The thread that does what is asked in order, on the native side of the door to JavaScript.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "machine.h"

namespace jamba {

class Executor {
 public:
  Executor(const Kernels& kernels, int threads);
  ~Executor();

  /** Used on the executor's thread alone, but for what is const. */
  Machine machine;

  /** Runs `work` on the executor's thread after all that was queued before; `done`, if there is one, gets what it threw, if anything. */
  struct Work {
    std::function<void()> work;
    std::function<void(std::exception_ptr)> done;
  };
  void queue(Work work);
  /** Cuts the running step short; whatever is queued, now and later, fails with DISPOSED. */
  void interrupt();
  /** The same, and waits for the thread to end. */
  void stop();

  // On the executor's thread:
  /** One step. @throws Failure ABORTED, DISPOSED when it was cut short */
  void run(const Program& program, const std::shared_ptr<Job>& job, int64_t token);
  /** As Machine's `pack`, of bytes from `offset` of a file on. @throws Failure LOAD */
  void packFile(Weight& weight, int64_t from, int64_t to, const std::string& path, int64_t offset, Stored stored);

 private:
  void loop();

  std::shared_ptr<Job> running_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Work> queue_;
  bool stopping_ = false, ending_ = false;
  /** Of the pool. */
  std::vector<std::thread> workers_;
  std::thread thread_;
};

}  // namespace jamba

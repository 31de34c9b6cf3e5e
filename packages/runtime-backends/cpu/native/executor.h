// The thread that does what is asked in order: packs weights, copies states, runs programs. Everything but the doors to JavaScript.
#pragma once
#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <map>

#include "pool.h"
#include "program.h"
#include "states.h"

namespace jamba {

/** Bytes that steps work in: their lists' arena, scratch that all threads see, what is a thread's own, of all threads, and what two runs keep. */
struct Room {
  int64_t arena = 0, scratch = 0, local = 0, kept = 0;
};

/** What a run keeps until it is told to drop it. */
struct KeptRun {
  std::vector<KeptTensor> tensors;
  std::unique_ptr<Pages> memory;
};

struct OpTime {
  int64_t calls = 0;
  double seconds = 0;
};

class Executor {
 public:
  Executor(const Kernels& kernels, int threads);
  ~Executor();

  const Kernels& kernels;
  const int threads;

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

  /** The phases of a step go into `step`. Touches nothing that the program's matrices point to. */
  Room plan(const Program& program, Step& step) const;

  // On the executor's thread:
  /** One step. `job` carries sequences, ids, rows and buffers; weights and states stay with who calls. `token` names what it keeps. */
  void run(const std::shared_ptr<Program>& program, const std::shared_ptr<Job>& job, int64_t token);
  /** Rows [from, to) of the `index`th value that a run kept. @throws Failure BACKEND when it was dropped or did not end well, SHAPE */
  void readKept(int64_t token, int64_t index, int64_t from, int64_t to, const HostBuffer& out);
  /** The next run that keeps something may write over it. */
  void dropKept(int64_t token);
  /** Copies between places that are the same or do not overlap; on all threads where they are large. */
  void copy(const std::vector<Copy>& copies);
  void movePart(const PartMove& move);
  /** nTasks independent pieces of work on all threads, each thread with `localBytes` of scratch. */
  void spread(int64_t nTasks, int64_t localBytes, const std::function<void(int64_t, uint8_t*)>& task);
  /** Rows [from, to) of a weight from a checkpoint's bytes; `from` starts a panel. */
  void pack(Weight& weight, int64_t from, int64_t to, const uint8_t* bytes, Stored stored);
  /** The same, of bytes from `offset` of a file on. @throws Failure LOAD */
  void packFile(Weight& weight, int64_t from, int64_t to, const std::string& path, int64_t offset, Stored stored);
  /**
   * Rows of f32 as blocks. `importance` [columns] says how much the error of each column counts; null: all alike.
   * @throws Failure DTYPE for a format that can't be written or a value that no block holds
   */
  void encode(const float* values, int64_t rows, int64_t columns, Stored to, const float* importance, uint8_t* blocks);
  /** All threads at once: operations a second by format (q4, q8, bf16, f32), then bytes read from memory a second. */
  void measureLimits(std::array<double, 5>& found);

  std::atomic<int64_t> arenaBytes{0};
  OpTime times[nOps];

 private:
  /** `fetch(row, count, room)` gives the bytes of rows; `room` holds those of a panel if `fetched`. */
  template <class Fetch>
  void packRows(Weight& weight, int64_t from, int64_t to, Stored stored, bool fetched, const Fetch& fetch);
  void loop();
  KeptRun makeRoom(const Program& program, Job& job);
  void countBytes();

  Pool pool_;
  std::unique_ptr<Pages> arena_, scratch_, local_;
  /** By the token of the run. */
  std::map<int64_t, KeptRun> kept_;
  std::vector<std::unique_ptr<Pages>> spareKept_;
  /** Local to `spread`, which packs weights: given back by the first step after it. */
  std::unique_ptr<Pages> spread_;
  std::shared_ptr<Job> running_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Work> queue_;
  bool stopping_ = false, ending_ = false;
  std::thread thread_;
};

}  // namespace jamba

// What is done on all threads: weights packed, states copied, programs run, in memory that is kept for the next time. One thread calls it.
#pragma once
#include <array>
#include <chrono>
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

class Machine {
 public:
  /** `threads` counts the one that calls; the others are in `pool.work`. */
  Machine(const Kernels& kernels, int threads) : kernels(kernels), threads(threads) {}

  const Kernels& kernels;
  const int threads;
  Pool pool;

  /** The phases of a step go into `step`. Touches nothing that the program's matrices point to. */
  Room plan(const Program& program, Step& step) const;
  /** After a step of this program, whose sequences have seen so many tokens and are of about the same length. */
  Room roomOf(const Program& program, int64_t seen) const;

  // One step, in three parts. `job` carries sequences, ids, rows and buffers; weights and states stay with who calls.
  /** `token` names what it keeps. @throws Failure OUT_OF_MEMORY */
  void begin(const Program& program, const std::shared_ptr<Job>& job, int64_t token);
  /** As Pool's. */
  bool advance(bool (*isLate)() = nullptr);
  void end();

  /** Where rows [from, to) of the `index`th value lie that a run kept. @throws Failure BACKEND when it was dropped or did not end well, SHAPE */
  HostBuffer kept(int64_t token, int64_t index, int64_t from, int64_t to, int64_t bytes) const;
  /** The next run that keeps something may write over it. */
  void dropKept(int64_t token);
  /** Copies between places that are the same or do not overlap; on all threads where they are large. */
  void copy(const std::vector<Copy>& copies);
  void movePart(const PartMove& move);
  /** nTasks independent pieces of work on all threads, each thread with `localBytes` of scratch. */
  void spread(int64_t nTasks, int64_t localBytes, const std::function<void(int64_t, uint8_t*)>& task);

  /** Gives the bytes of `count` rows; where `fetched`, `room` is memory for them. */
  using Fetch = std::function<const uint8_t*(int64_t row, int64_t count, uint8_t* room)>;
  /** Rows [from, to) of a weight from a checkpoint's; `from` starts a panel. */
  void pack(Weight& weight, int64_t from, int64_t to, Stored stored, bool fetched, const Fetch& fetch);
  /** The same, of bytes that lie in memory. */
  void pack(Weight& weight, int64_t from, int64_t to, const uint8_t* bytes, Stored stored);
  /**
   * Rows of f32 as blocks. `importance` [columns] says how much the error of each column counts; null: all alike.
   * @throws Failure DTYPE for a format that can't be written or a value that no block holds
   */
  void encode(const float* values, int64_t rows, int64_t columns, Stored to, const float* importance, uint8_t* blocks);
  /** All threads at once: operations a second by format (q4, q8, bf16, f32), then bytes read from memory a second. */
  void measureLimits(std::array<double, 5>& found);
  /** Of steps and of what they keep. */
  void giveBack();

  std::atomic<int64_t> arenaBytes{0};
  OpTime times[nOps];

 private:
  void countBytes();

  std::unique_ptr<Pages> arena_, scratch_, local_;
  /** By the token of the run. */
  std::map<int64_t, KeptRun> kept_;
  std::vector<std::unique_ptr<Pages>> spareKept_;
  /** Local to `spread`, which packs weights: given back by the first step after it. */
  std::unique_ptr<Pages> spread_;
  /** Of the running step. */
  KeptRun keeps_;
  int64_t token_ = 0;
  const Job* job_ = nullptr;
  const Command* timed_ = nullptr;
  std::chrono::steady_clock::time_point lastTime_;
};

}  // namespace jamba

// Weights, states, programs, and the thread that runs them in order. Everything but the doors to JavaScript.
#pragma once
#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "pool.h"

namespace jamba {

/** What a caller did wrong or the machine could not do; `code` is one of core's JambaErrorCode. */
struct Failure : std::exception {
  std::string code, message;
  Failure(std::string code, std::string message) : code(std::move(code)), message(std::move(message)) {}
  const char* what() const noexcept override { return message.c_str(); }
};

/** Anonymous or file-backed pages, given back as a whole. */
class Pages {
 public:
  Pages() = default;
  /** Zeros. @throws Failure OUT_OF_MEMORY */
  explicit Pages(int64_t bytes);
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  /** @throws Failure LOAD */
  static std::shared_ptr<Pages> ofFile(const std::string& path);

 private:
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
  bool ofFile_ = false;
};

/** Reads at any place, from several threads at once. */
class LocalFile {
 public:
  /** @throws Failure LOAD */
  explicit LocalFile(const std::string& path);
  ~LocalFile();
  LocalFile(const LocalFile&) = delete;
  LocalFile& operator=(const LocalFile&) = delete;
  /** Whether the file has all of the bytes. */
  bool read(int64_t offset, int64_t bytes, uint8_t* to) const;

 private:
  intptr_t handle_;
};

/** The same for two paths only if what lies there is the same file, unchanged. */
std::string fileIdentity(const std::string& path);

struct Weight {
  std::string name;
  std::shared_ptr<Pages> pages;
  Matrix matrix;
  int64_t bytes = 0;
};

/** Slots and pages of many sequences. Chunks never move; only the JavaScript thread adds them and takes them out. */
struct States {
  struct Chunk {
    std::shared_ptr<Pages> memory;
    int64_t count, bytes;
  };
  StateLayout layout;
  std::vector<Chunk> slotChunks, pageChunks;
  std::vector<uint8_t*> slots, pages;
  int64_t bytes = 0;

  void reserve(int64_t nSlots, int64_t nPages);
  /** Takes out the chunks that have nothing below these counts. Steps that were queued before may still write there. */
  std::vector<std::shared_ptr<Pages>> shrink(int64_t nSlots, int64_t nPages);
};

/** A command list in the engine's own terms. It does not keep its weights: who runs it does, for as long as that takes. */
struct Program {
  std::vector<Command> commands;
  std::vector<std::weak_ptr<Weight>> weights;
  StateLayout states;
  int64_t arenaWords = 0;
  int32_t L = 0, nSequences = 0, nRows = 0;
  std::vector<int64_t> inputBytes, outputBytes;

  /** @throws Failure SHAPE, DTYPE or BACKEND: nothing that leaves the arena, a weight or the states gets past here */
  Program(const int32_t* words, int64_t nWords, const std::vector<std::shared_ptr<Weight>>& weights, StateLayout states);
  /** @throws Failure DISPOSED when one is gone */
  std::vector<std::shared_ptr<Weight>> hold() const;
};

/** Bytes that steps work in: their lists' arena, scratch that all threads see, and what is a thread's own, of all threads. */
struct Room {
  int64_t arena = 0, scratch = 0, local = 0;
};

struct OpTime {
  int64_t calls = 0;
  double seconds = 0;
};

class Engine {
 public:
  Engine(const Kernels& kernels, int threads);
  ~Engine();

  const Kernels& kernels;
  const int threads;

  /** Runs `work` on the engine's thread after all that was queued before; `done`, if there is one, gets what it threw, if anything. */
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

  // On the engine's thread:
  /** One step. `job` carries sequences, ids, rows and buffers; weights and states stay with who calls. */
  void run(const std::shared_ptr<Program>& program, const std::shared_ptr<Job>& job);
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

  /** Between a sequence's place and dense f32 tensors, two per layer: conv [dInner, dConv - 1], h [dInner, dState] | k, v [nKvHeads, seen, headDim]. */
  void moveState(const States& states, const Sequence& s, const std::vector<HostBuffer>& parts, bool write);
  /** All threads at once: operations a second by format (q4, q8, bf16, f32), then bytes read from memory a second. */
  void measureLimits(std::array<double, 5>& found);

  std::atomic<int64_t> arenaBytes{0};
  OpTime times[nOps];

 private:
  /** `fetch(row, count, room)` gives the bytes of rows; `room` holds those of a panel if `fetched`. */
  template <class Fetch>
  void packRows(Weight& weight, int64_t from, int64_t to, Stored stored, bool fetched, const Fetch& fetch);
  void loop();

  Pool pool_;
  std::unique_ptr<Pages> arena_, scratch_, local_;
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

#include "executor.h"

#include <cstring>

namespace jamba {

namespace {
Failure disposed() { return Failure("DISPOSED", "cpu backend: expected an open backend, found it disposed"); }
}  // namespace

Executor::Executor(const Kernels& kernels, int threads) : machine(kernels, threads) {
  for (int thread = 1; thread < threads; thread++) workers_.emplace_back([this, thread] { machine.pool.work(thread); });
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
  machine.pool.stop();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  machine.giveBack();
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

void Executor::run(const Program& program, const std::shared_ptr<Job>& job, int64_t token) {
  machine.begin(program, job, token);
  {
    std::lock_guard lock(mutex_);
    running_ = job;
    if (stopping_) job->cancelled = true;
  }
  machine.advance();
  machine.end();
  std::lock_guard lock(mutex_);
  running_.reset();
  if (stopping_) throw disposed();
  if (job->cancelled) fail("ABORTED", "cancelled");
}

void Executor::packFile(Weight& weight, int64_t from, int64_t to, const std::string& path, int64_t offset, Stored stored) {
  const LocalFile file(path);
  const int64_t rowBytes = storedBytes(stored, weight.matrix.columns);
  std::atomic<bool> whole{true};
  machine.pack(weight, from, to, stored, true, [&](int64_t row, int64_t count, uint8_t* room) {
    if (!file.read(offset + (row - from) * rowBytes, count * rowBytes, room)) {
      whole = false;
      memset(room, 0, (size_t)(count * rowBytes));
    }
    return (const uint8_t*)room;
  });
  if (!whole) fail("LOAD", path + ": expected " + std::to_string((to - from) * rowBytes) + " bytes at " + std::to_string(offset) + ", found less; the file became shorter after it was opened");
}

}  // namespace jamba

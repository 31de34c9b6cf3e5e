#include "engine.h"

#include <algorithm>
#include <cstring>

#if defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace jamba {

#if defined(_WIN32)
Pages::Pages(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  data_ = (uint8_t*)VirtualAlloc(nullptr, (SIZE_T)bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
  if (!data_) throw Failure("OUT_OF_MEMORY", "expected room for " + std::to_string(bytes) + " bytes, found none; use a smaller dtype or context");
}
Pages::~Pages() {
  if (data_ && !UnmapViewOfFile(data_)) VirtualFree(data_, 0, MEM_RELEASE);
}
std::shared_ptr<Pages> Pages::ofFile(const std::string& path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(length, 0);
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) throw Failure("LOAD", path + ": expected a file that can be opened, found none");
  auto pages = std::make_shared<Pages>();
  LARGE_INTEGER size;
  GetFileSizeEx(file, &size);
  HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  if (mapping) pages->data_ = (uint8_t*)MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  pages->bytes_ = size.QuadPart;
  if (mapping) CloseHandle(mapping);
  CloseHandle(file);
  if (!pages->data_) throw Failure("LOAD", path + ": the system can't map it");
  return pages;
}
LocalFile::LocalFile(const std::string& path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(length, 0);
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) throw Failure("LOAD", path + ": expected a file that can be opened, found none");
  handle_ = (intptr_t)file;
}
LocalFile::~LocalFile() { CloseHandle((HANDLE)handle_); }
bool LocalFile::read(int64_t offset, int64_t bytes, uint8_t* to) const {
  OVERLAPPED at{};
  at.Offset = (DWORD)offset, at.OffsetHigh = (DWORD)(offset >> 32);
  DWORD found = 0;
  return ReadFile((HANDLE)handle_, to, (DWORD)bytes, &found, &at) && found == (DWORD)bytes;
}
std::string fileIdentity(const std::string& path) { return path; }  // Windows does not replace a file that is mapped
#else
Pages::Pages(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
#if defined(__SANITIZE_ADDRESS__)
  // From the heap, whose borders the sanitizer watches.
  if (posix_memalign((void**)&data_, 64, (size_t)bytes) != 0) throw Failure("OUT_OF_MEMORY", "expected room for " + std::to_string(bytes) + " bytes");
  memset(data_, 0, (size_t)bytes);
  return;
#endif
  void* data = mmap(nullptr, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw Failure("OUT_OF_MEMORY", "expected room for " + std::to_string(bytes) + " bytes, found none; use a smaller dtype or context");
  data_ = (uint8_t*)data;
#ifdef MADV_HUGEPAGE
  if (bytes >= 4 << 20) madvise(data, (size_t)bytes, MADV_HUGEPAGE);
#endif
}
Pages::~Pages() {
#if defined(__SANITIZE_ADDRESS__)
  if (!ofFile_) free(data_), data_ = nullptr;
#endif
  if (data_) munmap(data_, (size_t)bytes_);
}
std::shared_ptr<Pages> Pages::ofFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw Failure("LOAD", path + ": expected a file that can be opened, found: " + strerror(errno));
  struct stat found;
  const bool known = fstat(file, &found) == 0;
  void* data = known && found.st_size > 0 ? mmap(nullptr, (size_t)found.st_size, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
  close(file);
  if (data == MAP_FAILED) throw Failure("LOAD", path + ": expected a file that can be mapped, found an empty one or: " + strerror(errno));
  auto pages = std::make_shared<Pages>();
  pages->data_ = (uint8_t*)data;
  pages->bytes_ = found.st_size;
  pages->ofFile_ = true;
  return pages;
}
LocalFile::LocalFile(const std::string& path) : handle_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (handle_ < 0) throw Failure("LOAD", path + ": expected a file that can be opened, found: " + strerror(errno));
}
LocalFile::~LocalFile() { close((int)handle_); }
bool LocalFile::read(int64_t offset, int64_t bytes, uint8_t* to) const {
  while (bytes > 0) {
    const ssize_t found = pread((int)handle_, to, (size_t)bytes, offset);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return false;
    offset += found, bytes -= found, to += found;
  }
  return true;
}
std::string fileIdentity(const std::string& path) {
  struct stat found;
  if (stat(path.c_str(), &found) != 0) return path;
#if defined(__APPLE__)
  const struct timespec& changed = found.st_mtimespec;
#else
  const struct timespec& changed = found.st_mtim;
#endif
  std::string identity = path;
  for (const int64_t part : {(int64_t)found.st_dev, (int64_t)found.st_ino, (int64_t)found.st_size, (int64_t)changed.tv_sec, (int64_t)changed.tv_nsec})
    identity += ':' + std::to_string(part);
  return identity;
}
#endif

void States::reserve(int64_t nSlots, int64_t nPages) {
  struct Growth {
    std::vector<uint8_t*>& places;
    std::vector<Chunk>& chunks;
    int64_t missing, stride;
    std::shared_ptr<Pages> memory;
  };
  const auto growth = [](std::vector<uint8_t*>& places, std::vector<Chunk>& chunks, int64_t count, int64_t each) {
    Growth g{places, chunks, count - (int64_t)places.size(), roundUp(each > 0 ? each : 1, 64), nullptr};
    if (g.missing <= 0) return g;
    if (g.missing > INT64_MAX / g.stride) throw Failure("OUT_OF_MEMORY", "reserve: expected room for " + std::to_string(count) + " slots or pages, found none");
    g.memory = std::make_shared<Pages>(g.missing * g.stride);
    places.reserve(count);
    chunks.reserve(chunks.size() + 1);
    return g;
  };
  // All that can fail comes first, so that a failure changes nothing.
  Growth all[] = {growth(slots, slotChunks, nSlots, layout.slotBytes), growth(pages, pageChunks, nPages, layout.pageBytes)};
  for (Growth& g : all) {
    if (!g.memory) continue;
    for (int64_t i = 0; i < g.missing; i++) g.places.push_back(g.memory->data() + i * g.stride);
    bytes += g.missing * g.stride;
    g.chunks.push_back({std::move(g.memory), g.missing, g.missing * g.stride});
  }
}

std::vector<std::shared_ptr<Pages>> States::shrink(int64_t nSlots, int64_t nPages) {
  std::vector<std::shared_ptr<Pages>> taken;
  const auto take = [&](std::vector<uint8_t*>& places, std::vector<Chunk>& chunks, int64_t count) {
    while (!chunks.empty() && (int64_t)places.size() - chunks.back().count >= count) {
      places.resize(places.size() - chunks.back().count);
      bytes -= chunks.back().bytes;
      taken.push_back(std::move(chunks.back().memory));
      chunks.pop_back();
    }
  };
  take(slots, slotChunks, nSlots);
  take(pages, pageChunks, nPages);
  return taken;
}

namespace {
Failure disposed() { return Failure("DISPOSED", "cpu backend: expected an open backend, found it disposed"); }
}  // namespace

Engine::Engine(const Kernels& kernels, int threads) : kernels(kernels), threads(threads), pool_(threads) {
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() { stop(); }

void Engine::queue(Work work) {
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

void Engine::interrupt() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  if (running_) running_->cancelled = true;
}

void Engine::stop() {
  interrupt();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ready_.notify_one();
  if (thread_.joinable()) thread_.join();
  // Not left to the destructor, which runs when JavaScript collects the engine.
  pool_.stop();
  arena_.reset(), scratch_.reset(), local_.reset(), spread_.reset();
  arenaBytes = 0;
}

void Engine::loop() {
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
  Engine* engine;
  const Job* job;
  std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();
  const Command* command = nullptr;
};

}  // namespace

Room Engine::plan(const Program& program, Step& step) const {
  step.states = &program.states;
  step.threads = threads;
  for (const Command& command : program.commands) kernels.plan[(int)command.op](command, step);
  return {withSpare(program.arenaWords * 4 + 64), withSpare(step.scratchBytes + 64), withSpare(threads * strideOf(step.localBytes))};
}

void Engine::run(const std::shared_ptr<Program>& program, const std::shared_ptr<Job>& job) {
  Step& step = job->step;
  const Room room = plan(*program, step);
  spread_.reset();
  ensure(arena_, room.arena), ensure(scratch_, room.scratch), ensure(local_, room.local);
  step.arena = (float*)arena_->data();
  step.scratch = scratch_->data();
  job->local = local_->data(), job->localStride = strideOf(step.localBytes);
  arenaBytes = arena_->bytes() + scratch_->bytes() + local_->bytes();
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
        OpTime& time = clock.engine->times[(int)command->op];
        time.seconds += std::chrono::duration<double>(now - clock.last).count();
        time.calls += command != clock.command;
        clock.command = command;
        clock.last = now;
      },
      &clock);
  std::lock_guard lock(mutex_);
  running_.reset();
  if (stopping_) throw disposed();
  if (job->cancelled) throw Failure("ABORTED", "cancelled");
}

void Engine::spread(int64_t nTasks, int64_t localBytes, const std::function<void(int64_t, uint8_t*)>& task) {
  auto job = std::make_shared<Job>();
  const Command none{};
  Phase& phase = job->step.add([](const Phase& p, int i, Worker& worker) { (*(const std::function<void(int64_t, uint8_t*)>*)p.args[0])(i, worker.local); }, none, nTasks);
  phase.args[0] = (int64_t)&task;
  job->localStride = strideOf(localBytes);
  ensure(spread_, withSpare(threads * job->localStride));
  job->local = spread_->data();
  pool_.run(job, nullptr, nullptr);
}

void Engine::pack(Weight& weight, int64_t from, int64_t to, const uint8_t* bytes, Stored stored) {
  const int64_t rowBytes = storedBytes(stored, weight.matrix.columns);
  packRows(weight, from, to, stored, false, [=](int64_t row, int64_t, uint8_t*) { return bytes + (row - from) * rowBytes; });
}

void Engine::packFile(Weight& weight, int64_t from, int64_t to, const std::string& path, int64_t offset, Stored stored) {
  const LocalFile file(path);
  const int64_t rowBytes = storedBytes(stored, weight.matrix.columns);
  std::atomic<bool> whole{true};
  packRows(weight, from, to, stored, true, [&](int64_t row, int64_t count, uint8_t* room) {
    if (!file.read(offset + (row - from) * rowBytes, count * rowBytes, room)) {
      whole = false;
      memset(room, 0, (size_t)(count * rowBytes));
    }
    return (const uint8_t*)room;
  });
  if (!whole) throw Failure("LOAD", path + ": expected " + std::to_string((to - from) * rowBytes) + " bytes at " + std::to_string(offset) + ", found less; the file became shorter after it was opened");
}

template <class Fetch>
void Engine::packRows(Weight& weight, int64_t from, int64_t to, Stored stored, bool fetched, const Fetch& fetch) {
  const Matrix& m = weight.matrix;
  uint8_t* data = weight.pages->data();
  const int64_t columns = m.columns, rowBytes = storedBytes(stored, columns);
  if (m.isVector) {
    std::vector<uint8_t> room(fetched ? (size_t)((to - from) * rowBytes) : 0);
    kernels.decode((float*)data + from * columns, fetch(from, to - from, room.data()), stored, (to - from) * columns);
    return;
  }
  // Panels do not cross from one matrix of a stack to the next.
  struct Piece {
    int64_t row, count;
  };
  std::vector<Piece> pieces;
  for (int64_t row = from; row < to;) {
    const int64_t inMatrix = row % m.rows, left = m.rows - inMatrix, wanted = panelRows - inMatrix % panelRows;
    int64_t count = wanted < left ? wanted : left;
    if (row + count > to) count = to - row;
    pieces.push_back({row, count});
    row += count;
  }
  const int64_t floats = panelRows * roundUp(columns, 64) * 4;
  spread((int64_t)pieces.size(), floats + (fetched ? panelRows * rowBytes : 0), [&](int64_t i, uint8_t* local) {
    const auto [row, count] = pieces[i];
    uint8_t* panel = (uint8_t*)m.panel(row / m.rows, row % m.rows / panelRows);
    kernels.packRows(panel, m.dtype, fetch(row, count, local + floats), stored, count, columns, (float*)local);
  });
}

void Engine::encode(const float* values, int64_t rows, int64_t columns, Stored to, const float* importance, uint8_t* blocks) {
  // Nothing weighs nothing: a column that was never seen still keeps its value where that costs others nothing.
  constexpr double leastWeight = 1e-6;
  std::vector<float> weights(columns, 1.0f);
  double sum = 0;
  for (int64_t i = 0; importance && i < columns; i++) sum += importance[i];
  for (int64_t i = 0; sum > 0 && i < columns; i++) weights[i] = (float)(importance[i] / (sum / (double)columns) + leastWeight);
  // Far above any weight, and below what the smallest format's scale reaches.
  constexpr float most = 262144.0f;
  std::atomic<bool> known{true};
  std::atomic<int64_t> unheld{-1};
  spread(rows, 0, [&](int64_t row, uint8_t*) {
    const float* x = values + row * columns;
    for (int64_t i = 0; i < columns; i++)
      if (!(x[i] >= -most && x[i] <= most)) unheld = row * columns + i;
    if (unheld < 0 && !kernels.encodeRow(x, weights.data(), columns, to, blocks + row * storedBytes(to, columns))) known = false;
  });
  if (!known) throw Failure("DTYPE", "encodeBlocks: expected a format that can be written, found number " + std::to_string((int)to));
  if (unheld >= 0)
    throw Failure("DTYPE", "encodeBlocks: value " + std::to_string(unheld) + ": expected a number within 2^18, as blocks hold them, found " +
                               std::to_string(values[unheld]) + "; use bf16 or f32");
}

void Engine::moveState(const States& states, const Sequence& s, const std::vector<HostBuffer>& parts, bool write) {
  const StateLayout& layout = states.layout;
  std::vector<float> row;
  // n values that lie together at `place`, to or from every `stride`th one of a dense array.
  const auto move = [&](uint8_t* place, Dtype dtype, float* dense, int64_t n, int64_t stride) {
    row.resize(n);
    if (!write) {
      kernels.decode(row.data(), place, (Stored)dtype, n);
      for (int64_t i = 0; i < n; i++) dense[i * stride] = row[i];
      return;
    }
    for (int64_t i = 0; i < n; i++) row[i] = dense[i * stride];
    if (dtype == Dtype::f32)
      memcpy(place, row.data(), n * 4);
    else
      kernels.encode(place, row.data(), dtype, n);
  };
  for (size_t i = 0; i < layout.layers.size(); i++) {
    const LayerSpec& layer = layout.layers[i];
    float *first = (float*)parts[2 * i].data, *second = (float*)parts[2 * i + 1].data;
    if (layer.mamba) {
      const auto [dInner, dState, dConv] = layer.ssm;
      float *window = (float*)(s.slot + layer.offset), *h = window + StateLayout::convFloats(layer.ssm);
      if (s.seen == 0 && !write) continue;
      for (int64_t d = 0; d < dInner; d += panelRows) {
        const int64_t n = dInner - d < panelRows ? dInner - d : panelRows;
        for (int64_t k = 0; k < dConv - 1; k++)
          move((uint8_t*)(window + k * roundUp(dInner, 16) + d), Dtype::f32, first + d * (dConv - 1) + k, n, dConv - 1);
        for (int64_t state = 0; state < dState; state++) move((uint8_t*)(h + d * dState + state * panelRows), Dtype::f32, second + d * dState + state, n, dState);
      }
      continue;
    }
    const auto [nKvHeads, headDim] = layer.kv;
    const int64_t kBytes = layout.kElements(layer.kv) * layout.kvBytes(), vBytes = layout.vElements(layer.kv) * layout.kvBytes();
    for (int64_t head = 0; head < nKvHeads; head++)
      for (int64_t t = 0; t < s.seen; t += layout.pageTokens) {
        const int64_t n = s.seen - t < layout.pageTokens ? s.seen - t : layout.pageTokens, dense = (head * s.seen + t) * headDim;
        uint8_t *k = s.pages[t / layout.pageTokens] + layer.offset + head * (kBytes + vBytes), *v = k + kBytes;
        for (int64_t j = 0; j < headDim; j++) move(k + j * layout.pageStride() * layout.kvBytes(), layout.kvDtype, first + dense + j, n, headDim);
        for (int64_t slot = 0; slot < n; slot++)
          move(v + slot * roundUp(headDim, 16) * layout.kvBytes(), layout.kvDtype, second + dense + slot * headDim, headDim, 1);
      }
  }
}

void Engine::measureLimits(std::array<double, 5>& found) {
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

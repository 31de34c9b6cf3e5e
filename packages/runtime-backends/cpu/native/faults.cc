#include "faults.h"

#if defined(_WIN32)
// A file that is mapped can't become shorter there, and while it is open here nobody else may write to it.
namespace jamba {
WatchedRange* watchRange(const void*, int64_t) { return nullptr; }
void forgetRange(WatchedRange*) {}
}  // namespace jamba
#else

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

namespace jamba {

namespace {

// Of the process: threads of all executors and workers share them.
std::atomic<WatchedRange*> ranges{nullptr};
std::mutex changing;
struct sigaction before;
uintptr_t pageBytes;

/** What would have happened without this file. */
void passOn(int signal, siginfo_t* info, void* context) {
  const bool sent = info->si_code <= 0; // by kill(), where nothing is read again
  if (before.sa_handler == SIG_IGN && sent) return;
  if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
    struct sigaction usual {};
    usual.sa_handler = SIG_DFL;
    sigaction(signal, &usual, nullptr);
    raise(signal); // comes as soon as this handler returns
  } else if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(signal, info, context);
  } else {
    before.sa_handler(signal);
  }
}

/** Runs in the middle of any code of any thread: nothing here takes a lock or memory. */
void onFault(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const uintptr_t at = (uintptr_t)info->si_addr;
  for (WatchedRange* range = info->si_code > 0 ? ranges.load(std::memory_order_acquire) : nullptr; range; range = range->next) {
    const uintptr_t begin = range->begin.load(std::memory_order_acquire), end = range->end.load(std::memory_order_acquire);
    if (at < begin || at >= end) continue;
    // Told first: a thread that reads the zeros must find it.
    range->torn.store(true, std::memory_order_seq_cst);
    const uintptr_t from = at / pageBytes * pageBytes;
    // To the end: what follows in a file that was cut is gone too, and no step goes on with the rest.
    void* zeros = mmap((void*)from, end - from, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = error;
    if (zeros != MAP_FAILED) return;
    break;
  }
  passOn(signal, info, context);
  errno = error;
}

void install() {
  pageBytes = (uintptr_t)sysconf(_SC_PAGESIZE);
  // The handler may be called after the last worker that loaded this library has ended: the library stays.
  Dl_info own;
  if (dladdr((void*)&onFault, &own)) dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  struct sigaction ours {};
  ours.sa_sigaction = onFault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&ours.sa_mask);
  sigaction(SIGBUS, nullptr, &before); // known before a fault can ask for it
  sigaction(SIGBUS, &ours, nullptr);
}

}  // namespace

WatchedRange* watchRange(const void* data, int64_t bytes) {
  static std::once_flag installed;
  std::call_once(installed, install);
  std::lock_guard lock(changing);
  WatchedRange* range = ranges.load();
  while (range && range->begin.load() != UINTPTR_MAX) range = range->next;
  if (!range) {
    range = new WatchedRange();
    range->next = ranges.load();
    ranges.store(range, std::memory_order_release);
  }
  range->torn = false;
  // In this order it holds no address until both are there.
  range->end = ((uintptr_t)data + (uintptr_t)bytes + pageBytes - 1) / pageBytes * pageBytes;
  range->begin = (uintptr_t)data;
  return range;
}

void forgetRange(WatchedRange* range) {
  std::lock_guard lock(changing);
  range->begin = UINTPTR_MAX;
  range->end = 0;
}

}  // namespace jamba
#endif

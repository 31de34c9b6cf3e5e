// Reads of mapped pages that are not there any more: since the file became shorter, or the disk fails. The system's signal for them
// (SIGBUS) would end the process.
#pragma once
#include <atomic>
#include <cstdint>

namespace jamba {

/** Pages of a mapped file. Never freed, since a signal may look at it at any time, but used again. */
struct WatchedRange {
  std::atomic<uintptr_t> begin{UINTPTR_MAX}, end{0};
  /** One of its pages could not be read: from there on zeros were put in their place. */
  std::atomic<bool> torn{false};
  WatchedRange* next = nullptr;
};

/** From here on a read of a page that is gone gives zeros, and `torn` tells. Faults elsewhere go to whoever handled them before. */
WatchedRange* watchRange(const void* data, int64_t bytes);
/** Before the pages are unmapped. */
void forgetRange(WatchedRange* range);

}  // namespace jamba

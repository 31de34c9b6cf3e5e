// Waiting for another thread: a while by looking, then asleep.
#pragma once
#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace jamba {

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#if defined(__wasm__)
// The library's own is not built for shared memory.
static_assert(sizeof(std::atomic<int32_t>) == 4);
inline void park(const std::atomic<int32_t>& value, int32_t old) { __builtin_wasm_memory_atomic_wait32((int32_t*)&value, old, -1); }
inline void wakeAll(std::atomic<int32_t>& value) { __builtin_wasm_memory_atomic_notify((int32_t*)&value, UINT32_MAX); }
#else
/** Until `value` is no longer `old`; may return early. */
inline void park(const std::atomic<int32_t>& value, int32_t old) { value.wait(old, std::memory_order_acquire); }
inline void wakeAll(std::atomic<int32_t>& value) { value.notify_all(); }
#endif

}  // namespace jamba

#include "pages.h"

#include <cstring>

#if defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace jamba {

#if defined(_WIN32)
Pages::Pages(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  data_ = (uint8_t*)VirtualAlloc(nullptr, (SIZE_T)bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
  if (!data_) fail("OUT_OF_MEMORY", "expected room for " + std::to_string(bytes) + " bytes, found none; use a smaller dtype or context");
}
Pages::~Pages() {
  if (data_ && !file_) VirtualFree(data_, 0, MEM_RELEASE);
}
#else
Pages::Pages(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
#if defined(__SANITIZE_ADDRESS__)
  // From the heap, whose borders the sanitizer watches.
  if (posix_memalign((void**)&data_, 64, (size_t)bytes) != 0) fail("OUT_OF_MEMORY", "expected room for " + std::to_string(bytes) + " bytes");
  memset(data_, 0, (size_t)bytes);
  return;
#endif
  void* data = mmap(nullptr, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) fail("OUT_OF_MEMORY", "expected room for " + std::to_string(bytes) + " bytes, found none; use a smaller dtype or context");
  data_ = (uint8_t*)data;
#ifdef MADV_HUGEPAGE
  if (bytes >= 4 << 20) madvise(data, (size_t)bytes, MADV_HUGEPAGE);
#endif
}
Pages::~Pages() {
  if (file_) return;
#if defined(__SANITIZE_ADDRESS__)
  free(data_);
#else
  if (data_) munmap(data_, (size_t)bytes_);
#endif
}
#endif

}  // namespace jamba

// What the C and C++ libraries would bring: those of the compiler are not built for shared memory, and little of them is used.
#include <chrono>
#include <memory>
#include <new>
#include <string>

#include "failure.h"
#include "heap.h"

extern "C" {

__attribute__((import_module("env"), import_name("now"))) double now();

// The compiler turns these into the instructions for bulk memory, not into calls of themselves.
void* memcpy(void* __restrict to, const void* __restrict from, size_t n) {
  asm volatile("local.get %0\nlocal.get %1\nlocal.get %2\nmemory.copy 0, 0" : : "r"(to), "r"(from), "r"(n) : "memory");
  return to;
}
void* memmove(void* to, const void* from, size_t n) { return memcpy(to, from, n); }
void* memset(void* to, int value, size_t n) {
  asm volatile("local.get %0\nlocal.get %1\nlocal.get %2\nmemory.fill 0" : : "r"(to), "r"(value), "r"(n) : "memory");
  return to;
}
int memcmp(const void* a, const void* b, size_t n) {
  const unsigned char *x = (const unsigned char*)a, *y = (const unsigned char*)b;
  for (; n > 0; n--, x++, y++)
    if (*x != *y) return *x < *y ? -1 : 1;
  return 0;
}
size_t strlen(const char* text) {
  size_t n = 0;
  while (text[n]) n++;
  return n;
}

/** 2^n · e^r with |r| <= ln 2 / 2, by the series of e^r: within 1e-15 of it. */
double exp(double x) {
  if (!(x > -745)) return x != x ? x : 0;
  if (x > 709) return __builtin_inf();
  const double n = __builtin_nearbyint(x * 1.4426950408889634), r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double series = 1;
  for (int i = 14; i > 0; i--) series = 1 + series * r / i;
  // In two steps, since 2^n itself may be too small to be normal.
  const int64_t whole = (int64_t)n, half = whole / 2;
  const auto power = [](int64_t k) {
    const uint64_t bits = (uint64_t)(1023 + k) << 52;
    double v;
    __builtin_memcpy(&v, &bits, 8);
    return v;
  };
  return series * power(half) * power(whole - half);
}

/** Nothing of the module is ever torn down. */
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }
void __cxa_pure_virtual() { __builtin_trap(); }
}

namespace {
void* allocated(size_t bytes) {
  void* data = jamba::allocate(bytes);
  if (!data) jamba::fail("OUT_OF_MEMORY", "wasm backend: expected memory, found none left of WebAssembly's 4 GiB");
  return data;
}
}  // namespace

void* operator new(size_t bytes) { return allocated(bytes); }
void* operator new[](size_t bytes) { return allocated(bytes); }
void* operator new(size_t bytes, std::align_val_t) { return allocated(bytes); }
void* operator new[](size_t bytes, std::align_val_t) { return allocated(bytes); }
void operator delete(void* data) noexcept { jamba::release(data); }
void operator delete[](void* data) noexcept { jamba::release(data); }
void operator delete(void* data, size_t) noexcept { jamba::release(data); }
void operator delete(void* data, std::align_val_t) noexcept { jamba::release(data); }
void operator delete[](void* data, std::align_val_t) noexcept { jamba::release(data); }
void operator delete(void* data, size_t, std::align_val_t) noexcept { jamba::release(data); }

_LIBCPP_BEGIN_NAMESPACE_STD
template class basic_string<char>;
template string operator+(const char*, const string&);

string to_string(long long v) {
  char digits[24];
  char* at = digits + sizeof digits;
  const bool below = v < 0;
  for (unsigned long long left = below ? 0ull - (unsigned long long)v : (unsigned long long)v; at == digits + sizeof digits || left > 0; left /= 10) *--at = (char)('0' + left % 10);
  if (below) *--at = '-';
  return string(at, digits + sizeof digits);
}
string to_string(int v) { return to_string((long long)v); }
string to_string(long v) { return to_string((long long)v); }
string to_string(unsigned v) { return to_string((long long)v); }
string to_string(unsigned long v) { return to_string((long long)v); }
string to_string(unsigned long long v) { return to_string((long long)v); }
/** For messages: three places are enough. */
string to_string(float v) {
  if (!(v > -1e15f && v < 1e15f)) return v != v ? "nan" : v > 0 ? "inf" : "-inf";
  const long long whole = (long long)v;
  const long long part = (long long)((v < 0 ? whole - v : v - whole) * 1000);
  const string places = to_string(1000 + part);
  return (v < 0 && whole == 0 ? "-" : "") + to_string(whole) + "." + places.substr(1);
}

__shared_count::~__shared_count() {}
__shared_weak_count::~__shared_weak_count() {}
void __shared_weak_count::__release_weak() noexcept {
  if (__atomic_sub_fetch(&__shared_weak_owners_, 1, __ATOMIC_ACQ_REL) == -1) __on_zero_shared_weak();
}
__shared_weak_count* __shared_weak_count::lock() noexcept {
  long owners = __atomic_load_n(&__shared_owners_, __ATOMIC_SEQ_CST);
  while (owners != -1)
    if (__atomic_compare_exchange_n(&__shared_owners_, &owners, owners + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return this;
  return nullptr;
}
const void* __shared_weak_count::__get_deleter(const type_info&) const noexcept { return nullptr; }

[[noreturn]] void __libcpp_verbose_abort(const char*, ...) noexcept { __builtin_trap(); }
namespace chrono {
steady_clock::time_point steady_clock::now() noexcept { return time_point(duration((long long)(::now() * 1e6))); }
}  // namespace chrono
_LIBCPP_END_NAMESPACE_STD

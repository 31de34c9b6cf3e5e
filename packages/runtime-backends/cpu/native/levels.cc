// Which instruction sets this build has and this machine runs.
#include "step.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace jamba {

#define JAMBA_DECLARE(level) namespace level { extern const Kernels kernels; }
JAMBA_DECLARE(portable)
#if defined(__x86_64__)
JAMBA_DECLARE(avx2)
JAMBA_DECLARE(avx512)
JAMBA_DECLARE(avx512bf16)
#elif defined(__aarch64__)
JAMBA_DECLARE(neon)
JAMBA_DECLARE(i8mm)
#endif
#if defined(JAMBA_EMULATE)
JAMBA_DECLARE(avx512emulated)
JAMBA_DECLARE(avx512bf16emulated)
#endif

namespace {

struct Usable {
  const Kernels* all[8] = {};
  Usable() {
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) all[n++] = &avx512bf16::kernels;
    if (avx512) all[n++] = &avx512::kernels;
    if (avx2) all[n++] = &avx2::kernels;
#elif defined(__aarch64__) && defined(__linux__)
    constexpr unsigned long dotprod = 1ul << 20, i8mm = 1ul << 13;
    if (getauxval(AT_HWCAP) & dotprod) {
      if (getauxval(AT_HWCAP2) & i8mm) all[n++] = &i8mm::kernels;
      all[n++] = &neon::kernels;
    }
#elif defined(__aarch64__) && defined(__APPLE__)
    // Every Apple processor that runs Node 20 has dot products; M1 has no i8mm.
    all[n++] = &neon::kernels;
#endif
    all[n++] = &portable::kernels;
#if defined(JAMBA_EMULATE)
    all[n++] = &avx512bf16emulated::kernels;
    all[n++] = &avx512emulated::kernels;
#endif
  }
};

}  // namespace

const Kernels* const* usableKernels() {
  static const Usable usable;
  return usable.all;
}

}  // namespace jamba

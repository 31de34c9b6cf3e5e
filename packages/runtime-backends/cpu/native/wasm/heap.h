// The heap of a WebAssembly module.
#pragma once
#include <cstddef>
#include <cstdint>

namespace jamba {

/** At a multiple of 64; null where the memory can't grow any more. */
void* allocate(size_t bytes);
void release(void* data);
/** Whatever was allocated so far stays: the call succeeded. */
void commit();
/** Frees all that was allocated since the last `commit` or `rollBack`, but for what `outlives` it (failure.h). */
void rollBack();
int64_t takenBytes();

}  // namespace jamba

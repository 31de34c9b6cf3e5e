// Memory in WebAssembly, where there is no system to ask: blocks of a heap that grows to what the module's memory may have.
//
// Only the thread that owns the heap comes here. A call that fails unwinds nothing, so each block knows the call that took it, and `rollBack`
// frees what the failed one took.
#include "heap.h"

#include <cstring>

#include "pages.h"

extern "C" unsigned char __heap_base;

namespace jamba {

namespace {

constexpr uint32_t unit = 64;

/** Before each block's bytes, which start at a multiple of 64 as well. Neighbours are found by sizes. */
struct alignas(64) Block {
  /** With this. */
  uint32_t bytes;
  /** Of the block before; 0 for the first. */
  uint32_t before;
  /** What was asked for of it, with this: it may have a few units more. */
  uint32_t asked;
  /** Which call took it, from `firstCall` on; 0 where it is free, 1 where it stays whatever becomes of its call. */
  uint32_t call;
  Block *next, *previous;
};
static_assert(sizeof(Block) == unit);

uint64_t first = 0, top = 0;
/** Memory from here on was never handed out and is zero. */
uint64_t used = 0;
constexpr uint32_t stays = 1, firstCall = 2;
uint32_t lastBytes = 0, call = firstCall;
int64_t taken = 0;
/** Free blocks of 2^i bytes and more. */
Block* bins[32] = {};

int binOf(uint32_t bytes) { return 31 - __builtin_clz(bytes); }
Block* at(uint64_t place) { return (Block*)(uintptr_t)place; }
uint64_t placeOf(const Block* block) { return (uintptr_t)block; }
Block* after(Block* block) { return placeOf(block) + block->bytes < top ? at(placeOf(block) + block->bytes) : nullptr; }

void put(Block* block) {
  Block*& bin = bins[binOf(block->bytes)];
  block->call = 0, block->previous = nullptr, block->next = bin;
  if (bin) bin->previous = block;
  bin = block;
}
void takeOut(Block* block) {
  if (block->previous)
    block->previous->next = block->next;
  else
    bins[binOf(block->bytes)] = block->next;
  if (block->next) block->next->previous = block->previous;
}
void setBytes(Block* block, uint32_t bytes) {
  block->bytes = bytes;
  Block* next = after(block);
  (next ? next->before : lastBytes) = bytes;
}

/** A free block of at least so many bytes, out of its bin. */
Block* found(uint32_t bytes) {
  for (int bin = binOf(bytes); bin < 32; bin++)
    for (Block* block = bins[bin]; block; block = block->next)
      if (block->bytes >= bytes) {
        takeOut(block);
        return block;
      }
  return nullptr;
}

/** A new one at the end, which takes in the last one where that is free. */
Block* grown(uint32_t bytes) {
  if (!first) first = top = used = ((uintptr_t)&__heap_base + unit - 1) / unit * unit;
  Block* last = lastBytes ? at(top - lastBytes) : nullptr;
  if (last && last->call != 0) last = nullptr;
  const uint64_t from = last ? placeOf(last) : top, to = from + bytes;
  constexpr uint64_t page = 65536, most = 65536 * page;
  if (to > most) return nullptr;
  const uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * page;
  if (to > have) {
    // Some more at a time, or growing would be most of the work; exactly so many where there is no room for more.
    const uint64_t wanted = (to - have + page - 1) / page, more = wanted + 16;
    if ((have / page + more > 65536 || __builtin_wasm_memory_grow(0, more) == SIZE_MAX) && __builtin_wasm_memory_grow(0, wanted) == SIZE_MAX) return nullptr;
  }
  if (last) takeOut(last);
  Block* block = at(from);
  if (!last) block->before = lastBytes;
  top = to, block->bytes = lastBytes = bytes;
  return block;
}

}  // namespace

void* allocate(size_t size) {
  if (size > UINT32_MAX - 2 * unit) return nullptr;
  const uint32_t bytes = ((uint32_t)size + unit - 1) / unit * unit + unit;
  Block* block = found(bytes);
  if (!block) block = grown(bytes);
  if (!block) return nullptr;
  if (block->bytes - bytes >= 4 * unit) {
    const uint32_t rest = block->bytes - bytes;
    block->bytes = bytes;
    Block* other = at(placeOf(block) + bytes);
    other->before = bytes;
    setBytes(other, rest);
    put(other);
  }
  block->call = call, block->asked = bytes;
  taken += bytes;
  const uint64_t end = placeOf(block) + block->bytes;
  if (end > used) used = end;
  return block + 1;
}

void release(void* data) {
  if (!data) return;
  Block* block = (Block*)data - 1;
  taken -= block->asked;
  Block* next = after(block);
  if (next && next->call == 0) {
    takeOut(next);
    setBytes(block, block->bytes + next->bytes);
  }
  Block* before = block->before ? at(placeOf(block) - block->before) : nullptr;
  if (before && before->call == 0) {
    takeOut(before);
    setBytes(before, before->bytes + block->bytes);
    block = before;
  }
  put(block);
}

// After four billion calls numbers come again: a block of a call that old goes only if the very call of its number fails.
void commit() { call = call == UINT32_MAX ? firstCall : call + 1; }

void outlives(const void* data) {
  if (data) ((Block*)data - 1)->call = stays;
}

void rollBack() {
  for (Block* block = lastBytes ? at(first) : nullptr; block;) {
    Block* next = after(block);
    if (block->call == call) {
      // It may become part of the block before it, and take in the one behind it.
      if (next && next->call == 0) next = after(next);
      release(block + 1);
    }
    block = next;
  }
  commit();
}

int64_t takenBytes() { return taken; }

Pages::Pages(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const uint64_t clean = used;
  data_ = bytes < UINT32_MAX ? (uint8_t*)allocate((size_t)bytes) : nullptr;
  if (!data_)
    fail("OUT_OF_MEMORY", "expected room for " + std::to_string(bytes) + " bytes, found " + std::to_string(taken) + " of WebAssembly's 4 GiB taken; use a smaller dtype or context");
  const uint64_t from = (uintptr_t)data_;
  if (clean > from) memset(data_, 0, (size_t)(clean - from < (uint64_t)bytes ? clean - from : bytes));
}
Pages::~Pages() { release(data_); }

}  // namespace jamba

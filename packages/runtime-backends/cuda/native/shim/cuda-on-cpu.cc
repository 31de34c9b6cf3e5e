#include "cuda-on-cpu.h"

#include <numeric>

namespace onCpu {

State state;

namespace {
constexpr size_t stackBytes = 32 << 10;

/** Numbers for orders that no kernel may rely on (splitmix64). */
uint64_t next(uint64_t& seed) {
  uint64_t v = seed += 0x9e3779b97f4a7c15;
  v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9;
  v = (v ^ v >> 27) * 0x94d049bb133111eb;
  return v ^ v >> 31;
}
std::vector<unsigned> order(unsigned n, bool isShuffled, uint64_t& seed) {
  std::vector<unsigned> all(n);
  std::iota(all.begin(), all.end(), 0u);
  if (isShuffled)
    for (unsigned i = n; i > 1; i--) std::swap(all[i - 1], all[next(seed) % i]);
  return all;
}
}  // namespace

// Saves what a call must leave as it was, and goes on on another stack.
extern "C" void onCpu_switch(void** from, void* to);
asm(R"(
.text
.globl onCpu_switch
.hidden onCpu_switch
.type onCpu_switch,@function
onCpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size onCpu_switch, .-onCpu_switch
)");

void wait(Waits what) {
  Fiber& fiber = state.fibers[state.current];
  fiber.waits = what;
  onCpu_switch(&fiber.stack, state.scheduler);
}

namespace {

void enter() {
  state.body(state.params);
  wait(Waits::done);
}

void runLane(unsigned thread) {
  state.current = thread;
  const dim3 block = blockDim;
  threadIdx = {thread % block.x, thread / block.x % block.y, thread / (block.x * block.y)};
  onCpu_switch(&state.scheduler, state.fibers[thread].stack);
}

/** Until all lanes of a warp are done or wait for the block. */
void runWarp(unsigned warp, unsigned threads, bool isShuffled, uint64_t& seed) {
  const unsigned first = 32 * warp, count = min(32u, threads - first);
  for (bool again = true; again && state.fault.empty();) {
    for (unsigned lane : order(count, isShuffled, seed))
      if (state.fibers[first + lane].waits == Waits::nothing) runLane(first + lane);
    again = false;
    bool waitsForBlock = false;
    for (unsigned i = first; i < first + count; i++) {
      again |= state.fibers[i].waits == Waits::warp;
      waitsForBlock |= state.fibers[i].waits == Waits::block;
    }
    if (!again) return;
    if (waitsForBlock) state.fault = "some lanes of a warp wait for their block, and others for their warp";
    state.turn[warp]++;
    state.gave[warp][state.turn[warp] & 1] = 0;
    for (unsigned i = first; i < first + count; i++)
      if (state.fibers[i].waits == Waits::warp) state.fibers[i].waits = Waits::nothing;
  }
}

void runBlock(unsigned threads, bool isShuffled, uint64_t& seed) {
  for (unsigned i = 0; i < threads; i++) {
    // What `onCpu_switch` takes off a new stack: six registers, and where to go. A call leaves the stack 8 off a multiple of 16.
    void** top = (void**)((uintptr_t)(state.stacks.data() + stackBytes * (i + 1)) & ~(uintptr_t)15);
    *--top = nullptr;
    *--top = (void*)enter;
    for (int j = 0; j < 6; j++) *--top = nullptr;
    state.fibers[i] = {top, Waits::nothing};
  }
  std::memset(state.turn, 0, sizeof state.turn);
  std::memset(state.gave, 0, sizeof state.gave);
  for (bool again = true; again && state.fault.empty();) {
    for (unsigned warp : order((threads + 31) / 32, isShuffled, seed)) runWarp(warp, threads, isShuffled, seed);
    again = false;
    for (unsigned i = 0; i < threads; i++) {
      if (state.fibers[i].waits != Waits::block) continue;
      state.fibers[i].waits = Waits::nothing;
      again = true;
    }
  }
}

}  // namespace

std::string launch(const Launch& launch, void (*body)(const void*), const void* params) {
  const unsigned threads = launch.block.x * launch.block.y * launch.block.z;
  if (threads == 0 || threads > 1024) return "expected 1 to 1024 threads a block, found " + std::to_string(threads);
  state.body = body, state.params = params;
  state.fault.clear();
  if (state.fibers.size() < threads) {
    state.fibers.resize(threads);
    state.stacks.resize(stackBytes * threads);
  }
  gridDim = launch.grid, blockDim = launch.block;
  uint64_t seed = launch.seed;
  const unsigned blocks = launch.grid.x * launch.grid.y * launch.grid.z;
  for (unsigned i : order(blocks, launch.isShuffled, seed)) {
    blockIdx = {i % launch.grid.x, i / launch.grid.x % launch.grid.y, i / (launch.grid.x * launch.grid.y)};
    runBlock(threads, launch.isShuffled, seed);
    if (!state.fault.empty()) break;
  }
  return state.fault;
}

}  // namespace onCpu

// Slots and pages of many sequences: where they lie, what is copied between them, and one layer's part as dense numbers.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "pages.h"
#include "step.h"

namespace jamba {

/** [pageTokens, kvDtype, then per layer: 1, dInner, dState, dConv | 0, nKvHeads, headDim, 0] */
StateLayout layoutOf(const int32_t* words, int64_t nWords);

/** Slots and pages of many sequences. Chunks never move; only the JavaScript thread adds them and takes them out. */
struct States {
  struct Chunk {
    std::shared_ptr<Pages> memory;
    int64_t count, bytes;
  };
  StateLayout layout;
  std::vector<Chunk> slotChunks, pageChunks;
  std::vector<uint8_t*> slots, pages;
  int64_t bytes = 0;

  void reserve(int64_t nSlots, int64_t nPages);
  /** Takes out the chunks that have nothing below these counts. Steps that were queued before may still write there. */
  std::vector<std::shared_ptr<Pages>> shrink(int64_t nSlots, int64_t nPages);
};

/** Bytes that go from one place to another, or stay where they are. */
struct Copy {
  uint8_t* to;
  const uint8_t* from;
  int64_t bytes;
};

/**
 * One part of one layer of a sequence, between its place and dense numbers. Mamba: 0 = conv [dInner, dConv - 1], 1 = h [dInner, dState], f32.
 * Attention: 0 = k, 1 = v, [nKvHeads, seen, headDim] in the KV dtype. Tasks 0 … tasks() - 1 go in any order, on any threads.
 */
struct PartMove {
  const StateLayout* layout;
  Sequence sequence;
  int32_t layer = 0, part = 0;
  uint8_t* dense = nullptr;
  bool write = false;

  const LayerSpec& spec() const { return layout->layers[layer]; }
  int64_t denseBytes() const;
  int64_t tasks() const;
  void run(int64_t task) const;

 private:
  void moveMamba(int64_t panel) const;
  template <class Element>
  void moveAttention(int64_t head, int64_t page) const;
};

}  // namespace jamba

// A command list in the executor's own terms, and the weights it names.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pages.h"
#include "step.h"

namespace jamba {

struct Weight {
  std::string name;
  std::shared_ptr<Pages> pages;
  Matrix matrix;
  int64_t bytes = 0;
};

/** A value that a run keeps for later reads, and where in the run's memory, in bytes. */
struct KeptTensor {
  int64_t rows, columns, offset;
};

/** It does not keep its weights: who runs it does, for as long as that takes. */
struct Program {
  std::vector<Command> commands;
  std::vector<std::weak_ptr<Weight>> weights;
  StateLayout states;
  int64_t arenaWords = 0;
  int32_t L = 0, nSequences = 0, nRows = 0;
  std::vector<int64_t> inputBytes, outputBytes;
  /** In outputBytes: as many as the run asks for. */
  static constexpr int64_t askedBytes = -1;
  std::vector<KeptTensor> kept;
  int64_t keptBytes = 0;
  bool hasTop = false, hasAttention = false;
  /** Ids of tokens, and those whose logits a run asks for, are below these. */
  int64_t vocabSize = INT32_MAX, nLogits = INT32_MAX;

  /** @throws Failure SHAPE, DTYPE or BACKEND: nothing that leaves the arena, a weight or the states gets past here */
  Program(const int32_t* words, int64_t nWords, const std::vector<std::shared_ptr<Weight>>& weights, StateLayout states);
  /** @throws Failure DISPOSED when one is gone */
  std::vector<std::shared_ptr<Weight>> hold() const;
};

}  // namespace jamba

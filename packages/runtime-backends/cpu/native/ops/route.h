//   p = softmax(logits over all experts); the nActive largest, best first, ties to the lower index; not renormalised
#pragma once
#include <cmath>

#include "../step.h"

namespace jamba::JAMBA_LEVEL {

static void routeRow(const float* logits, int nExperts, int nActive, int32_t* experts, float* weights) {
  float most = logits[0];
  for (int e = 1; e < nExperts; e++) most = logits[e] > most ? logits[e] : most;
  double sum = 0;
  for (int e = 0; e < nExperts; e++) sum += std::exp((double)logits[e] - most);
  for (int j = 0; j < nActive; j++) {
    int best = -1;
    for (int e = 0; e < nExperts; e++) {
      bool taken = false;
      for (int i = 0; i < j; i++) taken |= experts[i] == e;
      if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
    }
    experts[j] = best;
    weights[j] = (float)(std::exp((double)logits[best] - most) / sum);
  }
}

static void planRoute(const Command& c, Step& step) {
  constexpr int rowsPerTask = 64;
  step.add(
      [](const Phase& p, int task, Worker&) {
        const Tensor &logits = p.command->in[0], &experts = p.command->out[0], &weights = p.command->out[1];
        for (int64_t t = task * rowsPerTask; t < logits.rows && t < (task + 1) * rowsPerTask; t++)
          routeRow(p.step->at(logits) + t * logits.stride, logits.columns, experts.columns, p.step->integers(experts) + t * experts.stride,
                   p.step->at(weights) + t * weights.stride);
      },
      c, (c.in[0].rows + rowsPerTask - 1) / rowsPerTask);
}

}  // namespace jamba::JAMBA_LEVEL

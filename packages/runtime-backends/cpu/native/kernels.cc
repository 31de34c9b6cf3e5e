// All ops for one instruction set: compiled once per level, with the flags of that level (see build-native.mjs).
#include "encode-blocks.h"
#include "peaks.h"
#include "ops/attention.h"
#include "ops/causal-conv.h"
#include "ops/experts.h"
#include "ops/matmul.h"
#include "ops/rms-norm.h"
#include "ops/route.h"
#include "ops/rows.h"
#include "ops/selective-scan.h"
#include "ops/swiglu.h"
#include "ops/top.h"

#if defined(JAMBA_DOT_OF_FOUR)
#include "wasm/check-dots.h"
#endif

#define JAMBA_TEXT_(name) #name
#define JAMBA_TEXT(name) JAMBA_TEXT_(name)

namespace jamba::JAMBA_LEVEL {

extern const Kernels kernels;
const Kernels kernels = {
    JAMBA_TEXT(JAMBA_LEVEL),
    {planInput, planEmbed, planRmsNorm, planMatmul, planCausalConv, planSelectiveScan, planAttention, planSwiglu, planRoute, planExperts, planGatherRows,
     planRead, planGateUp, planTop, planKeep},
    packRows,
    decode,
    encodeRow,
    measureOperations,
    readRange,
};

}  // namespace jamba::JAMBA_LEVEL

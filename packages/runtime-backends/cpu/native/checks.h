// What both doors to JavaScript check before anything runs: after this no kernel meets a number that leads outside.
#pragma once
#include "program.h"
#include "states.h"

namespace jamba {

/** Of [slot, seen, nPages, pages …] from `at` on, which moves behind it. @throws Failure SHAPE for a place that the states do not have */
Sequence addressOf(const States& states, const std::vector<int32_t>& words, size_t& at);
/** Of [from, to …] of slots and of pages. @throws Failure SHAPE */
std::vector<Copy> copiesOf(const States& states, const std::vector<int32_t>& slots, const std::vector<int32_t>& pages);
/** One part of one layer of a sequence to or from `bytes`. @throws Failure SHAPE */
PartMove partMove(const States& states, const std::vector<int32_t>& address, int64_t layer, int64_t part, const HostBuffer& bytes, bool write);

/** @throws Failure SHAPE */
void checkStep(const Program& program, const Step& step, const std::vector<int32_t>& starts);
/** @throws Failure SHAPE */
void checkBuffers(const Program& program, const Step& step);

/** That it does not lie in a mapped file. @throws Failure BACKEND */
void expectOwn(const Weight& weight);
/** Of rows whose bytes are counted elsewhere. */
constexpr int64_t anyBytes = -1;
/** That rows [from, to) of a weight may be packed from so many bytes of the `stored`th format. @throws Failure BACKEND, DTYPE, SHAPE */
Stored expectRows(const Weight& weight, int64_t from, int64_t to, int64_t stored, int64_t bytes);
/** Within the packed layout. @throws Failure SHAPE */
void expectRange(const Weight& weight, int64_t from, int64_t bytes);
/** Counts of numbers, `blocks` of bytes; an `importance` of 0 is none. @returns rows. @throws Failure SHAPE */
int64_t expectBlocks(int64_t values, int64_t columns, int64_t stored, int64_t importance, int64_t blocks);

}  // namespace jamba

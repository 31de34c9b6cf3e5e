#include "checks.h"

namespace jamba {

namespace {

void expect(bool fits, const std::string& what) {
  if (!fits) fail("SHAPE", "run: expected " + what + ", found others");
}

bool within(const std::vector<int32_t>& numbers, int64_t end) {
  for (const int32_t n : numbers)
    if (n < 0 || n >= end) return false;
  return true;
}
/** From 0 to `end`, never falling, one more than `n`. */
bool ascends(const std::vector<int32_t>& starts, size_t n, int64_t end) {
  for (size_t i = 1; i < starts.size(); i++)
    if (starts[i] < starts[i - 1]) return false;
  return starts.size() == n + 1 && starts.front() == 0 && starts.back() == end;
}

uint8_t* placeOf(const std::vector<uint8_t*>& places, int32_t index, const char* what) {
  if (index < 0 || index >= (int64_t)places.size())
    fail("SHAPE", std::string("states: expected a ") + what + " in [0, " + std::to_string(places.size()) + "), found " + std::to_string(index));
  return places[index];
}
}  // namespace

void checkStep(const Program& program, const Step& step, const std::vector<int32_t>& starts) {
  expect((int64_t)step.ids.size() == program.L && within(step.ids, program.vocabSize), std::to_string(program.L) + " ids of the vocabulary");
  expect((int64_t)step.rows.size() == program.nRows && within(step.rows, program.L), std::to_string(program.nRows) + " rows that are tokens");
  expect(ascends(starts, program.nSequences, program.L), "where each of " + std::to_string(program.nSequences) + " sequences starts");
  for (const Sequence& s : step.sequences)
    expect(!program.hasAttention || s.seen + s.to - s.from <= (int64_t)s.pages.size() * program.states.pageTokens, "pages for every token");
  const size_t nTemperatures = step.temperatures.size(), nRows = step.rows.size();
  expect(nTemperatures == nRows || (nTemperatures == 0 && !program.hasTop), "a temperature for each row");
  for (const float t : step.temperatures) expect(t > 0, "temperatures above 0");
  expect(step.askedIds.empty() || program.hasTop, "ids to ask for only with top");
  expect(within(step.askedIds, program.nLogits), "ids that have a logit");
  expect(step.askedStarts.empty() ? step.askedIds.empty() : ascends(step.askedStarts, nRows, (int64_t)step.askedIds.size()), "where the asked ids of each row start");
}

void checkBuffers(const Program& program, const Step& step) {
  const auto fits = [&](const std::vector<HostBuffer>& found, const std::vector<int64_t>& bytes) {
    if (found.size() != bytes.size()) return false;
    for (size_t i = 0; i < bytes.size(); i++)
      if ((int64_t)found[i].bytes != (bytes[i] == Program::askedBytes ? (int64_t)step.askedIds.size() * 4 : bytes[i])) return false;
    return true;
  };
  expect(fits(step.inputs, program.inputBytes) && fits(step.outputs, program.outputBytes), "tensors as recorded");
}

Sequence addressOf(const States& states, const std::vector<int32_t>& words, size_t& at) {
  const size_t left = words.size() - at;
  if (left < 3 || words[at + 1] < 0 || words[at + 2] < 0 || (size_t)words[at + 2] > left - 3)
    fail("SHAPE", "states: expected slot, seen, nPages and that many pages, found " + std::to_string(left) + " words");
  Sequence s;
  s.slot = placeOf(states.slots, words[at], "slot");
  s.seen = words[at + 1];
  const int32_t nPages = words[at + 2];
  at += 3;
  for (int32_t i = 0; i < nPages; i++) s.pages.push_back(placeOf(states.pages, words[at++], "page"));
  return s;
}

std::vector<Copy> copiesOf(const States& states, const std::vector<int32_t>& slots, const std::vector<int32_t>& pages) {
  std::vector<Copy> all;
  const auto add = [&](const std::vector<int32_t>& pairs, const std::vector<uint8_t*>& places, const char* what, int64_t bytes) {
    if (pairs.size() % 2 != 0) fail("SHAPE", std::string("states: expected pairs of ") + what + "s to copy, found " + std::to_string(pairs.size()) + " numbers");
    for (size_t i = 0; i < pairs.size(); i += 2) all.push_back({placeOf(places, pairs[i + 1], what), placeOf(places, pairs[i], what), bytes});
  };
  add(slots, states.slots, "slot", states.layout.slotBytes), add(pages, states.pages, "page", states.layout.pageBytes);
  return all;
}

PartMove partMove(const States& states, const std::vector<int32_t>& address, int64_t layer, int64_t part, const HostBuffer& bytes, bool write) {
  const StateLayout& layout = states.layout;
  const int64_t nLayers = (int64_t)layout.layers.size();
  if (layer < 0 || layer >= nLayers || part < 0 || part > 1)
    fail("SHAPE", "movePart: expected part 0 or 1 of a layer in [0, " + std::to_string(nLayers) + "), found " + std::to_string(part) + " of " + std::to_string(layer));
  size_t at = 0;
  const PartMove move{&layout, addressOf(states, address, at), (int32_t)layer, (int32_t)part, bytes.data, write};
  const int64_t room = (int64_t)move.sequence.pages.size() * layout.pageTokens;
  if (!move.spec().mamba && move.sequence.seen > room)
    fail("SHAPE", "movePart: expected pages for " + std::to_string(move.sequence.seen) + " tokens, found room for " + std::to_string(room));
  if ((int64_t)bytes.bytes != move.denseBytes())
    fail("SHAPE", "movePart: layer " + std::to_string(layer) + ", part " + std::to_string(part) + ": expected " + std::to_string(move.denseBytes()) + " bytes, found " +
                      std::to_string(bytes.bytes));
  return move;
}

void expectOwn(const Weight& weight) {
  if (weight.pages->mapped()) fail("BACKEND", weight.name + ": expected a weight of the executor's own to write to, found one of a mapped file");
}

Stored expectRows(const Weight& weight, int64_t from, int64_t to, int64_t stored, int64_t bytes) {
  expectOwn(weight);
  if (stored < 0 || stored >= nStored) fail("DTYPE", weight.name + ": expected a stored dtype, found number " + std::to_string(stored));
  const Matrix& m = weight.matrix;
  const int64_t all = m.isVector ? 1 : m.stack * m.rows;
  if (m.columns % storedFormats[stored].values != 0 || from < 0 || from > to || to > all ||
      (bytes != anyBytes && bytes != (to - from) * storedBytes((Stored)stored, m.columns)))
    fail("SHAPE", weight.name + ": expected rows of whole blocks, found " + std::to_string(bytes) + " bytes for rows " + std::to_string(from) + " … " + std::to_string(to));
  return (Stored)stored;
}

void expectRange(const Weight& weight, int64_t from, int64_t bytes) {
  if (from < 0 || from > weight.bytes || bytes < 0 || bytes > weight.bytes - from)
    fail("SHAPE", weight.name + ": expected a range within its " + std::to_string(weight.bytes) + " bytes, found " + std::to_string(bytes) + " at " + std::to_string(from));
}

int64_t expectBlocks(int64_t values, int64_t columns, int64_t stored, int64_t importance, int64_t blocks) {
  const bool known = stored >= 0 && stored < nStored && columns > 0 && columns % storedFormats[stored].values == 0;
  const int64_t rows = known ? values / columns : 0;
  if (!known || values != rows * columns || blocks != rows * storedBytes((Stored)stored, columns) || (importance > 0 && importance != columns))
    fail("SHAPE", "encodeBlocks: expected rows of whole blocks, found " + std::to_string(values) + " values in rows of " + std::to_string(columns));
  return rows;
}

}  // namespace jamba

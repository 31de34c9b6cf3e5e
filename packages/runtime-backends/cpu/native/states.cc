#include "states.h"

#include <cstring>

namespace jamba {

StateLayout layoutOf(const int32_t* words, int64_t nWords) {
  StateLayout layout;
  layout.pageTokens = words[0], layout.kvDtype = (Dtype)words[1];
  for (int64_t i = 2; i + 3 < nWords; i += 4) {
    LayerSpec layer;
    layer.mamba = words[i] != 0;
    if (layer.mamba) {
      layer.ssm = {words[i + 1], words[i + 2], words[i + 3]};
      layer.offset = layout.slotBytes;
      layout.slotBytes += 4 * (StateLayout::convFloats(layer.ssm) + StateLayout::hFloats(layer.ssm));
    } else {
      layer.kv = {words[i + 1], words[i + 2]};
      layer.offset = layout.pageBytes;
      layout.pageBytes += layout.kvBytes() * layer.kv.nKvHeads * (layout.kElements(layer.kv) + layout.vElements(layer.kv));
    }
    layout.layers.push_back(layer);
  }
  return layout;
}

void States::reserve(int64_t nSlots, int64_t nPages) {
  struct Growth {
    std::vector<uint8_t*>& places;
    std::vector<Chunk>& chunks;
    int64_t missing, stride;
    std::shared_ptr<Pages> memory;
  };
  const auto growth = [](std::vector<uint8_t*>& places, std::vector<Chunk>& chunks, int64_t count, int64_t each) {
    Growth g{places, chunks, count - (int64_t)places.size(), StateLayout::heldBytes(each), nullptr};
    if (g.missing <= 0) return g;
    if (g.missing > INT64_MAX / g.stride) fail("OUT_OF_MEMORY", "reserve: expected room for " + std::to_string(count) + " slots or pages, found none");
    g.memory = std::make_shared<Pages>(g.missing * g.stride);
    return g;
  };
  // All that can fail comes first, so that a failure changes nothing.
  Growth all[] = {growth(slots, slotChunks, nSlots, layout.slotBytes), growth(pages, pageChunks, nPages, layout.pageBytes)};
  for (Growth& g : all) {
    if (!g.memory) continue;
    g.places.reserve(g.places.size() + g.missing), g.chunks.reserve(g.chunks.size() + 1);
    outlives(g.places.data()), outlives(g.chunks.data());
  }
  for (Growth& g : all) {
    if (!g.memory) continue;
    for (int64_t i = 0; i < g.missing; i++) g.places.push_back(g.memory->data() + i * g.stride);
    bytes += g.missing * g.stride;
    g.chunks.push_back({std::move(g.memory), g.missing, g.missing * g.stride});
  }
}

std::vector<std::shared_ptr<Pages>> States::shrink(int64_t nSlots, int64_t nPages) {
  std::vector<std::shared_ptr<Pages>> taken;
  const auto take = [&](std::vector<uint8_t*>& places, std::vector<Chunk>& chunks, int64_t count) {
    while (!chunks.empty() && (int64_t)places.size() - chunks.back().count >= count) {
      places.resize(places.size() - chunks.back().count);
      bytes -= chunks.back().bytes;
      taken.push_back(std::move(chunks.back().memory));
      chunks.pop_back();
    }
  };
  take(slots, slotChunks, nSlots);
  take(pages, pageChunks, nPages);
  return taken;
}

int64_t PartMove::denseBytes() const {
  const auto [dInner, dState, dConv] = spec().ssm;
  if (spec().mamba) return (int64_t)dInner * (part == 0 ? dConv - 1 : dState) * 4;
  return (int64_t)spec().kv.nKvHeads * sequence.seen * spec().kv.headDim * layout->kvBytes();
}

int64_t PartMove::tasks() const {
  if (spec().mamba) return panelsOf(spec().ssm.dInner);
  return spec().kv.nKvHeads * ((sequence.seen + layout->pageTokens - 1) / layout->pageTokens);
}

void PartMove::run(int64_t task) const {
  if (spec().mamba) return moveMamba(task);
  const int64_t nKvHeads = spec().kv.nKvHeads, head = task % nKvHeads, page = task / nKvHeads;
  return layout->kvBytes() == 4 ? moveAttention<uint32_t>(head, page) : moveAttention<uint16_t>(head, page);
}

namespace {

/** rows × columns numbers, each row `stride` apart on its side. The held side counts columns first where `transposed`. */
template <class Element>
void moveBlock(Element* dense, Element* held, int64_t rows, int64_t columns, int64_t denseStride, int64_t heldStride, bool transposed, bool write) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) {
      Element &a = dense[r * denseStride + c], &b = held[transposed ? c * heldStride + r : r * heldStride + c];
      if (write)
        b = a;
      else
        a = b;
    }
}

}  // namespace

void PartMove::moveMamba(int64_t panel) const {
  const MambaShape& s = spec().ssm;
  const int64_t d = panel * panelRows, n = s.dInner - d < panelRows ? s.dInner - d : panelRows, columns = part == 0 ? s.dConv - 1 : s.dState;
  uint32_t* to = (uint32_t*)dense + d * columns;
  // A state that has seen nothing holds whatever was there before.
  if (sequence.seen == 0 && !write) {
    for (int64_t i = 0; i < n * columns; i++) to[i] = 0;
    return;
  }
  uint32_t* conv = (uint32_t*)(sequence.slot + spec().offset);
  uint32_t* held = part == 0 ? conv + d : conv + StateLayout::convFloats(s) + d * s.dState;
  moveBlock(to, held, n, columns, columns, part == 0 ? roundUp(s.dInner, 16) : panelRows, true, write);
}

template <class Element>
void PartMove::moveAttention(int64_t head, int64_t page) const {
  const AttentionShape& s = spec().kv;
  const int64_t t = page * layout->pageTokens, n = sequence.seen - t < layout->pageTokens ? sequence.seen - t : layout->pageTokens;
  Element* k = (Element*)(sequence.pages[page] + spec().offset) + head * (layout->kElements(s) + layout->vElements(s));
  Element* to = (Element*)dense + (head * sequence.seen + t) * s.headDim;
  if (part == 0)
    moveBlock(to, k, n, s.headDim, s.headDim, layout->pageStride(), true, write);
  else
    moveBlock(to, k + layout->kElements(s), n, s.headDim, s.headDim, roundUp(s.headDim, 16), false, write);
}

}  // namespace jamba

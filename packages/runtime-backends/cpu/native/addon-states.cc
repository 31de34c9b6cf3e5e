// States: made, sized, copied and moved part by part.
#include "addon.h"

namespace jamba {

namespace {
uint8_t* placeOf(const std::vector<uint8_t*>& places, int32_t index, const char* what) {
  if (index < 0 || index >= (int64_t)places.size())
    throw Failure("SHAPE", std::string("states: expected a ") + what + " in [0, " + std::to_string(places.size()) + "), found " + std::to_string(index));
  return places[index];
}
}  // namespace

Sequence NativeExecutor::address(const States& states, const std::vector<int32_t>& words, size_t& at) {
  const size_t left = words.size() - at;
  if (left < 3 || words[at + 1] < 0 || words[at + 2] < 0 || (size_t)words[at + 2] > left - 3)
    throw Failure("SHAPE", "states: expected slot, seen, nPages and that many pages, found " + std::to_string(left) + " words");
  Sequence s;
  s.slot = placeOf(states.slots, words[at], "slot");
  s.seen = words[at + 1];
  const int32_t nPages = words[at + 2];
  at += 3;
  for (int32_t i = 0; i < nPages; i++) s.pages.push_back(placeOf(states.pages, words[at++], "page"));
  return s;
}

std::vector<Copy> NativeExecutor::copies(const States& states, const std::vector<int32_t>& slots, const std::vector<int32_t>& pages) {
  std::vector<Copy> all;
  const auto add = [&](const std::vector<int32_t>& pairs, const std::vector<uint8_t*>& places, const char* what, int64_t bytes) {
    if (pairs.size() % 2 != 0) throw Failure("SHAPE", std::string("states: expected pairs of ") + what + "s to copy, found " + std::to_string(pairs.size()) + " numbers");
    for (size_t i = 0; i < pairs.size(); i += 2) all.push_back({placeOf(places, pairs[i + 1], what), placeOf(places, pairs[i], what), bytes});
  };
  add(slots, states.slots, "slot", states.layout.slotBytes), add(pages, states.pages, "page", states.layout.pageBytes);
  return all;
}

/** (layout) */
Napi::Value NativeExecutor::createStates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto words = info[0].As<Napi::Int32Array>();
    auto states = std::make_shared<States>();
    states->layout = layoutOf(words.Data(), (int64_t)words.ElementLength());
    return wrap(info.Env(), states);
  });
}

/** (layout) -> [bytes of a slot, of a page], as they are held */
Napi::Value NativeExecutor::stateSizes(const Napi::CallbackInfo& info) {
  const auto words = info[0].As<Napi::Int32Array>();
  const StateLayout layout = layoutOf(words.Data(), (int64_t)words.ElementLength());
  return numbersOf(info.Env(), {(double)StateLayout::heldBytes(layout.slotBytes), (double)StateLayout::heldBytes(layout.pageBytes)});
}

/** (states, nSlots, nPages) -> bytes */
Napi::Value NativeExecutor::reserveStates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    States& states = *unwrap<StatesRef>(info[0]);
    states.reserve(integer(info[1]), integer(info[2]));
    return Napi::Number::New(info.Env(), (double)states.bytes);
  });
}

/** (states, nSlots, nPages) -> [bytes, nSlots, nPages] that are left. Steps that were queued before still have what goes. */
Napi::Value NativeExecutor::shrinkStates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    States& states = *unwrap<StatesRef>(info[0]);
    executor_->queue({[taken = states.shrink(integer(info[1]), integer(info[2]))] {}, nullptr});
    const int64_t left[] = {states.bytes, (int64_t)states.slots.size(), (int64_t)states.pages.size()};
    Napi::Array result = Napi::Array::New(info.Env(), 3);
    for (uint32_t i = 0; i < 3; i++) result.Set(i, Napi::Number::New(info.Env(), (double)left[i]));
    return result;
  });
}

/** (states, [from, to …] of slots, the same of pages) -> promise */
Napi::Value NativeExecutor::copyStates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    StatesRef states = unwrap<StatesRef>(info[0]);
    return queue(info.Env(), {}, [states, all = copies(*states, integersOf(info[1]), integersOf(info[2])), this] { executor_->copy(all); });
  });
}

/** (states, address, layer, part, bytes as PartMove has them, whether to write the state) -> promise */
Napi::Value NativeExecutor::movePart(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    StatesRef states = unwrap<StatesRef>(info[0]);
    const StateLayout& layout = states->layout;
    const int64_t layer = integer(info[2]), part = integer(info[3]), nLayers = (int64_t)layout.layers.size();
    if (layer < 0 || layer >= nLayers || part < 0 || part > 1)
      throw Failure("SHAPE", "movePart: expected part 0 or 1 of a layer in [0, " + std::to_string(nLayers) + "), found " + std::to_string(part) + " of " + std::to_string(layer));
    size_t at = 0;
    const HostBuffer bytes = bufferOf(info[4]);
    const PartMove move{&layout, address(*states, integersOf(info[1]), at), (int32_t)layer, (int32_t)part, bytes.data, info[5].ToBoolean()};
    const int64_t room = (int64_t)move.sequence.pages.size() * layout.pageTokens;
    if (!move.spec().mamba && move.sequence.seen > room)
      throw Failure("SHAPE", "movePart: expected pages for " + std::to_string(move.sequence.seen) + " tokens, found room for " + std::to_string(room));
    if ((int64_t)bytes.bytes != move.denseBytes())
      throw Failure("SHAPE", "movePart: layer " + std::to_string(layer) + ", part " + std::to_string(part) + ": expected " + std::to_string(move.denseBytes()) + " bytes, found " +
                                 std::to_string(bytes.bytes));
    return queue(info.Env(), {info[4]}, [states, move, this] { executor_->movePart(move); });
  });
}

}  // namespace jamba

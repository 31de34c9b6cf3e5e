// States: made, sized, copied and moved part by part.
#include "addon.h"
#include "checks.h"

namespace jamba {

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
    return queue(info.Env(), {}, [states, all = copiesOf(*states, integersOf(info[1]), integersOf(info[2])), this] { executor_->machine.copy(all); });
  });
}

/** (states, address, layer, part, bytes as PartMove has them, whether to write the state) -> promise */
Napi::Value NativeExecutor::movePart(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    StatesRef states = unwrap<StatesRef>(info[0]);
    const PartMove move = partMove(*states, integersOf(info[1]), integer(info[2]), integer(info[3]), bufferOf(info[4]), info[5].ToBoolean());
    return queue(info.Env(), {info[4]}, [states, move, this] { executor_->machine.movePart(move); });
  });
}

}  // namespace jamba

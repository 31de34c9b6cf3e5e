// Programs and their runs.
#include "addon.h"
#include "checks.h"

namespace jamba {

namespace {

/** @throws Failure BACKEND when a file that they are mapped from changed */
void expectUnchanged(const std::vector<WeightRef>& weights) {
  const Pages* last = nullptr;
  for (const WeightRef& weight : weights) {
    // Weights of one file follow each other.
    if (weight->pages.get() == last) continue;
    last = weight->pages.get();
    last->expectUnchanged();
  }
}

}  // namespace

/** (words, weights, states) */
Napi::Value NativeExecutor::createProgram(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto words = info[0].As<Napi::Int32Array>();
    const auto weights = info[1].As<Napi::Array>();
    std::vector<WeightRef> held;
    for (uint32_t i = 0; i < weights.Length(); i++) held.push_back(unwrap<WeightRef>(weights.Get(i)));
    return wrap(info.Env(), std::make_shared<Program>(words.Data(), (int64_t)words.ElementLength(), held, unwrap<StatesRef>(info[2])->layout));
  });
}

/**
 * (program, states, ids, rows, starts, addresses, temperatures, askedStarts, askedIds, [from, to …] of slots, the same of pages,
 * inputs, outputs, token) -> promise. Copies come before the list, also of a step that is cancelled.
 */
Napi::Value NativeExecutor::run(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    ProgramRef program = unwrap<ProgramRef>(info[0]);
    const std::vector<WeightRef> weights = program->hold();
    StatesRef states = unwrap<StatesRef>(info[1]);
    auto job = std::make_shared<Job>();
    Step& step = job->step;
    step.ids = integersOf(info[2]), step.rows = integersOf(info[3]);
    const std::vector<int32_t> starts = integersOf(info[4]), words = integersOf(info[5]);
    size_t at = 0;
    for (size_t i = 0; i + 1 < starts.size(); i++) {
      Sequence s = addressOf(*states, words, at);
      s.from = starts[i], s.to = starts[i + 1];
      step.sequences.push_back(std::move(s));
    }
    const auto temperatures = info[6].As<Napi::Float32Array>();
    step.temperatures.assign(temperatures.Data(), temperatures.Data() + temperatures.ElementLength());
    step.askedStarts = integersOf(info[7]), step.askedIds = integersOf(info[8]);
    const std::vector<Copy> before = copiesOf(*states, integersOf(info[9]), integersOf(info[10]));
    std::vector<Napi::Value> held;
    const auto buffers = [&](int i, std::vector<HostBuffer>& to) {
      const auto array = info[i].As<Napi::Array>();
      for (uint32_t j = 0; j < array.Length(); j++) {
        held.push_back(array.Get(j));
        to.push_back(bufferOf(held.back()));
      }
    };
    buffers(11, step.inputs), buffers(12, step.outputs);
    checkStep(*program, step, starts);
    checkBuffers(*program, step);
    const int64_t token = integer(info[13]);
    jobs_[token] = job;
    const auto work = [this, program, states, weights, job, before, token] {
      executor_->machine.copy(before);
      expectUnchanged(weights);
      executor_->run(*program, job, token);
      // What the step computed of other bytes is nobody's answer.
      expectUnchanged(weights);
    };
    return queue(info.Env(), held, work, nullptr, [this, token] { jobs_.erase(token); });
  });
}

/** (token) */
Napi::Value NativeExecutor::cancel(const Napi::CallbackInfo& info) {
  const auto found = jobs_.find(integer(info[0]));
  if (found != jobs_.end())
    if (auto job = found->second.lock()) job->cancelled = true;
  return info.Env().Undefined();
}

/** (token, which of the values kept, from row, to row, f32 array that takes them) -> promise */
Napi::Value NativeExecutor::readKept(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t token = integer(info[0]), index = integer(info[1]), from = integer(info[2]), to = integer(info[3]);
    const HostBuffer out = bufferOf(info[4]);
    return queue(info.Env(), {info[4]}, [=, this] {
      const HostBuffer kept = executor_->machine.kept(token, index, from, to, (int64_t)out.bytes);
      if (kept.data) executor_->machine.copy({{out.data, kept.data, (int64_t)out.bytes}});
    });
  });
}

/** (token): what it kept is not read any more. */
Napi::Value NativeExecutor::dropKept(const Napi::CallbackInfo& info) {
  executor_->queue({[this, token = integer(info[0])] { executor_->machine.dropKept(token); }, nullptr});
  return info.Env().Undefined();
}

/** (words, weights as described, layout, tokens that each sequence has seen) -> [arena, scratch, local, kept] */
Napi::Value NativeExecutor::roomOf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto words = info[0].As<Napi::Int32Array>(), layout = info[2].As<Napi::Int32Array>();
    const auto described = info[1].As<Napi::Array>();
    static const uint8_t nothing = 0; // plans ask whether there is a weight, never what it holds
    std::vector<WeightRef> weights;
    for (uint32_t i = 0; i < described.Length(); i++) {
      const auto parts = described.Get(i).As<Napi::Array>();
      weights.push_back(describe([&](int part) -> Napi::Value { return parts.Get((uint32_t)part); }));
      weights.back()->matrix.data = &nothing;
    }
    const Program program(words.Data(), (int64_t)words.ElementLength(), weights, layoutOf(layout.Data(), (int64_t)layout.ElementLength()));
    const Room room = executor_->machine.roomOf(program, integer(info[3]));
    return numbersOf(info.Env(), {(double)room.arena, (double)room.scratch, (double)room.local, (double)room.kept});
  });
}

}  // namespace jamba

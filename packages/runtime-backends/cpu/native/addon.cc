// The door to JavaScript. Calls return at once; what takes time is queued for the engine's thread and settles a promise.
#include <napi.h>

#include <cstring>
#include <unordered_map>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "engine.h"

namespace {

using namespace jamba;

using WeightRef = std::shared_ptr<Weight>;
using StatesRef = std::shared_ptr<States>;
using ProgramRef = std::shared_ptr<Program>;

template <class T>
Napi::Value wrap(Napi::Env env, T value) {
  return Napi::External<T>::New(env, new T(std::move(value)), [](Napi::Env, T* held) { delete held; });
}
template <class T>
T& unwrap(const Napi::Value& value) {
  T& held = *value.As<Napi::External<T>>().Data();
  if (!held) throw Failure("DISPOSED", "cpu backend: expected something that is in use, found it disposed");
  return held;
}

Napi::Error toError(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", Napi::String::New(env, failure.code));
  return error;
}

/** Runs what may throw, and throws it on as a JavaScript error with a code. */
template <class Body>
auto guarded(Napi::Env env, const Body& body) {
  try {
    return body();
  } catch (const Failure& failure) {
    throw toError(env, failure);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw toError(env, Failure("OUT_OF_MEMORY", "cpu backend: expected memory, found none left"));
  } catch (const std::exception& other) {
    throw toError(env, Failure("BACKEND", std::string("cpu backend: ") + other.what()));
  }
}

HostBuffer bufferOf(const Napi::Value& value) {
  const auto array = value.As<Napi::TypedArray>();
  return {(uint8_t*)array.ArrayBuffer().Data() + array.ByteOffset(), array.ByteLength()};
}

/** What a promise needs until it settles: nothing it uses may be collected. */
struct Pending {
  Napi::Promise::Deferred deferred;
  std::vector<Napi::Reference<Napi::Value>> held;
  std::function<Napi::Value(Napi::Env)> result;
  std::function<void()> after;
  std::exception_ptr error;
};

class NativeEngine : public Napi::ObjectWrap<NativeEngine> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Engine",
                       {
                           InstanceMethod("giveBackUnused", &NativeEngine::giveBackUnused),
                           InstanceMethod("createWeight", &NativeEngine::createWeight),
                           InstanceMethod("mapWeight", &NativeEngine::mapWeight),
                           InstanceMethod("packRows", &NativeEngine::packRows),
                           InstanceMethod("packFile", &NativeEngine::packFile),
                           InstanceMethod("encodeBlocks", &NativeEngine::encodeBlocks),
                           InstanceMethod("readPacked", &NativeEngine::readPacked),
                           InstanceMethod("createStates", &NativeEngine::createStates),
                           InstanceMethod("reserveStates", &NativeEngine::reserveStates),
                           InstanceMethod("shrinkStates", &NativeEngine::shrinkStates),
                           InstanceMethod("release", &NativeEngine::release),
                           InstanceMethod("createProgram", &NativeEngine::createProgram),
                           InstanceMethod("run", &NativeEngine::run),
                           InstanceMethod("cancel", &NativeEngine::cancel),
                           InstanceMethod("copyStates", &NativeEngine::copyStates),
                           InstanceMethod("moveState", &NativeEngine::moveState),
                           InstanceMethod("arenaBytes", &NativeEngine::arenaBytes),
                           InstanceMethod("roomOf", &NativeEngine::roomOf),
                           InstanceMethod("profile", &NativeEngine::profile),
                           InstanceMethod("measureLimits", &NativeEngine::measureLimits),
                           InstanceMethod("interrupt", &NativeEngine::interrupt),
                           InstanceMethod("stop", &NativeEngine::stop),
                       });
  }

  /** (level, threads) */
  explicit NativeEngine(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    const std::string level = info[0].As<Napi::String>();
    const Kernels* const* kernels = usableKernels();
    while (*kernels && level != (*kernels)->name) kernels++;
    if (!*kernels) throw toError(info.Env(), Failure("OPTION", "level: expected one that this machine runs, found " + level));
    engine_ = guarded(info.Env(), [&] { return std::make_unique<Engine>(**kernels, info[1].As<Napi::Number>().Int32Value()); });
    settle_ = Napi::ThreadSafeFunction::New(
        info.Env(), Napi::Function::New(info.Env(), [](const Napi::CallbackInfo&) {}), "jamba", 0, 1,
        [](Napi::Env, std::shared_ptr<bool>* closed) {
          **closed = true;
          delete closed;
        },
        new std::shared_ptr<bool>(settleClosed_));
    settle_.Unref(info.Env());
    // Runs before the function above is torn down, since hooks run last in, first out.
    napi_add_env_cleanup_hook(info.Env(), stopHook, this);
  }

  ~NativeEngine() override {
    napi_remove_env_cleanup_hook(Env(), stopHook, this);
    engine_->stop();
    // When the program ends, node closes it before the objects that hold it.
    if (!*settleClosed_) settle_.Release();
  }

 private:
  static void stopHook(void* self) { ((NativeEngine*)self)->engine_->stop(); }

  /** Queues `work` for the engine's thread; `held` stays alive until it is done. `after` runs here before the promise settles, whichever way. */
  Napi::Value queue(Napi::Env env, std::vector<Napi::Value> held, std::function<void()> work, std::function<Napi::Value(Napi::Env)> result = nullptr,
                    std::function<void()> after = nullptr) {
    auto* pending = new Pending{Napi::Promise::Deferred::New(env), {}, std::move(result), std::move(after), nullptr};
    for (const Napi::Value& value : held) {
      Napi::Object holder = Napi::Object::New(env);
      holder.Set("held", value);
      pending->held.push_back(Napi::Reference<Napi::Value>::New(holder, 1));
    }
    const Napi::Value promise = pending->deferred.Promise();
    if (waiting_++ == 0) settle_.Ref(env);
    engine_->queue({std::move(work), [this, pending](std::exception_ptr error) {
                      pending->error = error;
                      const napi_status status = settle_.BlockingCall(pending, [this](Napi::Env env, Napi::Function, Pending* pending) { finish(env, pending); });
                      // The program ends: nobody waits any more, and references can't be dropped from this thread.
                      (void)status;
                    }});
    return promise;
  }

  void finish(Napi::Env env, Pending* pending) {
    try {
      if (--waiting_ == 0) settle_.Unref(env);
      Napi::HandleScope scope(env);
      if (pending->after) pending->after();
      settle(env, *pending);
    } catch (const Napi::Error&) {
      // Its worker is being ended: no call gets through to JavaScript any more, and nobody waits.
    }
    delete pending;
  }

  static void settle(Napi::Env env, Pending& pending) {
    try {
      if (pending.error) std::rethrow_exception(pending.error);
      pending.deferred.Resolve(pending.result ? pending.result(env) : env.Undefined());
    } catch (const Failure& failure) {
      pending.deferred.Reject(toError(env, failure).Value());
    } catch (const std::bad_alloc&) {
      pending.deferred.Reject(toError(env, Failure("OUT_OF_MEMORY", "cpu backend: expected memory, found none left")).Value());
    } catch (const Napi::Error&) {
      throw;
    } catch (const std::exception& other) {
      pending.deferred.Reject(toError(env, Failure("BACKEND", std::string("cpu backend: ") + other.what())).Value());
    }
  }

  static int64_t integer(const Napi::Value& value) { return value.As<Napi::Number>().Int64Value(); }

  /** `part` gives name, dtype, isVector, stack, rows, columns. */
  static WeightRef describe(const std::function<Napi::Value(int)>& part) {
    auto weight = std::make_shared<Weight>();
    weight->name = part(0).As<Napi::String>();
    Matrix& m = weight->matrix;
    m.dtype = (Dtype)integer(part(1)), m.isVector = part(2).ToBoolean();
    m.stack = integer(part(3)), m.rows = integer(part(4)), m.columns = integer(part(5));
    weight->bytes = m.bytes();
    return weight;
  }

  /**
   * Makes JavaScript and the C library give their garbage back to the system. V8 collects all, and makes the room for new objects
   * small again, when it hears of more memory outside its heap than half of what the heap may have.
   */
  Napi::Value giveBackUnused(const Napi::CallbackInfo& info) {
    constexpr int64_t outside = int64_t{1} << 34;
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), outside);
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -outside);
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return info.Env().Undefined();
  }

  Napi::Value createWeight(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      WeightRef weight = describe([&](int i) { return info[i]; });
      weight->pages = std::make_shared<Pages>(weight->bytes > 0 ? weight->bytes : 64);
      weight->matrix.data = weight->pages->data();
      return wrap(info.Env(), weight);
    });
  }

  /** (path, offset, name, dtype, isVector, stack, rows, columns) */
  Napi::Value mapWeight(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const std::string path = info[0].As<Napi::String>();
      const int64_t offset = integer(info[1]);
      WeightRef weight = describe([&](int i) { return info[i + 2]; });
      std::erase_if(files_, [](const auto& one) { return one.second.expired(); });
      std::weak_ptr<Pages>& known = files_[fileIdentity(path)];
      std::shared_ptr<Pages> file = known.lock();
      if (!file) known = file = Pages::ofFile(path);
      if (offset < 0 || offset % 64 != 0 || weight->bytes > file->bytes() || offset > file->bytes() - weight->bytes)
        throw Failure("LOAD", weight->name + ": expected " + std::to_string(weight->bytes) + " bytes at a multiple of 64, found offset " + std::to_string(offset) +
                                  " in the " + std::to_string(file->bytes()) + " bytes of " + path + "; prepare the model again");
      weight->pages = file;
      weight->matrix.data = file->data() + offset;
      return wrap(info.Env(), weight);
    });
  }

  /** (weight, from, to, bytes, dtype of the bytes) -> promise */
  Napi::Value packRows(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      WeightRef weight = unwrap<WeightRef>(info[0]);
      const int64_t from = integer(info[1]), to = integer(info[2]);
      const HostBuffer bytes = bufferOf(info[3]);
      const int64_t number = integer(info[4]);
      if (number < 0 || number >= nStored) throw Failure("DTYPE", weight->name + ": expected a stored dtype, found number " + std::to_string(number));
      const Stored stored = (Stored)number;
      const Matrix& m = weight->matrix;
      const int64_t all = m.isVector ? 1 : m.stack * m.rows;
      if (m.columns % storedFormats[number].values != 0 || from < 0 || from > to || to > all || (int64_t)bytes.bytes != (to - from) * storedBytes(stored, m.columns))
        throw Failure("SHAPE", weight->name + ": rows " + std::to_string(from) + " … " + std::to_string(to) + ": found " + std::to_string(bytes.bytes) + " bytes");
      return queue(info.Env(), {info[3]}, [=, this] { engine_->pack(*weight, from, to, bytes.data, stored); });
    });
  }

  /** (weight, from, to, path, offset, stored dtype) -> promise */
  Napi::Value packFile(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      WeightRef weight = unwrap<WeightRef>(info[0]);
      const int64_t from = integer(info[1]), to = integer(info[2]), offset = integer(info[4]), number = integer(info[5]);
      const std::string path = info[3].ToString();
      const Matrix& m = weight->matrix;
      if (number < 0 || number >= nStored || m.columns % storedFormats[number].values != 0 || from < 0 || from > to || to > (m.isVector ? 1 : m.stack * m.rows) || offset < 0)
        throw Failure("SHAPE", weight->name + ": expected rows of whole blocks in " + path + ", found " + std::to_string(from) + " … " + std::to_string(to) + " at " + std::to_string(offset));
      return queue(info.Env(), {}, [=, this] { engine_->packFile(*weight, from, to, path, offset, (Stored)number); });
    });
  }

  /** (values, columns, dtype of the blocks, importance or nothing, blocks) -> promise */
  Napi::Value encodeBlocks(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const HostBuffer values = bufferOf(info[0]), importance = info[3].IsTypedArray() ? bufferOf(info[3]) : HostBuffer{}, blocks = bufferOf(info[4]);
      const int64_t columns = integer(info[1]), number = integer(info[2]);
      const bool known = number >= 0 && number < nStored && columns > 0 && columns % storedFormats[number].values == 0;
      const int64_t rows = known ? (int64_t)values.bytes / (4 * columns) : 0;
      if (!known || (int64_t)values.bytes != rows * columns * 4 || (int64_t)blocks.bytes != rows * storedBytes((Stored)number, columns) ||
          (importance.data && (int64_t)importance.bytes != columns * 4))
        throw Failure("SHAPE", "encodeBlocks: expected rows of whole blocks, found " + std::to_string(values.bytes / 4) + " values in rows of " + std::to_string(columns));
      return queue(info.Env(), {info[0], info[3], info[4]},
                   [=, this] { engine_->encode((const float*)values.data, rows, columns, (Stored)number, (const float*)importance.data, blocks.data); });
    });
  }

  /** (weight, from, to) -> Uint8Array */
  Napi::Value readPacked(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const Weight& weight = *unwrap<WeightRef>(info[0]);
      const int64_t from = integer(info[1]), to = integer(info[2]);
      if (from < 0 || from > to || to > weight.bytes) throw Failure("SHAPE", weight.name + ": expected a range within its " + std::to_string(weight.bytes) + " bytes");
      auto copy = Napi::Uint8Array::New(info.Env(), to - from);
      memcpy(copy.Data(), weight.matrix.data + from, to - from);
      return copy;
    });
  }

  /** [pageTokens, kvDtype, then per layer: 1, dInner, dState, dConv | 0, nKvHeads, headDim, 0] */
  static StateLayout layoutOf(const Napi::Int32Array& words) {
    StateLayout layout;
    layout.pageTokens = words[0], layout.kvDtype = (Dtype)(int32_t)words[1];
    for (size_t i = 2; i + 3 < words.ElementLength(); i += 4) {
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

  /** (layout) */
  Napi::Value createStates(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      auto states = std::make_shared<States>();
      states->layout = layoutOf(info[0].As<Napi::Int32Array>());
      return wrap(info.Env(), states);
    });
  }

  /** (states, nSlots, nPages) -> bytes */
  Napi::Value reserveStates(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      States& states = *unwrap<StatesRef>(info[0]);
      states.reserve(integer(info[1]), integer(info[2]));
      return Napi::Number::New(info.Env(), (double)states.bytes);
    });
  }

  /** (states, nSlots, nPages) -> [bytes, nSlots, nPages] that are left. Steps that were queued before still have what goes. */
  Napi::Value shrinkStates(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      States& states = *unwrap<StatesRef>(info[0]);
      engine_->queue({[taken = states.shrink(integer(info[1]), integer(info[2]))] {}, nullptr});
      const int64_t left[] = {states.bytes, (int64_t)states.slots.size(), (int64_t)states.pages.size()};
      Napi::Array result = Napi::Array::New(info.Env(), 3);
      for (uint32_t i = 0; i < 3; i++) result.Set(i, Napi::Number::New(info.Env(), (double)left[i]));
      return result;
    });
  }

  /** (weight or states) Steps that were queued before still have them. */
  Napi::Value release(const Napi::CallbackInfo& info) {
    // Giving gigabytes back takes the system a while: the last hold ends on the engine's thread, whether it still works or not.
    std::shared_ptr<void> held;
    held.swap(*info[0].As<Napi::External<std::shared_ptr<void>>>().Data());
    engine_->queue({[held = std::move(held)] {}, nullptr});
    return info.Env().Undefined();
  }

  /** (words, weights, states) */
  Napi::Value createProgram(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const auto words = info[0].As<Napi::Int32Array>();
      const auto weights = info[1].As<Napi::Array>();
      std::vector<WeightRef> held;
      for (uint32_t i = 0; i < weights.Length(); i++) held.push_back(unwrap<WeightRef>(weights.Get(i)));
      return wrap(info.Env(), std::make_shared<Program>(words.Data(), (int64_t)words.ElementLength(), held, unwrap<StatesRef>(info[2])->layout));
    });
  }

  /** Of [slot, seen, nPages, pages …] from `at` on, which moves behind it. */
  static Sequence address(const States& states, const Napi::Int32Array& words, size_t& at) {
    Sequence s;
    s.slot = states.slots.at(words[at]);
    s.seen = words[at + 1];
    const int32_t nPages = words[at + 2];
    at += 3;
    for (int32_t i = 0; i < nPages; i++) s.pages.push_back(states.pages.at(words[at++]));
    return s;
  }

  /** (program, states, ids, rows, starts, addresses, inputs, outputs, token) -> promise */
  Napi::Value run(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      ProgramRef program = unwrap<ProgramRef>(info[0]);
      const std::vector<WeightRef> weights = program->hold();
      StatesRef states = unwrap<StatesRef>(info[1]);
      auto job = std::make_shared<Job>();
      Step& step = job->step;
      const auto integers = [&](int i) {
        const auto array = info[i].As<Napi::Int32Array>();
        return std::vector<int32_t>(array.Data(), array.Data() + array.ElementLength());
      };
      step.ids = integers(2), step.rows = integers(3);
      const std::vector<int32_t> starts = integers(4);
      const auto words = info[5].As<Napi::Int32Array>();
      size_t at = 0;
      for (size_t i = 0; i + 1 < starts.size(); i++) {
        Sequence s = address(*states, words, at);
        s.from = starts[i], s.to = starts[i + 1];
        step.sequences.push_back(std::move(s));
      }
      std::vector<Napi::Value> held;
      const auto buffers = [&](int i, std::vector<HostBuffer>& to) {
        const auto array = info[i].As<Napi::Array>();
        for (uint32_t j = 0; j < array.Length(); j++) {
          held.push_back(array.Get(j));
          to.push_back(bufferOf(held.back()));
        }
      };
      buffers(6, step.inputs), buffers(7, step.outputs);
      bool fits = (int32_t)step.ids.size() == program->L && (int32_t)step.rows.size() == program->nRows && (int32_t)step.sequences.size() == program->nSequences && step.inputs.size() == program->inputBytes.size() &&
                  step.outputs.size() == program->outputBytes.size();
      for (size_t i = 0; fits && i < step.inputs.size(); i++) fits = (int64_t)step.inputs[i].bytes == program->inputBytes[i];
      for (size_t i = 0; fits && i < step.outputs.size(); i++) fits = (int64_t)step.outputs[i].bytes == program->outputBytes[i];
      if (!fits) throw Failure("SHAPE", "run: expected ids, rows, sequences and tensors as recorded, found others");
      const int64_t token = integer(info[8]);
      jobs_[token] = job;
      return queue(
          info.Env(), held, [this, program, states, weights, job] { engine_->run(program, job); }, nullptr, [this, token] { jobs_.erase(token); });
    });
  }

  /** (token) */
  Napi::Value cancel(const Napi::CallbackInfo& info) {
    const auto found = jobs_.find(integer(info[0]));
    if (found != jobs_.end())
      if (auto job = found->second.lock()) job->cancelled = true;
    return info.Env().Undefined();
  }

  /** (states, [from, to …] of slots, the same of pages) -> promise */
  Napi::Value copyStates(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      StatesRef states = unwrap<StatesRef>(info[0]);
      std::vector<std::pair<uint8_t*, uint8_t*>> slots, pages;
      const auto pairs = [&](int i, const std::vector<uint8_t*>& places, std::vector<std::pair<uint8_t*, uint8_t*>>& to) {
        const auto words = info[i].As<Napi::Int32Array>();
        for (size_t j = 0; j + 1 < words.ElementLength(); j += 2) to.push_back({places.at(words[j]), places.at(words[j + 1])});
      };
      pairs(1, states->slots, slots), pairs(2, states->pages, pages);
      return queue(info.Env(), {}, [=] {
        for (const auto& [from, to] : slots) memmove(to, from, states->layout.slotBytes);
        for (const auto& [from, to] : pages) memmove(to, from, states->layout.pageBytes);
      });
    });
  }

  /** (states, address, two f32 arrays per layer: conv, h | k, v; whether to write the state) -> promise */
  Napi::Value moveState(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      StatesRef states = unwrap<StatesRef>(info[0]);
      size_t at = 0;
      const Sequence s = address(*states, info[1].As<Napi::Int32Array>(), at);
      const auto arrays = info[2].As<Napi::Array>();
      std::vector<HostBuffer> parts;
      std::vector<Napi::Value> held;
      for (uint32_t i = 0; i < arrays.Length(); i++) {
        held.push_back(arrays.Get(i));
        parts.push_back(bufferOf(held.back()));
      }
      const bool write = info[3].ToBoolean();
      return queue(info.Env(), held, [=, this] { engine_->moveState(*states, s, parts, write); });
    });
  }

  /** (words, weights as described, layout, tokens that each sequence has seen) -> [arena, scratch, local] */
  Napi::Value roomOf(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const auto words = info[0].As<Napi::Int32Array>();
      const auto described = info[1].As<Napi::Array>();
      static const uint8_t nothing = 0; // plans ask whether there is a weight, never what it holds
      std::vector<WeightRef> weights;
      for (uint32_t i = 0; i < described.Length(); i++) {
        const auto parts = described.Get(i).As<Napi::Array>();
        weights.push_back(describe([&](int part) -> Napi::Value { return parts.Get((uint32_t)part); }));
        weights.back()->matrix.data = &nothing;
      }
      const Program program(words.Data(), (int64_t)words.ElementLength(), weights, layoutOf(info[2].As<Napi::Int32Array>()));
      Step step;
      for (int64_t i = 0; i < program.nSequences; i++) {
        Sequence s;
        s.seen = integer(info[3]);
        s.from = (int32_t)(i * program.L / program.nSequences), s.to = (int32_t)((i + 1) * program.L / program.nSequences);
        step.sequences.push_back(s);
      }
      const Room room = engine_->plan(program, step);
      auto bytes = Napi::Float64Array::New(info.Env(), 3);
      bytes[0] = (double)room.arena, bytes[1] = (double)room.scratch, bytes[2] = (double)room.local;
      return bytes;
    });
  }

  Napi::Value arenaBytes(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), (double)engine_->arenaBytes); }

  /** -> promise of [op, calls, seconds …] since the last time */
  Napi::Value profile(const Napi::CallbackInfo& info) {
    auto times = std::make_shared<std::vector<OpTime>>();
    return queue(
        info.Env(), {},
        [=, this] {
          times->assign(engine_->times, engine_->times + nOps);
          for (OpTime& time : engine_->times) time = {};
        },
        [times](Napi::Env env) {
          auto all = Napi::Float64Array::New(env, 2 * nOps);
          for (int i = 0; i < nOps; i++) all[2 * i] = (double)(*times)[i].calls, all[2 * i + 1] = (*times)[i].seconds;
          return all;
        });
  }

  /** -> promise of [q4, q8, bf16, f32 operations a second, bytes read a second] */
  Napi::Value measureLimits(const Napi::CallbackInfo& info) {
    auto found = std::make_shared<std::array<double, 5>>();
    return queue(
        info.Env(), {}, [=, this] { engine_->measureLimits(*found); },
        [found](Napi::Env env) {
          auto all = Napi::Float64Array::New(env, found->size());
          for (size_t i = 0; i < found->size(); i++) all[i] = (*found)[i];
          return all;
        });
  }

  /** -> promise that rejects, as whatever is queued and not done, with DISPOSED once the running step has ended. */
  Napi::Value interrupt(const Napi::CallbackInfo& info) {
    engine_->interrupt();
    return queue(info.Env(), {}, [] {});
  }

  /** Ends the threads. */
  Napi::Value stop(const Napi::CallbackInfo& info) {
    engine_->stop();
    return info.Env().Undefined();
  }

  std::unique_ptr<Engine> engine_;
  Napi::ThreadSafeFunction settle_;
  std::shared_ptr<bool> settleClosed_ = std::make_shared<bool>(false);
  int waiting_ = 0;
  std::unordered_map<int64_t, std::weak_ptr<Job>> jobs_;
  std::map<std::string, std::weak_ptr<Pages>> files_;
};

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto levels = Napi::Array::New(env);
  for (const Kernels* const* kernels = usableKernels(); *kernels; kernels++) levels.Set(levels.Length(), (*kernels)->name);
  exports.Set("levels", levels);
  exports.Set("Engine", NativeEngine::define(env));
  return exports;
}

NODE_API_MODULE(jamba, init)

}  // namespace

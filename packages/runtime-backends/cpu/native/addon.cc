// The door to JavaScript. Calls return at once; what takes time is queued for the executor's thread and settles a promise.
#include "addon.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace jamba {

Napi::Function NativeExecutor::define(Napi::Env env) {
  return DefineClass(env, "Executor",
                     {
                         InstanceMethod("weightBytes", &NativeExecutor::weightBytes),
                         InstanceMethod("createWeight", &NativeExecutor::createWeight),
                         InstanceMethod("mapWeight", &NativeExecutor::mapWeight),
                         InstanceMethod("packRows", &NativeExecutor::packRows),
                         InstanceMethod("packFile", &NativeExecutor::packFile),
                         InstanceMethod("writePacked", &NativeExecutor::writePacked),
                         InstanceMethod("readPacked", &NativeExecutor::readPacked),
                         InstanceMethod("encodeBlocks", &NativeExecutor::encodeBlocks),
                         InstanceMethod("createStates", &NativeExecutor::createStates),
                         InstanceMethod("stateSizes", &NativeExecutor::stateSizes),
                         InstanceMethod("reserveStates", &NativeExecutor::reserveStates),
                         InstanceMethod("shrinkStates", &NativeExecutor::shrinkStates),
                         InstanceMethod("copyStates", &NativeExecutor::copyStates),
                         InstanceMethod("movePart", &NativeExecutor::movePart),
                         InstanceMethod("release", &NativeExecutor::release),
                         InstanceMethod("createProgram", &NativeExecutor::createProgram),
                         InstanceMethod("run", &NativeExecutor::run),
                         InstanceMethod("cancel", &NativeExecutor::cancel),
                         InstanceMethod("readKept", &NativeExecutor::readKept),
                         InstanceMethod("dropKept", &NativeExecutor::dropKept),
                         InstanceMethod("roomOf", &NativeExecutor::roomOf),
                         InstanceMethod("giveBackUnused", &NativeExecutor::giveBackUnused),
                         InstanceMethod("arenaBytes", &NativeExecutor::arenaBytes),
                         InstanceMethod("profile", &NativeExecutor::profile),
                         InstanceMethod("measureLimits", &NativeExecutor::measureLimits),
                         InstanceMethod("interrupt", &NativeExecutor::interrupt),
                         InstanceMethod("stop", &NativeExecutor::stop),
                     });
}

NativeExecutor::NativeExecutor(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const std::string level = info[0].As<Napi::String>();
  const Kernels* const* kernels = usableKernels();
  while (*kernels && level != (*kernels)->name) kernels++;
  if (!*kernels) throw toError(info.Env(), Failure("OPTION", "level: expected one that this machine runs, found " + level));
  executor_ = guarded(info.Env(), [&] { return std::make_unique<Executor>(**kernels, info[1].As<Napi::Number>().Int32Value()); });
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

NativeExecutor::~NativeExecutor() {
  napi_remove_env_cleanup_hook(Env(), stopHook, this);
  executor_->stop();
  // When the program ends, node closes it before the objects that hold it.
  if (!*settleClosed_) settle_.Release();
}

void NativeExecutor::stopHook(void* self) { ((NativeExecutor*)self)->executor_->stop(); }

Napi::Value NativeExecutor::queue(Napi::Env env, const std::vector<Napi::Value>& held, std::function<void()> work,
                                  std::function<Napi::Value(Napi::Env)> result, std::function<void()> after) {
  auto* pending = new Pending{Napi::Promise::Deferred::New(env), {}, std::move(result), std::move(after), nullptr};
  for (const Napi::Value& value : held) {
    Napi::Object holder = Napi::Object::New(env);
    holder.Set("held", value);
    pending->held.push_back(Napi::Reference<Napi::Value>::New(holder, 1));
  }
  const Napi::Value promise = pending->deferred.Promise();
  if (waiting_++ == 0) settle_.Ref(env);
  executor_->queue({std::move(work), [this, pending](std::exception_ptr error) {
                    pending->error = error;
                    const napi_status status = settle_.BlockingCall(pending, [this](Napi::Env env, Napi::Function, Pending* pending) { finish(env, pending); });
                    // The program ends: nobody waits any more, and references can't be dropped from this thread.
                    (void)status;
                  }});
  return promise;
}

void NativeExecutor::finish(Napi::Env env, Pending* pending) {
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

void NativeExecutor::settle(Napi::Env env, Pending& pending) {
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

/**
 * Makes JavaScript and the C library give their garbage back to the system. V8 collects all, and makes the room for new objects
 * small again, when it hears of more memory outside its heap than half of what the heap may have.
 */
Napi::Value NativeExecutor::giveBackUnused(const Napi::CallbackInfo& info) {
  constexpr int64_t outside = int64_t{1} << 34;
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), outside);
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -outside);
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return info.Env().Undefined();
}

/** (weight or states) Steps that were queued before still have them. */
Napi::Value NativeExecutor::release(const Napi::CallbackInfo& info) {
  // Giving gigabytes back takes the system a while: the last hold ends on the executor's thread, whether it still works or not.
  std::shared_ptr<void> held;
  held.swap(*info[0].As<Napi::External<std::shared_ptr<void>>>().Data());
  executor_->queue({[held = std::move(held)] {}, nullptr});
  return info.Env().Undefined();
}

Napi::Value NativeExecutor::arenaBytes(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), (double)executor_->machine.arenaBytes); }

/** -> promise of [op, calls, seconds …] since the last time */
Napi::Value NativeExecutor::profile(const Napi::CallbackInfo& info) {
  auto times = std::make_shared<std::vector<OpTime>>();
  return queue(
      info.Env(), {},
      [=, this] {
        times->assign(executor_->machine.times, executor_->machine.times + nOps);
        for (OpTime& time : executor_->machine.times) time = {};
      },
      [times](Napi::Env env) {
        auto all = Napi::Float64Array::New(env, 2 * nOps);
        for (int i = 0; i < nOps; i++) all[2 * i] = (double)(*times)[i].calls, all[2 * i + 1] = (*times)[i].seconds;
        return all;
      });
}

/** -> promise of [q4, q8, bf16, f32 operations a second, bytes read a second] */
Napi::Value NativeExecutor::measureLimits(const Napi::CallbackInfo& info) {
  auto found = std::make_shared<std::array<double, 5>>();
  return queue(
      info.Env(), {}, [=, this] { executor_->machine.measureLimits(*found); },
      [found](Napi::Env env) {
        return numbersOf(env, {found->begin(), found->end()});
      });
}

/** -> promise that rejects, as whatever is queued and not done, with DISPOSED once the running step has ended. */
Napi::Value NativeExecutor::interrupt(const Napi::CallbackInfo& info) {
  executor_->interrupt();
  return queue(info.Env(), {}, [] {});
}

/** Ends the threads. */
Napi::Value NativeExecutor::stop(const Napi::CallbackInfo& info) {
  executor_->stop();
  return info.Env().Undefined();
}

namespace {

template <class Items, class Of>
Napi::Array list(Napi::Env env, const Items& items, const Of& of) {
  auto array = Napi::Array::New(env);
  for (const auto& item : items) array.Set(array.Length(), of(item));
  return array;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto levels = Napi::Array::New(env);
  for (const Kernels* const* kernels = usableKernels(); *kernels; kernels++) levels.Set(levels.Length(), (*kernels)->name);
  exports.Set("levels", levels);
  const auto name = [&](const char* one) { return Napi::String::New(env, one); };
  exports.Set("ops", list(env, opNames, name));
  exports.Set("dtypes", list(env, dtypeNames, name));
  exports.Set("stored", list(env, storedFormats, [&](const StoredFormat& format) {
                auto one = Napi::Object::New(env);
                one.Set("name", format.name), one.Set("values", format.values), one.Set("bytes", format.bytes);
                return one;
              }));
  exports.Set("Executor", NativeExecutor::define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(jamba, init)

}  // namespace jamba

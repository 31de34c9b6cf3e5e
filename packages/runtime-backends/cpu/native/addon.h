// What the parts of the door to JavaScript share: handles, errors, and promises that the executor's thread settles.
#pragma once
#include <napi.h>

#include <map>
#include <unordered_map>

#include "executor.h"

namespace jamba {

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
  if (!held) fail("DISPOSED", "cpu backend: expected something that is in use, found it disposed");
  return held;
}

inline Napi::Error toError(Napi::Env env, const Failure& failure) {
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

inline HostBuffer bufferOf(const Napi::Value& value) {
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

inline int64_t integer(const Napi::Value& value) { return value.As<Napi::Number>().Int64Value(); }
inline std::vector<int32_t> integersOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Int32Array>();
  return std::vector<int32_t>(array.Data(), array.Data() + array.ElementLength());
}
inline Napi::Float64Array numbersOf(Napi::Env env, const std::vector<double>& values) {
  auto array = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

/** Methods stand in the file of what they are about; what each takes is said there. */
class NativeExecutor : public Napi::ObjectWrap<NativeExecutor> {
 public:
  static Napi::Function define(Napi::Env env);
  /** (level, threads) */
  explicit NativeExecutor(const Napi::CallbackInfo& info);
  ~NativeExecutor() override;

 private:
  using Method = Napi::Value(const Napi::CallbackInfo&);
  // addon-weights.cc
  Method weightBytes, createWeight, mapWeight, packRows, packFile, writePacked, readPacked, encodeBlocks;
  // addon-states.cc
  Method createStates, stateSizes, reserveStates, shrinkStates, copyStates, movePart;
  // addon-steps.cc
  Method createProgram, run, cancel, readKept, dropKept, roomOf;
  // addon.cc
  Method giveBackUnused, release, arenaBytes, profile, measureLimits, interrupt, stop;

  static void stopHook(void* self);
  /** Queues `work` for the executor's thread; `held` stays alive until it is done. `after` runs here before the promise settles, whichever way. */
  Napi::Value queue(Napi::Env env, const std::vector<Napi::Value>& held, std::function<void()> work, std::function<Napi::Value(Napi::Env)> result = nullptr,
                    std::function<void()> after = nullptr);
  void finish(Napi::Env env, Pending* pending);
  static void settle(Napi::Env env, Pending& pending);
  /** `part` gives name, dtype, isVector, stack, rows, columns. */
  static WeightRef describe(const std::function<Napi::Value(int)>& part);

  std::unique_ptr<Executor> executor_;
  Napi::ThreadSafeFunction settle_;
  std::shared_ptr<bool> settleClosed_ = std::make_shared<bool>(false);
  int waiting_ = 0;
  std::unordered_map<int64_t, std::weak_ptr<Job>> jobs_;
  std::map<std::string, std::weak_ptr<Pages>> files_;
};

}  // namespace jamba

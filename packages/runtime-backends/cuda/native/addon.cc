// The door to JavaScript. Each device has a thread of its own, on which all calls of the driver are made in the order in which JavaScript asks
// for them: nothing here blocks JavaScript, and promises settle in that order. What is launched was planned there.
#include <napi.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "driver.h"

namespace jamba {
namespace {

Napi::Error toError(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

struct Bytes {
  uint8_t* data;
  size_t size;
};
Bytes bytesOf(const Napi::Value& value) {
  const auto array = value.As<Napi::TypedArray>();
  return {(uint8_t*)array.ArrayBuffer().Data() + array.ByteOffset(), array.ByteLength()};
}
uint64_t integer(const Napi::Value& value) { return (uint64_t)value.As<Napi::Number>().Int64Value(); }

/** What a promise needs until it settles: nothing it uses may be collected. */
struct Job {
  Napi::Promise::Deferred deferred;
  std::vector<Napi::ObjectReference> held;
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> result;
  std::string code, message;
};

class NativeDevice : public Napi::ObjectWrap<NativeDevice> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Device",
                       {
                           InstanceMethod("open", &NativeDevice::open),
                           InstanceMethod("load", &NativeDevice::load),
                           InstanceMethod("allocate", &NativeDevice::allocate),
                           InstanceMethod("release", &NativeDevice::release),
                           InstanceMethod("reserve", &NativeDevice::reserve),
                           InstanceMethod("map", &NativeDevice::map),
                           InstanceMethod("run", &NativeDevice::run),
                           InstanceMethod("cancel", &NativeDevice::cancel),
                           InstanceMethod("room", &NativeDevice::room),
                           InstanceMethod("interrupt", &NativeDevice::interrupt),
                           InstanceMethod("close", &NativeDevice::close),
                       });
  }

  explicit NativeDevice(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    settle_ = Napi::ThreadSafeFunction::New(
        info.Env(), Napi::Function::New(info.Env(), [](const Napi::CallbackInfo&) {}), "jamba cuda", 0, 1,
        [](Napi::Env, std::shared_ptr<bool>* closed) {
          **closed = true;
          delete closed;
        },
        new std::shared_ptr<bool>(settleClosed_));
    settle_.Unref(info.Env());
    thread_ = std::thread([this] { serve(); });
    // Runs before the function above is torn down, since hooks run last in, first out.
    napi_add_env_cleanup_hook(info.Env(), stopHook, this);
  }

  ~NativeDevice() override {
    napi_remove_env_cleanup_hook(Env(), stopHook, this);
    stop();
    if (!*settleClosed_) settle_.Release();
  }

 private:
  static void stopHook(void* self) { ((NativeDevice*)self)->stop(); }

  void stop() {
    {
      std::lock_guard guard(lock_);
      stopped_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  void serve() {
    for (;;) {
      std::unique_lock guard(lock_);
      wake_.wait(guard, [&] { return stopped_ || !jobs_.empty(); });
      if (stopped_) break;
      Job* job = jobs_.front();
      jobs_.pop_front();
      guard.unlock();
      try {
        job->work();
      } catch (const Failure& failure) {
        job->code = failure.code, job->message = failure.what();
      } catch (const std::bad_alloc&) {
        job->code = "OUT_OF_MEMORY", job->message = "cuda: expected memory of the host, found none left";
      }
      job->work = nullptr;
      // Fails when the program ends: nobody waits any more, and references can't be dropped from this thread.
      (void)settle_.BlockingCall(job, [this](Napi::Env env, Napi::Function, Job* done) { finish(env, done); });
    }
    device_.reset();
  }

  void finish(Napi::Env env, Job* job) {
    try {
      if (--waiting_ == 0) settle_.Unref(env);
      Napi::HandleScope scope(env);
      if (!job->code.empty()) {
        job->deferred.Reject(toError(env, job->code, job->message).Value());
      } else {
        job->deferred.Resolve(job->result ? job->result(env) : env.Undefined());
      }
    } catch (const Napi::Error&) {
      // Its worker is being ended: no call gets through to JavaScript any more.
    }
    delete job;
  }

  Napi::Value queue(Napi::Env env, const std::vector<Napi::Value>& held, std::function<void()> work, std::function<Napi::Value(Napi::Env)> result = nullptr) {
    auto* job = new Job{Napi::Promise::Deferred::New(env), {}, std::move(work), std::move(result), "", ""};
    for (const Napi::Value& value : held) job->held.push_back(Napi::Persistent(value.As<Napi::Object>()));
    const Napi::Value promise = job->deferred.Promise();
    if (waiting_++ == 0) settle_.Ref(env);
    {
      std::lock_guard guard(lock_);
      jobs_.push_back(job);
    }
    wake_.notify_all();
    return promise;
  }

  Device& device() {
    if (!device_) throw Failure("DISPOSED", "cuda: expected an open device, found it closed");
    return *device_;
  }

  /** Gives a number that the work finds. */
  template <class Work>
  Napi::Value queueNumber(Napi::Env env, Work work) {
    auto found = std::make_shared<double>();
    return queue(
        env, {}, [work, found] { *found = (double)work(); }, [found](Napi::Env env) { return Napi::Number::New(env, *found); });
  }

  /** (driver: string, ordinal) => what it is */
  Napi::Value open(const Napi::CallbackInfo& info) {
    const std::string path = info[0].As<Napi::String>();
    const int ordinal = (int)integer(info[1]);
    return queue(
        info.Env(), {}, [this, path, ordinal] { device_ = std::make_unique<Device>(openDriver(path), ordinal); },
        [this](Napi::Env env) {
          Napi::Object found = Napi::Object::New(env);
          found.Set("name", device_->name), found.Set("driverVersion", device_->driverVersion);
          found.Set("major", device_->major), found.Set("minor", device_->minor);
          found.Set("multiprocessors", device_->multiprocessors), found.Set("totalBytes", (double)device_->totalBytes);
          return found;
        });
  }

  /** (ptx: string, names) => addresses of kernels */
  Napi::Value load(const Napi::CallbackInfo& info) {
    const std::string image = info[0].As<Napi::String>();
    const auto array = info[1].As<Napi::Array>();
    std::vector<std::string> names;
    for (uint32_t i = 0; i < array.Length(); i++) names.push_back(Napi::Value(array[i]).As<Napi::String>());
    auto found = std::make_shared<std::vector<CUfunction>>();
    return queue(
        info.Env(), {}, [=, this] { *found = device().load(image, names); },
        [found](Napi::Env env) {
          auto addresses = Napi::Float64Array::New(env, found->size());
          for (size_t i = 0; i < found->size(); i++) addresses[i] = (double)(uint64_t)(*found)[i];
          return addresses;
        });
  }

  /** (bytes, what) => address */
  Napi::Value allocate(const Napi::CallbackInfo& info) {
    const size_t bytes = integer(info[0]);
    const std::string what = info[1].As<Napi::String>();
    return queueNumber(info.Env(), [=, this] { return device().allocate(bytes, what); });
  }

  /** (address of an allocation or a range) */
  Napi::Value release(const Napi::CallbackInfo& info) {
    const CUdeviceptr address = integer(info[0]);
    return queue(info.Env(), {}, [=, this] {
      const auto range = ranges_.find(address);
      if (range == ranges_.end()) return device().release(address);
      device().release(range->second);
      ranges_.erase(range);
    });
  }

  /** (bytes) => address of a range */
  Napi::Value reserve(const Napi::CallbackInfo& info) {
    const size_t bytes = integer(info[0]);
    return queueNumber(info.Env(), [=, this] {
      const Range range = device().reserve(bytes);
      ranges_[range.address] = range;
      return range.address;
    });
  }

  /** (address of a range, bytes, what) => bytes mapped */
  Napi::Value map(const Napi::CallbackInfo& info) {
    const CUdeviceptr address = integer(info[0]);
    const size_t bytes = integer(info[1]);
    const std::string what = info[2].As<Napi::String>();
    return queueNumber(info.Env(), [=, this] {
      device().map(ranges_.at(address), bytes, what);
      return ranges_.at(address).mappedBytes;
    });
  }

  /**
   * (needs, to, bytes, launches, from, outputs, token): grows ranges, of which `needs` has the addresses and bytes, writes, launches, and reads into
   * outputs what lies one after another; with a token it waits for the end.
   */
  Napi::Value run(const Napi::CallbackInfo& info) {
    const auto pairs = info[0].As<Napi::Array>();
    std::vector<std::pair<CUdeviceptr, size_t>> needs;
    for (uint32_t i = 0; i + 1 < pairs.Length(); i += 2) needs.push_back({integer(pairs[i]), integer(pairs[i + 1])});
    const CUdeviceptr to = integer(info[1]), from = integer(info[4]);
    const Bytes bytes = bytesOf(info[2]), launches = bytesOf(info[3]);
    const auto array = info[5].As<Napi::Array>();
    const int64_t token = info[6].As<Napi::Number>().Int64Value();
    std::vector<Napi::Value> held = {info[2], info[3]};
    std::vector<Bytes> outputs;
    size_t outputBytes = 0;
    for (uint32_t i = 0; i < array.Length(); i++) {
      outputs.push_back(bytesOf(array[i]));
      outputBytes += outputs.back().size;
      held.push_back(Napi::Value(array[i]));
    }
    return queue(info.Env(), held, [=, this] {
      {
        std::lock_guard guard(lock_);
        if (cancelled_.erase(token)) throw Failure("ABORTED", "cuda: expected a step that is wanted, found it cancelled");
        if (interrupted_) throw Failure("DISPOSED", "cuda: expected an open backend, found it disposed");
      }
      for (const auto& [address, wanted] : needs)
        if (ranges_.at(address).mappedBytes < wanted) device().map(ranges_.at(address), wanted, "step");
      device().write(to, bytes.data, bytes.size);
      device().launch(launches.data, launches.size);
      if (outputBytes > 0) {
        std::vector<uint8_t> found(outputBytes);
        device().read(found.data(), from, outputBytes);
        size_t at = 0;
        for (const Bytes& output : outputs) {
          if (output.size > 0) std::memcpy(output.data, found.data() + at, output.size);
          at += output.size;
        }
      } else if (token >= 0) {
        device().finish();
      }
    });
  }

  /** (token): of a run that may not have begun; what has begun goes on to its end. */
  Napi::Value cancel(const Napi::CallbackInfo& info) {
    std::lock_guard guard(lock_);
    cancelled_.insert(info[0].As<Napi::Number>().Int64Value());
    return info.Env().Undefined();
  }

  Napi::Value room(const Napi::CallbackInfo& info) {
    auto found = std::make_shared<std::pair<size_t, size_t>>();
    return queue(
        info.Env(), {}, [=, this] { device().room(found->first, found->second); },
        [found](Napi::Env env) {
          auto both = Napi::Float64Array::New(env, 2);
          both[0] = (double)found->first, both[1] = (double)found->second;
          return both;
        });
  }

  /** Runs that wait end as disposed; settles when the one that has begun is over. */
  Napi::Value interrupt(const Napi::CallbackInfo& info) {
    {
      std::lock_guard guard(lock_);
      interrupted_ = true;
    }
    return queue(info.Env(), {}, [] {});
  }

  /** Settles when everything is given back. */
  Napi::Value close(const Napi::CallbackInfo& info) {
    return queue(info.Env(), {}, [this] { device_.reset(); });
  }

  std::thread thread_;
  std::mutex lock_;
  std::condition_variable wake_;
  std::deque<Job*> jobs_;
  std::unordered_set<int64_t> cancelled_;
  bool stopped_ = false, interrupted_ = false;
  // Of its thread alone:
  std::unique_ptr<Device> device_;
  std::map<CUdeviceptr, Range> ranges_;
  // Of JavaScript's alone:
  int waiting_ = 0;
  Napi::ThreadSafeFunction settle_;
  std::shared_ptr<bool> settleClosed_ = std::make_shared<bool>(false);
};

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Device", NativeDevice::define(env));
  return exports;
}

NODE_API_MODULE(jamba_cuda, init)

}  // namespace
}  // namespace jamba

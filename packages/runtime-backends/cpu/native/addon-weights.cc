// Weights: made, mapped, packed, and blocks for files.
#include <cstring>

#include "addon.h"
#include "checks.h"

namespace jamba {

WeightRef NativeExecutor::describe(const std::function<Napi::Value(int)>& part) {
  auto weight = std::make_shared<Weight>();
  weight->name = part(0).As<Napi::String>();
  Matrix& m = weight->matrix;
  m.dtype = (Dtype)integer(part(1)), m.isVector = part(2).ToBoolean();
  m.stack = integer(part(3)), m.rows = integer(part(4)), m.columns = integer(part(5));
  weight->bytes = m.bytes();
  return weight;
}

/** (name, dtype, isVector, stack, rows, columns) -> bytes */
Napi::Value NativeExecutor::weightBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return Napi::Number::New(info.Env(), (double)describe([&](int i) { return info[i]; })->bytes); });
}

Napi::Value NativeExecutor::createWeight(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    WeightRef weight = describe([&](int i) { return info[i]; });
    weight->pages = std::make_shared<Pages>(weight->bytes > 0 ? weight->bytes : 64);
    weight->matrix.data = weight->pages->data();
    return wrap(info.Env(), weight);
  });
}

/** (path, offset, name, dtype, isVector, stack, rows, columns) */
Napi::Value NativeExecutor::mapWeight(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string path = info[0].As<Napi::String>();
    const int64_t offset = integer(info[1]);
    WeightRef weight = describe([&](int i) { return info[i + 2]; });
    std::erase_if(files_, [](const auto& one) { return one.second.expired(); });
    std::weak_ptr<Pages>& known = files_[fileIdentity(path)];
    std::shared_ptr<Pages> file = known.lock();
    if (!file || file->changed()) known = file = Pages::ofFile(path);
    if (offset < 0 || offset % 64 != 0 || weight->bytes > file->bytes() || offset > file->bytes() - weight->bytes)
      fail("LOAD", weight->name + ": expected " + std::to_string(weight->bytes) + " bytes at a multiple of 64, found offset " + std::to_string(offset) +
                                " in the " + std::to_string(file->bytes()) + " bytes of " + path + "; prepare the model again");
    weight->pages = file;
    weight->matrix.data = file->data() + offset;
    return wrap(info.Env(), weight);
  });
}

/** (weight, from, to, bytes, dtype of the bytes) -> promise */
Napi::Value NativeExecutor::packRows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    WeightRef weight = unwrap<WeightRef>(info[0]);
    const int64_t from = integer(info[1]), to = integer(info[2]);
    const HostBuffer bytes = bufferOf(info[3]);
    const Stored stored = expectRows(*weight, from, to, integer(info[4]), (int64_t)bytes.bytes);
    return queue(info.Env(), {info[3]}, [=, this] { executor_->machine.pack(*weight, from, to, bytes.data, stored); });
  });
}

/** (weight, from, to, path, offset, stored dtype) -> promise */
Napi::Value NativeExecutor::packFile(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    WeightRef weight = unwrap<WeightRef>(info[0]);
    const int64_t from = integer(info[1]), to = integer(info[2]), offset = integer(info[4]);
    const Stored stored = expectRows(*weight, from, to, integer(info[5]), anyBytes);
    const std::string path = info[3].ToString();
    if (offset < 0) fail("SHAPE", weight->name + ": expected an offset into " + path + ", found " + std::to_string(offset));
    return queue(info.Env(), {}, [=, this] { executor_->packFile(*weight, from, to, path, offset, stored); });
  });
}

/** (weight, offset, bytes of the packed layout) -> promise */
Napi::Value NativeExecutor::writePacked(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    WeightRef weight = unwrap<WeightRef>(info[0]);
    const int64_t offset = integer(info[1]);
    const HostBuffer bytes = bufferOf(info[2]);
    expectOwn(*weight), expectRange(*weight, offset, (int64_t)bytes.bytes);
    return queue(info.Env(), {info[2]}, [=, this] { executor_->machine.copy({{weight->pages->data() + offset, bytes.data, (int64_t)bytes.bytes}}); });
  });
}

/** (weight, from, to) -> Uint8Array */
Napi::Value NativeExecutor::readPacked(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Weight& weight = *unwrap<WeightRef>(info[0]);
    const int64_t from = integer(info[1]), to = integer(info[2]);
    expectRange(weight, from, to - from);
    auto copy = Napi::Uint8Array::New(info.Env(), to - from);
    memcpy(copy.Data(), weight.matrix.data + from, to - from);
    weight.pages->expectUnchanged();
    return copy;
  });
}

/** (values, columns, dtype of the blocks, importance or nothing, blocks) -> promise */
Napi::Value NativeExecutor::encodeBlocks(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const HostBuffer values = bufferOf(info[0]), importance = info[3].IsTypedArray() ? bufferOf(info[3]) : HostBuffer{}, blocks = bufferOf(info[4]);
    const int64_t columns = integer(info[1]), number = integer(info[2]);
    const int64_t rows = expectBlocks((int64_t)values.bytes / 4, columns, number, (int64_t)importance.bytes / 4, (int64_t)blocks.bytes);
    return queue(info.Env(), {info[0], info[3], info[4]},
                 [=, this] { executor_->machine.encode((const float*)values.data, rows, columns, (Stored)number, (const float*)importance.data, blocks.data); });
  });
}

}  // namespace jamba

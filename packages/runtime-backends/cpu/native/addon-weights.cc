// Weights: made, mapped, packed, and blocks for files.
#include <cstring>

#include "addon.h"

namespace jamba {

namespace {
/** @throws Failure BACKEND */
void expectOwn(const Weight& weight) {
  if (weight.pages->mapped()) throw Failure("BACKEND", weight.name + ": expected a weight of the executor's own to write to, found one of a mapped file");
}
}  // namespace

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
      throw Failure("LOAD", weight->name + ": expected " + std::to_string(weight->bytes) + " bytes at a multiple of 64, found offset " + std::to_string(offset) +
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
    expectOwn(*weight);
    const int64_t from = integer(info[1]), to = integer(info[2]);
    const HostBuffer bytes = bufferOf(info[3]);
    const int64_t number = integer(info[4]);
    if (number < 0 || number >= nStored) throw Failure("DTYPE", weight->name + ": expected a stored dtype, found number " + std::to_string(number));
    const Stored stored = (Stored)number;
    const Matrix& m = weight->matrix;
    const int64_t all = m.isVector ? 1 : m.stack * m.rows;
    if (m.columns % storedFormats[number].values != 0 || from < 0 || from > to || to > all || (int64_t)bytes.bytes != (to - from) * storedBytes(stored, m.columns))
      throw Failure("SHAPE", weight->name + ": rows " + std::to_string(from) + " … " + std::to_string(to) + ": found " + std::to_string(bytes.bytes) + " bytes");
    return queue(info.Env(), {info[3]}, [=, this] { executor_->pack(*weight, from, to, bytes.data, stored); });
  });
}

/** (weight, from, to, path, offset, stored dtype) -> promise */
Napi::Value NativeExecutor::packFile(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    WeightRef weight = unwrap<WeightRef>(info[0]);
    expectOwn(*weight);
    const int64_t from = integer(info[1]), to = integer(info[2]), offset = integer(info[4]), number = integer(info[5]);
    const std::string path = info[3].ToString();
    const Matrix& m = weight->matrix;
    if (number < 0 || number >= nStored || m.columns % storedFormats[number].values != 0 || from < 0 || from > to || to > (m.isVector ? 1 : m.stack * m.rows) || offset < 0)
      throw Failure("SHAPE", weight->name + ": expected rows of whole blocks in " + path + ", found " + std::to_string(from) + " … " + std::to_string(to) + " at " + std::to_string(offset));
    return queue(info.Env(), {}, [=, this] { executor_->packFile(*weight, from, to, path, offset, (Stored)number); });
  });
}

/** (weight, offset, bytes of the packed layout) -> promise */
Napi::Value NativeExecutor::writePacked(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    WeightRef weight = unwrap<WeightRef>(info[0]);
    expectOwn(*weight);
    const int64_t offset = integer(info[1]);
    const HostBuffer bytes = bufferOf(info[2]);
    if (offset < 0 || offset > weight->bytes || (int64_t)bytes.bytes > weight->bytes - offset)
      throw Failure("SHAPE", weight->name + ": expected a range within its " + std::to_string(weight->bytes) + " bytes, found " + std::to_string(bytes.bytes) + " at " +
                                 std::to_string(offset));
    return queue(info.Env(), {info[2]}, [=, this] { executor_->copy({{weight->pages->data() + offset, bytes.data, (int64_t)bytes.bytes}}); });
  });
}

/** (weight, from, to) -> Uint8Array */
Napi::Value NativeExecutor::readPacked(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Weight& weight = *unwrap<WeightRef>(info[0]);
    const int64_t from = integer(info[1]), to = integer(info[2]);
    if (from < 0 || from > to || to > weight.bytes) throw Failure("SHAPE", weight.name + ": expected a range within its " + std::to_string(weight.bytes) + " bytes");
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
    const bool known = number >= 0 && number < nStored && columns > 0 && columns % storedFormats[number].values == 0;
    const int64_t rows = known ? (int64_t)values.bytes / (4 * columns) : 0;
    if (!known || (int64_t)values.bytes != rows * columns * 4 || (int64_t)blocks.bytes != rows * storedBytes((Stored)number, columns) ||
        (importance.data && (int64_t)importance.bytes != columns * 4))
      throw Failure("SHAPE", "encodeBlocks: expected rows of whole blocks, found " + std::to_string(values.bytes / 4) + " values in rows of " + std::to_string(columns));
    return queue(info.Env(), {info[0], info[3], info[4]},
                 [=, this] { executor_->encode((const float*)values.data, rows, columns, (Stored)number, (const float*)importance.data, blocks.data); });
  });
}

}  // namespace jamba

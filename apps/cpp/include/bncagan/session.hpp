// An ONNX file in ONNX Runtime, on the CPU.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>
#else
#include "onnxruntime_c_api_subset.h"
#endif

#include "error.hpp"

namespace bncagan {

// An array of float or of uint8_t with its shape.
template <class T>
struct Tensor {
  std::vector<int64_t> shape;
  std::vector<T> values;

  explicit Tensor(std::vector<int64_t> axes = {0}) : shape(std::move(axes)) {
    size_t size = 1;
    for (const int64_t axis : shape) size *= static_cast<size_t>(axis);
    values.resize(size);
  }
};

// ONNX Runtime 1.29 and newer tell their makers what runs, unless this is set before the first environment.
inline void keep_telemetry_off() {
  if (std::getenv("ORT_DISABLE_TELEMETRY") != nullptr) return;
#ifdef _WIN32
  _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
}

class Session {
 public:
  // threads: of one operator; 0 lets ONNX Runtime choose.
  Session(const std::filesystem::path& model, int threads) : name_(model.string()) {
    if (api() == nullptr) throw Error("ONNX Runtime should have the C API of version 2 but has not; take a newer one");
    keep_telemetry_off();
    OrtEnv* env = nullptr;
    check(api()->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bncagan", &env));
    env_ = {env, api()->ReleaseEnv};
    check(api()->DisableTelemetryEvents(env));
    OrtSessionOptions* made = nullptr;
    check(api()->CreateSessionOptions(&made));
    const Owned<OrtSessionOptions> options{made, api()->ReleaseSessionOptions};
    if (threads > 0) check(api()->SetIntraOpNumThreads(made, threads));
    OrtSession* session = nullptr;
    if (OrtStatus* status = api()->CreateSession(env, model.c_str(), made, &session))
      throw Error(name_ + " should be an ONNX model but does not load (" + reason(status) + "); export it again");
    session_ = {session, api()->ReleaseSession};
    OrtMemoryInfo* memory = nullptr;
    check(api()->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    memory_ = {memory, api()->ReleaseMemoryInfo};
  }

  static std::string version() { return std::string("onnxruntime ") + OrtGetApiBase()->GetVersionString(); }

  // A value of the file's metadata; empty for none.
  std::string metadata(const char* key) const {
    OrtModelMetadata* made = nullptr;
    check(api()->SessionGetModelMetadata(session_.get(), &made));
    const Owned<OrtModelMetadata> metadata{made, api()->ReleaseModelMetadata};
    OrtAllocator* allocator = nullptr;
    check(api()->GetAllocatorWithDefaultOptions(&allocator));
    char* text = nullptr;
    check(api()->ModelMetadataLookupCustomMetadataMap(made, allocator, key, &text));
    if (text == nullptr) return {};
    const std::string value = text;
    check(api()->AllocatorFree(allocator, text));
    return value;
  }

  using Value = std::unique_ptr<OrtValue, void (*)(OrtValue*)>;

  // The tensor's memory is used, not copied.
  template <class T>
  Value input(Tensor<T>& tensor) const {
    OrtValue* made = nullptr;
    check(api()->CreateTensorWithDataAsOrtValue(memory_.get(), tensor.values.data(), tensor.values.size() * sizeof(T),
                                                tensor.shape.data(), tensor.shape.size(), type<T>(), &made));
    return {made, api()->ReleaseValue};
  }

  std::vector<Value> run(const std::vector<const char*>& input_names, const std::vector<Value>& inputs,
                         const std::vector<const char*>& output_names) const {
    std::vector<const OrtValue*> given;
    for (const Value& value : inputs) given.push_back(value.get());
    std::vector<OrtValue*> made(output_names.size(), nullptr);
    OrtStatus* status = api()->Run(session_.get(), nullptr, input_names.data(), given.data(), given.size(),
                                   output_names.data(), output_names.size(), made.data());
    std::vector<Value> outputs;
    for (OrtValue* value : made) outputs.emplace_back(value, api()->ReleaseValue);
    if (status != nullptr)
      throw Error(name_ + " should run but does not (" + reason(status) + "); export it again");
    return outputs;
  }

  // A copy of an output; Error if it is of another type.
  template <class T>
  Tensor<T> output(const Value& value) const {
    OrtTensorTypeAndShapeInfo* made = nullptr;
    check(api()->GetTensorTypeAndShape(value.get(), &made));
    const Owned<OrtTensorTypeAndShapeInfo> info{made, api()->ReleaseTensorTypeAndShapeInfo};
    ONNXTensorElementDataType found{};
    check(api()->GetTensorElementType(made, &found));
    if (found != type<T>())
      throw Error(name_ + " should return the type that its spec says but does not; export it again");
    size_t count = 0;
    check(api()->GetDimensionsCount(made, &count));
    std::vector<int64_t> shape(count);
    check(api()->GetDimensions(made, shape.data(), count));
    Tensor<T> tensor(shape);
    void* data = nullptr;
    check(api()->GetTensorMutableData(value.get(), &data));
    const T* first = static_cast<const T*>(data);
    tensor.values.assign(first, first + tensor.values.size());
    return tensor;
  }

 private:
  template <class T>
  using Owned = std::unique_ptr<T, void (*)(T*)>;

  std::string name_;
  Owned<OrtEnv> env_{nullptr, nullptr};
  Owned<OrtSession> session_{nullptr, nullptr};
  Owned<OrtMemoryInfo> memory_{nullptr, nullptr};

  static const OrtApi* api() {
    static const OrtApi* const found = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    return found;
  }

  template <class T>
  static constexpr ONNXTensorElementDataType type() {
    return std::is_same_v<T, float> ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  }

  static std::string reason(OrtStatus* status) {
    const std::string text = api()->GetErrorMessage(status);
    api()->ReleaseStatus(status);
    return text;
  }

  static void check(OrtStatus* status) {
    if (status != nullptr) throw Error("ONNX Runtime should work but does not (" + reason(status) + "); update it");
  }
};

}  // namespace bncagan

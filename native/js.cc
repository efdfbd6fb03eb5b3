#include "js.h"

#include <string.h>

#include <climits>
#include <cmath>

namespace loden {

const char* ErrorName(const Failure& failure) {
  const char* name = strerrorname_np(failure.error);
  return name ? name : "EUNKNOWN";
}

Napi::Error MakeError(Napi::Env env, const Failure& failure, const std::string& doing) {
  const char* name = ErrorName(failure);
  const char* text = strerrordesc_np(failure.error);
  Napi::Error error = Napi::Error::New(
      env, doing + ": " + failure.what + ": " + name + " (" + (text ? text : "unknown error") + ")");
  error.Set("code", Napi::String::New(env, name));
  error.Set("errno", Napi::Number::New(env, failure.error));
  error.Set("syscall", Napi::String::New(env, failure.what));
  return error;
}

Napi::Value Throw(Napi::Env env, const Failure& failure, const std::string& doing) {
  MakeError(env, failure, doing).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value ThrowType(Napi::Env env, const char* message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return env.Undefined();
}

bool IntArgument(const Napi::CallbackInfo& info, size_t index, const char* name, int64_t low, int64_t high,
                 int64_t* out) {
  const Napi::Value value = info[index];
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    if (number >= static_cast<double>(low) && number <= static_cast<double>(high) && std::floor(number) == number) {
      *out = static_cast<int64_t>(number);
      return true;
    }
  }
  ThrowType(info.Env(), (std::string(name) + " must be an integer from " + std::to_string(low) + " to " +
                         std::to_string(high))
                            .c_str());
  return false;
}

bool DescriptorsArgument(const Napi::CallbackInfo& info, size_t index, const char* name, size_t most,
                         std::vector<int>* out) {
  const Napi::Value value = info[index];
  if (value.IsArray() && value.As<Napi::Array>().Length() <= most) {
    const Napi::Array array = value.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); i++) {
      const Napi::Value item = array.Get(i);
      const double number = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : -1;
      if (!(number >= 0 && number <= INT_MAX) || std::floor(number) != number) break;
      out->push_back(static_cast<int>(number));
    }
    if (out->size() == array.Length()) return true;
  }
  ThrowType(info.Env(),
            (std::string(name) + " must be an array of at most " + std::to_string(most) + " descriptors").c_str());
  return false;
}

}  // namespace loden

// Small helpers on the JavaScript side of the addon. Only for the JS thread.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "failure.h"

namespace loden {

// "EPERM".
const char* ErrorName(const Failure& failure);
// An Error with `code` ("EPERM"), `errno` (positive) and `syscall`.
Napi::Error MakeError(Napi::Env env, const Failure& failure, const std::string& doing);
// Throws that error; returns undefined for the caller to return.
Napi::Value Throw(Napi::Env env, const Failure& failure, const std::string& doing);
Napi::Value ThrowType(Napi::Env env, const char* message);

// An integer argument within [low, high]; false (with a pending TypeError) when it is none.
bool IntArgument(const Napi::CallbackInfo& info, size_t index, const char* name, int64_t low, int64_t high,
                 int64_t* out);

// An array of at most `most` descriptors; false (with a pending TypeError) when it is none.
bool DescriptorsArgument(const Napi::CallbackInfo& info, size_t index, const char* name, size_t most,
                         std::vector<int>* out);

}  // namespace loden

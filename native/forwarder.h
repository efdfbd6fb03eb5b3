// forwarder(): the udp backend's data path, on threads of its own.
#pragma once

#include <napi.h>

namespace loden {

// As src/native/forwarder.ts declares them.
Napi::Value NewForwarder(const Napi::CallbackInfo& info);
Napi::Value ForwarderLayout(const Napi::CallbackInfo& info);

}  // namespace loden

// Sends probes of paths to peers and tells what comes back; src/native/prober.ts declares it.
#pragma once

#include <napi.h>

namespace loden {

// (netnsFd, onResults) -> object
Napi::Value NewProber(const Napi::CallbackInfo& info);

}  // namespace loden

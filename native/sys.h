// Single system calls that Node has no function for.
#pragma once

#include <napi.h>

namespace loden {

// sdNotify(socketPath, state, fds?) -> boolean
Napi::Value SdNotify(const Napi::CallbackInfo& info);
// closeOnExec(fds)
Napi::Value CloseOnExec(const Napi::CallbackInfo& info);
// flockTry(fd) -> boolean
Napi::Value FlockTry(const Napi::CallbackInfo& info);
// peerCred(fd) -> { pid, uid, gid }
Napi::Value PeerCred(const Napi::CallbackInfo& info);
// bootTimeMs() -> number
Napi::Value BootTimeMs(const Napi::CallbackInfo& info);
// clockSynchronised() -> boolean | null
Napi::Value ClockSynchronised(const Napi::CallbackInfo& info);

}  // namespace loden

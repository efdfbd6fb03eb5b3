// Passing descriptors between daemons: SEQPACKET sockets whose readiness a thread watches.
#pragma once

#include <napi.h>

namespace loden {

// handoverListen(path, onReady) -> { accept(onReady), close() }
Napi::Value HandoverListen(const Napi::CallbackInfo& info);
// handoverConnect(path, onReady) -> { peer, send(bytes, fds), receive(), close() }
Napi::Value HandoverConnect(const Napi::CallbackInfo& info);

}  // namespace loden

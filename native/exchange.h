// netlinkOpen(): request and reply over one netlink socket, on a thread of its own.
#pragma once

#include <napi.h>

namespace loden {

// netlinkOpen(protocol, netnsFd, rcvbuf) -> { portId, exchange(bytes, lastSeq, timeoutMs), close() }
Napi::Value NetlinkOpen(const Napi::CallbackInfo& info);

}  // namespace loden

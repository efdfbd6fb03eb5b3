// netlinkMonitor(): multicast notifications, reduced to distinct hints on a thread of their own.
#pragma once

#include <napi.h>

namespace loden {

// netlinkMonitor(protocol, groups, netnsFd, quietMs, onHints) -> { close() }
Napi::Value NetlinkMonitor(const Napi::CallbackInfo& info);

}  // namespace loden

// TUN queues and UDP sockets as descriptors that JavaScript holds, hands over, and gives to a forwarder.
#pragma once

#include <napi.h>

namespace loden {

// As src/native/forwarder.ts declares them.
Napi::Value TunCreate(const Napi::CallbackInfo& info);
Napi::Value TunAttach(const Napi::CallbackInfo& info);
Napi::Value TunIdentity(const Napi::CallbackInfo& info);
Napi::Value UdpOpen(const Napi::CallbackInfo& info);
Napi::Value UdpIdentity(const Napi::CallbackInfo& info);
Napi::Value CloseFds(const Napi::CallbackInfo& info);

}  // namespace loden

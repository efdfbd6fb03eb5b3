#include "descriptors.h"

#include <net/if.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "core/forwarder.h"
#include "core/tun.h"
#include "core/udp_socket.h"
#include "js.h"

namespace loden {
namespace {

// A device's name: what the kernel allows (dev_valid_name), 1 to 15 bytes.
bool NameArgument(const Napi::CallbackInfo& info, size_t index, std::string* out) {
  if (info[index].IsString()) {
    *out = info[index].As<Napi::String>();
    if (!out->empty() && out->size() < IFNAMSIZ && out->find_first_of("/: \t\n%") == std::string::npos && *out != "." &&
        *out != "..") {
      return true;
    }
  }
  ThrowType(info.Env(), "name must be a device's name");
  return false;
}

bool AddressArgument(const Napi::CallbackInfo& info, size_t index, core::Address* out) {
  if (info[index].IsTypedArray() && info[index].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const Napi::Uint8Array bytes = info[index].As<Napi::Uint8Array>();
    if (bytes.ByteLength() == 4 || bytes.ByteLength() == 16) {
      out->family = bytes.ByteLength() == 4 ? 4 : 6;
      memcpy(out->bytes, bytes.Data(), bytes.ByteLength());
      return true;
    }
  }
  ThrowType(info.Env(), "address must be a Uint8Array of 4 or 16 bytes");
  return false;
}

Napi::Array ToArray(Napi::Env env, const std::vector<int>& fds) {
  Napi::Array array = Napi::Array::New(env, fds.size());
  for (uint32_t i = 0; i < fds.size(); ++i) array.Set(i, Napi::Number::New(env, fds[i]));
  return array;
}

}  // namespace

Napi::Value TunCreate(const Napi::CallbackInfo& info) {
  std::string name;
  if (!NameArgument(info, 0, &name)) return info.Env().Undefined();
  if (const Failure failure = core::TunCreate(name)) return Throw(info.Env(), failure, "cannot make the TUN device " + name);
  return info.Env().Undefined();
}

Napi::Value TunAttach(const Napi::CallbackInfo& info) {
  std::string name;
  int64_t count;
  if (!NameArgument(info, 0, &name)) return info.Env().Undefined();
  if (!IntArgument(info, 1, "count", 1, core::kMaxWorkers, &count)) return info.Env().Undefined();
  std::vector<int> queues;
  if (const Failure failure = core::TunAttach(name, static_cast<int>(count), &queues)) {
    return Throw(info.Env(), failure, "cannot attach to the TUN device " + name);
  }
  return ToArray(info.Env(), queues);
}

Napi::Value TunIdentity(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t fd;
  if (!IntArgument(info, 0, "fd", 0, INT_MAX, &fd)) return env.Undefined();
  core::TunIdentity identity;
  if (const Failure failure = core::TunIdentify(static_cast<int>(fd), &identity)) {
    return Throw(env, failure, "the descriptor is no queue of a TUN device");
  }
  Napi::Object value = Napi::Object::New(env);
  value.Set("name", Napi::String::New(env, identity.name));
  value.Set("ifindex", Napi::Number::New(env, identity.ifindex));
  value.Set("flags", Napi::Number::New(env, identity.flags));
  return value;
}

Napi::Value UdpOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  core::Address address;
  int64_t port, count;
  if (!AddressArgument(info, 0, &address)) return env.Undefined();
  if (!IntArgument(info, 1, "port", 1, 65535, &port)) return env.Undefined();
  if (!IntArgument(info, 2, "count", 1, core::kMaxWorkers, &count)) return env.Undefined();
  std::vector<int> sockets;
  std::vector<int> senders;
  Failure failure = core::UdpOpen(address, static_cast<uint16_t>(port), static_cast<int>(count), &sockets);
  for (int64_t i = 0; !failure && count > 1 && i < count; ++i) {
    int sender = -1;
    failure = core::UdpOpenSender(address, static_cast<int>(i), &sender);
    if (!failure) senders.push_back(sender);
  }
  if (failure) {
    for (const int fd : sockets) close(fd);
    for (const int fd : senders) close(fd);
    return Throw(env, failure, "cannot open a UDP socket at port " + std::to_string(port));
  }
  Napi::Object value = Napi::Object::New(env);
  value.Set("sockets", ToArray(env, sockets));
  value.Set("senders", ToArray(env, senders));
  return value;
}

Napi::Value UdpIdentity(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t fd;
  if (!IntArgument(info, 0, "fd", 0, INT_MAX, &fd)) return env.Undefined();
  core::Address address;
  uint16_t port;
  if (const Failure failure = core::UdpIdentify(static_cast<int>(fd), &address, &port)) {
    return Throw(env, failure, "the descriptor is no bound UDP socket");
  }
  Napi::Object value = Napi::Object::New(env);
  Napi::Uint8Array bytes = Napi::Uint8Array::New(env, address.family == 4 ? 4 : 16);
  memcpy(bytes.Data(), address.bytes, bytes.ByteLength());
  value.Set("address", bytes);
  value.Set("port", Napi::Number::New(env, port));
  return value;
}

Napi::Value CloseFds(const Napi::CallbackInfo& info) {
  std::vector<int> fds;
  if (!DescriptorsArgument(info, 0, "fds", 1024, &fds)) return info.Env().Undefined();
  for (const int fd : fds) close(fd);
  return info.Env().Undefined();
}

}  // namespace loden

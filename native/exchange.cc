#include "exchange.h"

#include <errno.h>
#include <linux/netlink.h>

#include <climits>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "exchanger.h"
#include "js.h"

namespace loden {
namespace {

// A chunk is tens of messages; the kernel's own limit is the send buffer.
constexpr size_t kMaxRequestBytes = 1024 * 1024;

// The sequence number of the first message; false unless `bytes` is a row of whole messages that ends with last_seq.
bool CheckRequest(const std::vector<uint8_t>& bytes, uint32_t last_seq, uint32_t* first_seq) {
  uint32_t seq = 0;
  size_t at = 0;
  for (; at < bytes.size();) {
    nlmsghdr header;
    if (bytes.size() - at < sizeof header) return false;
    memcpy(&header, bytes.data() + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > bytes.size() - at) return false;
    seq = header.nlmsg_seq;
    if (at == 0) *first_seq = seq;
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return at != 0 && seq == last_seq;
}

Napi::Value Exchange(const Napi::CallbackInfo& info, const std::shared_ptr<Handle>& handle) {
  const Napi::Env env = info.Env();
  int64_t last_seq, timeout_ms;
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return ThrowType(env, "bytes must be a Uint8Array");
  }
  if (!IntArgument(info, 1, "lastSeq", 0, UINT32_MAX, &last_seq)) return env.Undefined();
  if (!IntArgument(info, 2, "timeoutMs", 0, INT_MAX, &timeout_ms)) return env.Undefined();
  const Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  if (bytes.ByteLength() > kMaxRequestBytes) return ThrowType(env, "bytes must be at most 1 MiB");

  auto job = std::make_unique<Job>(Napi::Promise::Deferred::New(env), handle);
  const Napi::Value promise = job->deferred.Promise();
  job->request.assign(bytes.Data(), bytes.Data() + bytes.ByteLength());
  job->last_seq = static_cast<uint32_t>(last_seq);
  job->timeout_ms = static_cast<int>(timeout_ms);
  if (!CheckRequest(job->request, job->last_seq, &job->first_seq)) {
    return ThrowType(env, "bytes must be whole netlink messages, the last of them with sequence number lastSeq");
  }
  if (handle->exchanger->closed()) {
    job->deferred.Reject(MakeError(env, {ECANCELED, "close"}, "netlink exchange").Value());
    return promise;
  }
  handle->exchanger->Submit(env, std::move(job));
  return promise;
}

constexpr uint32_t kMaxSysctls = 1024;

bool ReadSysctl(const Napi::Value& value, Sysctl* out) {
  if (!value.IsObject()) return false;
  const Napi::Object job = value.As<Napi::Object>();
  const Napi::Value path = job.Get("path"), wanted = job.Get("value");
  if (!path.IsString() || !(wanted.IsString() || wanted.IsUndefined())) return false;
  out->path = path.As<Napi::String>();
  if (wanted.IsString()) out->value = wanted.As<Napi::String>().Utf8Value();
  return true;
}

Napi::Value Sysctls(const Napi::CallbackInfo& info, const std::shared_ptr<Handle>& handle) {
  const Napi::Env env = info.Env();
  auto job = std::make_unique<Job>(Napi::Promise::Deferred::New(env), handle);
  const Napi::Value promise = job->deferred.Promise();
  job->is_sysctls = true;
  const Napi::Array jobs = info[0].IsArray() ? info[0].As<Napi::Array>() : Napi::Array::New(env);
  bool good = info[0].IsArray() && jobs.Length() <= kMaxSysctls;
  for (uint32_t i = 0; good && i < jobs.Length(); i++) good = ReadSysctl(jobs.Get(i), &job->sysctls.emplace_back());
  if (!good) return ThrowType(env, "jobs must be an array of at most 1024 objects with path and perhaps value");
  if (handle->exchanger->closed()) {
    job->deferred.Reject(MakeError(env, {ECANCELED, "close"}, "sysctls").Value());
    return promise;
  }
  handle->exchanger->Submit(env, std::move(job));
  return promise;
}

}  // namespace

Napi::Value NetlinkOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t protocol, netns_fd, rcvbuf;
  if (!IntArgument(info, 0, "protocol", 0, 255, &protocol)) return env.Undefined();
  if (!IntArgument(info, 1, "netnsFd", -1, INT_MAX, &netns_fd)) return env.Undefined();
  if (!IntArgument(info, 2, "rcvbuf", 0, 1 << 30, &rcvbuf)) return env.Undefined();

  // Without it, it is opened while the caller goes on.
  const bool wait = !info[3].IsBoolean() || !info[3].As<Napi::Boolean>().Value();

  auto exchanger = std::make_shared<Exchanger>();
  const Failure failure =
      exchanger->Open(env, static_cast<int>(protocol), static_cast<int>(netns_fd), static_cast<int>(rcvbuf), wait);
  if (failure) return Throw(env, failure, "cannot open a netlink socket");

  auto handle = std::make_shared<Handle>(exchanger);
  Napi::Object socket = Napi::Object::New(env);
  if (wait) socket.Set("portId", Napi::Number::New(env, exchanger->port()));
  socket.Set("exchange", Napi::Function::New(
                             env, [handle](const Napi::CallbackInfo& call) { return Exchange(call, handle); },
                             "exchange"));
  socket.Set("sysctls", Napi::Function::New(
                            env, [handle](const Napi::CallbackInfo& call) { return Sysctls(call, handle); },
                            "sysctls"));
  socket.Set("close", Napi::Function::New(
                          env, [handle](const Napi::CallbackInfo&) { handle->exchanger->Close(); }, "close"));
  return socket;
}

}  // namespace loden

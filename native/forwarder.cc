#include "forwarder.h"

#include <unistd.h>

#include <climits>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/forwarder.h"
#include "core/stats_region.h"
#include "core/table.h"
#include "core/tun.h"
#include "core/udp_socket.h"
#include "js.h"

namespace loden {
namespace {

class Handle;
void Deliver(Napi::Env env, Napi::Function on_event, Handle* handle, core::Event* raw);
using Channel = Napi::TypedThreadSafeFunction<Handle, core::Event, Deliver>;

// A forwarder and the way its workers reach JavaScript. It lives until close(), or the end of its environment.
class Handle : public core::EventSink, public std::enable_shared_from_this<Handle> {
 public:
  explicit Handle(std::unique_ptr<core::StatsRegion> stats) : stats_(std::move(stats)), forwarder_(*stats_, *this) {}

  void Open(Napi::Env env, Napi::Function on_event);
  // Stops the workers. JS thread. Idempotent.
  void Close();
  bool closed() const { return closed_; }
  core::Forwarder& forwarder() { return forwarder_; }
  core::StatsRegion& stats() { return *stats_; }

  // A worker's thread.
  void OnEvent(const core::Event& event) override { channel_.NonBlockingCall(new core::Event(event)); }

 private:
  static void EnvClosing(void* self) { static_cast<Handle*>(self)->forwarder_.Stop(); }

  std::unique_ptr<core::StatsRegion> stats_;
  core::Forwarder forwarder_;
  Channel channel_;
  std::shared_ptr<Handle> self_;
  // At once: the channel lets go of `self_` only in a later turn of the event loop.
  bool closed_ = false;
};

void Handle::Open(Napi::Env env, Napi::Function on_event) {
  self_ = shared_from_this();
  channel_ = Channel::New(
      env, on_event, "loden forwarder", 0, 1, this,
      [](Napi::Env finalizing, void*, Handle* self) {
        napi_remove_env_cleanup_hook(finalizing, &Handle::EnvClosing, self);
        self->forwarder_.Stop();
        const std::shared_ptr<Handle> last = std::move(self->self_);
      },
      static_cast<void*>(nullptr));
  channel_.Unref(env);
  // Added after the channel's own hook, so it runs before it: no worker is left when the channel goes.
  napi_add_env_cleanup_hook(env, &Handle::EnvClosing, this);
}

void Handle::Close() {
  if (closed()) return;
  closed_ = true;
  forwarder_.Stop();
  channel_.Release();
}

void Deliver(Napi::Env env, Napi::Function on_event, Handle* handle, core::Event* raw) {
  const std::unique_ptr<core::Event> event(raw);
  if (env == nullptr || handle->closed()) return;
  Napi::Object value = Napi::Object::New(env);
  const bool lost = event->kind == core::Event::Kind::kTunLost;
  value.Set("kind", Napi::String::New(env, lost ? "tun-lost" : "gso-refused"));
  value.Set("queue", Napi::Number::New(env, event->queue));
  value.Set("errno", Napi::Number::New(env, event->error));
  on_event.Call({value});
  // An exception in it is an uncaught one, as in any event callback; Node would only warn of it.
  if (env.IsExceptionPending()) napi_fatal_exception(env, env.GetAndClearPendingException().Value());
}

bool ReadDescriptor(const Napi::Object& object, const char* name, int* out) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= -1 && number <= INT_MAX)) return false;
  *out = static_cast<int>(number);
  return *out == number;
}

bool ReadQueues(const Napi::CallbackInfo& info, std::vector<core::Queue>* queues) {
  if (info[0].IsArray()) {
    const Napi::Array array = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length() && i <= core::kMaxWorkers; ++i) {
      const Napi::Value item = array.Get(i);
      core::Queue queue;
      if (!item.IsObject()) break;
      const Napi::Object object = item.As<Napi::Object>();
      if (!ReadDescriptor(object, "tun", &queue.tun) || !ReadDescriptor(object, "udp4", &queue.udp4) ||
          !ReadDescriptor(object, "udp6", &queue.udp6) || !ReadDescriptor(object, "out4", &queue.out4) ||
          !ReadDescriptor(object, "out6", &queue.out6) || queue.tun < 0 || (queue.udp4 < 0 && queue.udp6 < 0)) {
        break;
      }
      queues->push_back(queue);
    }
    if (queues->size() == array.Length() && !queues->empty() && queues->size() <= core::kMaxWorkers) return true;
  }
  ThrowType(info.Env(), "queues must be an array of 1 to 16 {tun, udp4, udp6, out4, out6}, a device and a socket in each");
  return false;
}

Napi::Value Start(const Napi::CallbackInfo& info, Handle& handle) {
  const Napi::Env env = info.Env();
  std::vector<core::Queue> queues;
  if (!ReadQueues(info, &queues)) return env.Undefined();
  // Peers listen where we do: the port is the network's.
  core::Address address;
  uint16_t port = 0;
  for (const core::Queue& queue : queues) {
    core::TunIdentity identity;
    Failure failure = core::TunIdentify(queue.tun, &identity);
    for (const int socket : {queue.udp4, queue.udp6}) {
      if (!failure && socket >= 0) failure = core::UdpIdentify(socket, &address, &port);
    }
    if (failure) return Throw(env, failure, "cannot forward between these descriptors");
  }
  core::QueueAbility ability;
  if (const Failure failure = handle.forwarder().Start(queues, port, &ability)) {
    return Throw(env, failure, "cannot start the forwarder");
  }
  Napi::Object value = Napi::Object::New(env);
  value.Set("gso", Napi::Boolean::New(env, ability.gso));
  value.Set("gro", Napi::Boolean::New(env, ability.gro));
  value.Set("tso", Napi::Boolean::New(env, ability.tso));
  value.Set("uso", Napi::Boolean::New(env, ability.uso));
  return value;
}

Napi::Value Swap(const Napi::CallbackInfo& info, Handle& handle) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return ThrowType(env, "table must be a Uint8Array");
  }
  const Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  const char* why = "";
  auto table = core::Table::Parse({bytes.Data(), bytes.ByteLength()}, &why);
  if (!table) return ThrowType(env, (std::string("these bytes are no forwarding table: ") + why).c_str());
  handle.forwarder().Swap(std::move(table));
  return env.Undefined();
}

Napi::Value Counters(const Napi::CallbackInfo& info, Handle& handle) {
  Napi::BigUint64Array values = Napi::BigUint64Array::New(info.Env(), core::kTotalCount);
  handle.stats().Totals(values.Data());
  handle.forwarder().Reclaim();
  return values;
}

Napi::Value PeerCounters(const Napi::CallbackInfo& info, Handle& handle) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    return ThrowType(env, "slots must be a Uint32Array");
  }
  const Napi::Uint32Array slots = info[0].As<Napi::Uint32Array>();
  const size_t count = slots.ElementLength();
  Napi::BigUint64Array values = Napi::BigUint64Array::New(env, count * 4);
  for (size_t i = 0; i < count; ++i) {
    if (slots[i] >= core::kMaxSlots) return ThrowType(env, "slots must be below 65536");
    const core::PeerTotals peer = handle.stats().Peer(slots[i]);
    values[i * 4] = peer.out_packets;
    values[i * 4 + 1] = peer.out_bytes;
    values[i * 4 + 2] = peer.in_packets;
    values[i * 4 + 3] = peer.in_bytes;
  }
  return values;
}

Napi::Array Names(Napi::Env env, std::initializer_list<std::pair<const char*, const char*>> names) {
  Napi::Array array = Napi::Array::New(env, names.size());
  uint32_t i = 0;
  for (const auto& [name, meaning] : names) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("name", Napi::String::New(env, name));
    item.Set("meaning", Napi::String::New(env, meaning));
    array.Set(i++, item);
  }
  return array;
}

}  // namespace

Napi::Value NewForwarder(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t fd;
  if (!IntArgument(info, 0, "statsFd", -1, INT_MAX, &fd)) return env.Undefined();
  if (!info[1].IsFunction()) return ThrowType(env, "onEvent must be a function");
  auto handle = std::make_shared<Handle>(core::StatsRegion::Map(static_cast<int>(fd)));
  handle->Open(env, info[1].As<Napi::Function>());

  Napi::Object object = Napi::Object::New(env);
  const core::StatsRegion& stats = handle->stats();
  if (stats.note() != nullptr) object.Set("statsNote", Napi::String::New(env, stats.note()));
  const auto method = [&](const char* name, Napi::Value (*body)(const Napi::CallbackInfo&, Handle&)) {
    object.Set(name, Napi::Function::New(
                         env,
                         [handle, body](const Napi::CallbackInfo& call) -> Napi::Value {
                           if (!handle->closed()) return body(call, *handle);
                           return Throw(call.Env(), {ECANCELED, "close"}, "the forwarder is closed");
                         },
                         name));
  };
  method("start", Start);
  method("swap", Swap);
  method("counters", Counters);
  method("peerCounters", PeerCounters);
  object.Set("stop", Napi::Function::New(
                         env, [handle](const Napi::CallbackInfo&) { handle->forwarder().Stop(); }, "stop"));
  object.Set("close", Napi::Function::New(env, [handle](const Napi::CallbackInfo&) { handle->Close(); }, "close"));
  return object;
}

Napi::Value ForwarderLayout(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object layout = Napi::Object::New(env);
  layout.Set("counters", Names(env, {
#define X(name, meaning) {#name, meaning},
                                        LODEN_COUNTERS(X)
#undef X
                                    }));
  layout.Set("drops", Names(env, {
#define X(id, name, meaning) {name, meaning},
                                     LODEN_DROPS(X)
#undef X
                                 }));
  return layout;
}

}  // namespace loden

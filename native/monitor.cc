#include "monitor.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstring>
#include <memory>
#include <semaphore>
#include <unordered_set>
#include <utility>
#include <vector>

#include "channel.h"
#include "clock.h"
#include "hint.h"
#include "js.h"
#include "netlink_socket.h"
#include "thread.h"

namespace loden {
namespace {

// Bytes of notifications the kernel may hold for us: a burst of thousands must not overrun us.
constexpr int kReceiveBuffer = 8 * 1024 * 1024;
// With more distinct hints than this, "look at everything" says the same in fewer words.
constexpr size_t kMaxHints = 1024;
// With more neighbours than this, "look at the device's" does.
constexpr size_t kMaxNeighbours = 64;
// Datagrams read between two looks at the clock and the stop flag.
constexpr int kBurst = 256;
// Milliseconds a burst may go on unread once it has begun: to be woken for every message of it costs more than to read it. The
// receive buffer holds thousands of messages more than the kernel sends meanwhile.
constexpr int64_t kUnread = 10;
constexpr size_t kMaxGroups = 32;

// The notification of a neighbour or an FDB entry is passed on as it came: not all tell who made the change.
struct Neighbour {
  uint64_t hint;
  std::vector<uint8_t> message;
};

struct Batch {
  std::vector<Hint> hints;
  std::vector<Neighbour> neighbours;
  bool overrun = false;
};

class Monitor;
void Deliver(Napi::Env env, Napi::Function on_hints, Monitor* monitor, Batch* batch);
using Channel = Napi::TypedThreadSafeFunction<Monitor, Batch, Deliver>;

// Made and destroyed on the JS thread.
class Monitor : public std::enable_shared_from_this<Monitor> {
 public:
  // JS thread. On failure nothing is left running.
  Failure Open(Napi::Env env, int protocol, std::vector<uint32_t> groups, int netns_fd, int quiet_ms,
               uint32_t own_port, int only_type, Napi::Function on_hints);
  // JS thread. Nothing is delivered after it. Idempotent.
  void Close() { thread_.Stop(); }
  bool closed() const { return thread_.stopping(); }
  // JS thread: the batch has arrived, the next may be sent.
  void Arrived() {
    in_flight_.store(false, std::memory_order_release);
    thread_.Wake();
  }

 private:
  static void ThreadMain(void* self);

  // Helper thread.
  void Loop();
  // In the calling thread's namespace.
  Failure Connect();
  // Reads what there is, or kBurst of it. False when the socket has failed for good.
  bool Read();
  bool IsOwn(const nlmsghdr& header) const;
  bool IsWaiting() const { return !hints_.empty() || !neighbours_.empty() || overrun_; }
  // Something is going to be noted.
  void Begin();
  void Note(const Hint& hint);
  // `size` bytes from its header on.
  void NoteNeighbour(const Hint& hint, const uint8_t* message, size_t size);
  void Lost();
  void Post();

  Thread thread_;
  Channel channel_;
  std::atomic<bool> in_flight_{false};

  // Set before the thread starts, then only the thread's.
  NetlinkSocket socket_;
  int protocol_ = 0;
  std::vector<uint32_t> groups_;
  int netns_fd_ = -1;
  int quiet_ms_ = 0;
  uint32_t own_port_ = 0;
  int only_type_ = -1;  // nlmsg_type; -1: all
  std::unordered_set<uint64_t> hints_;
  std::vector<Neighbour> neighbours_;
  bool overrun_ = false;
  int64_t due_ = 0;      // when to post, if there is anything to
  bool more_ = false;    // the last Read() ended before it had everything

  Failure open_failure_;
  std::binary_semaphore opened_{0};
};

Failure Monitor::Open(Napi::Env env, int protocol, std::vector<uint32_t> groups, int netns_fd, int quiet_ms,
                      uint32_t own_port, int only_type, Napi::Function on_hints) {
  protocol_ = protocol;
  only_type_ = only_type;
  groups_ = std::move(groups);
  netns_fd_ = netns_fd;
  quiet_ms_ = quiet_ms;
  own_port_ = own_port;
  channel_ = OpenChannel<Channel>(env, on_hints, "loden netlink monitor", shared_from_this(), &thread_);
  Failure failure = thread_.Start(&Monitor::ThreadMain, this);
  if (failure) {
    channel_.Release();
    return failure;
  }
  opened_.acquire();
  return open_failure_;
}

void Monitor::ThreadMain(void* self) {
  auto* monitor = static_cast<Monitor*>(self);
  Failure failure = EnterNetns(monitor->netns_fd_);
  if (!failure) failure = monitor->Connect();
  monitor->open_failure_ = failure;
  monitor->opened_.release();
  if (!failure) monitor->Loop();
  monitor->socket_.Close();
  monitor->channel_.Release();
}

Failure Monitor::Connect() {
  const Failure failure = socket_.Open(protocol_, kReceiveBuffer, 0, groups_);
  if (failure || only_type_ < 0) return failure;
  return socket_.Only(static_cast<uint16_t>(only_type_));
}

void Monitor::Loop() {
  bool alive = true;
  while (!thread_.stopping()) {
    const bool waiting = IsWaiting();
    const bool may_post = waiting && !in_flight_.load(std::memory_order_acquire);
    const int64_t left = due_ - NowMs();
    if (may_post && left <= 0) {
      Post();
      continue;
    }
    // While JavaScript is busy with the last batch, this one grows; Arrived() wakes us. Nobody needs to be told at once of
    // what comes after the first of a burst, so it is read now and then, and before the batch goes.
    pollfd ready[2] = {{thread_.wake_fd(), POLLIN, 0}, {alive && !waiting ? socket_.fd() : -1, POLLIN, 0}};
    int64_t timeout = waiting && alive ? kUnread : -1;
    if (may_post) timeout = alive ? std::min(left, kUnread) : left;
    poll(ready, 2, more_ ? 0 : static_cast<int>(std::min<int64_t>(timeout, INT_MAX)));
    if (ready[0].revents != 0) thread_.ClearWake();
    if (alive && (waiting || ready[1].revents != 0)) alive = Read();
  }
}

bool Monitor::Read() {
  more_ = false;
  for (int i = 0; i < kBurst; i++) {
    switch (socket_.Receive()) {
      case NetlinkSocket::Got::kNothing:
        return true;
      case NetlinkSocket::Got::kOverrun:
        Lost();
        continue;
      case NetlinkSocket::Got::kFailed:
        // A new socket in the same namespace; what came in between is lost.
        Lost();
        return !Connect();
      case NetlinkSocket::Got::kData:
        break;
    }
    const uint8_t* data = socket_.data();
    const size_t size = socket_.size();
    for (size_t at = 0; at + sizeof(nlmsghdr) <= size;) {
      nlmsghdr header;
      memcpy(&header, data + at, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) {
        Lost();
        break;
      }
      const bool route = protocol_ == NETLINK_ROUTE;
      if (header.nlmsg_type >= NLMSG_MIN_TYPE && !(route && IsOwn(header))) {
        const Hint hint =
            ReadHint(route, header.nlmsg_type, data + at + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
        if (route && IsNeighbour(hint)) {
          NoteNeighbour(hint, data + at, header.nlmsg_len);
        } else {
          Note(hint);
        }
      }
      at += NLMSG_ALIGN(header.nlmsg_len);
    }
  }
  more_ = true;
  return true;
}

// Routes, and neighbours that are put, tell through which socket. What the kernel does in consequence does not.
bool Monitor::IsOwn(const nlmsghdr& header) const {
  if (own_port_ == 0 || header.nlmsg_pid != own_port_) return false;
  return header.nlmsg_type == RTM_NEWNEIGH || header.nlmsg_type == RTM_DELNEIGH ||
         header.nlmsg_type == RTM_NEWROUTE || header.nlmsg_type == RTM_DELROUTE;
}

void Monitor::Begin() {
  if (!IsWaiting()) due_ = NowMs() + quiet_ms_;
}

void Monitor::Note(const Hint& hint) {
  Begin();
  if (overrun_) return;  // everything may have changed: says it all
  hints_.insert(hint.Key());
  if (hints_.size() > kMaxHints) Lost();
}

void Monitor::NoteNeighbour(const Hint& hint, const uint8_t* message, size_t size) {
  if (overrun_ || hints_.contains(hint.Key())) return;
  if (neighbours_.size() < kMaxNeighbours) {
    Begin();
    neighbours_.push_back({hint.Key(), std::vector<uint8_t>(message, message + size)});
    return;
  }
  Note(hint);
  std::erase_if(neighbours_, [&](const Neighbour& neighbour) { return hints_.contains(neighbour.hint); });
}

void Monitor::Lost() {
  Begin();
  overrun_ = true;
  hints_.clear();
  neighbours_.clear();
}

void Monitor::Post() {
  auto batch = std::make_unique<Batch>();
  batch->overrun = overrun_;
  batch->hints.reserve(hints_.size());
  for (const uint64_t key : hints_) batch->hints.push_back(Hint::FromKey(key));
  hints_.clear();
  batch->neighbours.swap(neighbours_);
  overrun_ = false;
  in_flight_.store(true, std::memory_order_release);
  channel_.NonBlockingCall(batch.release());
}

Napi::Object ToJs(Napi::Env env, const Hint& hint) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("type", Napi::Number::New(env, hint.type));
  value.Set("ifindex", Napi::Number::New(env, hint.ifindex));
  value.Set("family", Napi::Number::New(env, hint.family));
  return value;
}

void Deliver(Napi::Env env, Napi::Function on_hints, Monitor* monitor, Batch* raw) {
  const std::unique_ptr<Batch> batch(raw);
  if (env == nullptr) return;  // the environment is going away
  monitor->Arrived();
  if (monitor->closed()) return;
  Napi::Array hints = Napi::Array::New(env);
  uint32_t count = 0;
  for (const Hint& hint : batch->hints) hints.Set(count++, ToJs(env, hint));
  for (const Neighbour& neighbour : batch->neighbours) {
    Napi::Object value = ToJs(env, Hint::FromKey(neighbour.hint));
    Napi::Uint8Array message = Napi::Uint8Array::New(env, neighbour.message.size());
    memcpy(message.Data(), neighbour.message.data(), neighbour.message.size());
    value.Set("message", message);
    hints.Set(count++, value);
  }
  on_hints.Call({hints, Napi::Boolean::New(env, batch->overrun)});
  // An exception in it is an uncaught one, as in any event callback; Node would only warn of it.
  if (env.IsExceptionPending()) napi_fatal_exception(env, env.GetAndClearPendingException().Value());
}

bool ReadGroups(const Napi::CallbackInfo& info, std::vector<uint32_t>* groups) {
  if (info[1].IsArray()) {
    const Napi::Array array = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length() && i <= kMaxGroups; i++) {
      const Napi::Value value = array.Get(i);
      const double group = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
      if (!(group >= 1 && group <= 1024)) break;
      groups->push_back(static_cast<uint32_t>(group));
    }
    if (groups->size() == array.Length() && !groups->empty() && groups->size() <= kMaxGroups) return true;
  }
  ThrowType(info.Env(), "groups must be an array of 1 to 32 group numbers");
  return false;
}

}  // namespace

Napi::Value NetlinkMonitor(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t protocol, netns_fd, quiet_ms;
  std::vector<uint32_t> groups;
  if (!IntArgument(info, 0, "protocol", 0, 255, &protocol)) return env.Undefined();
  if (!ReadGroups(info, &groups)) return env.Undefined();
  if (!IntArgument(info, 2, "netnsFd", -1, INT_MAX, &netns_fd)) return env.Undefined();
  if (!IntArgument(info, 3, "quietMs", 0, 60'000, &quiet_ms)) return env.Undefined();
  if (!info[4].IsFunction()) return ThrowType(env, "onHints must be a function");
  int64_t own_port = 0;
  if (!info[5].IsUndefined() && !IntArgument(info, 5, "ownPort", 0, UINT32_MAX, &own_port)) return env.Undefined();
  int64_t only_type = -1;
  if (!info[6].IsUndefined() && !IntArgument(info, 6, "onlyType", 0, UINT16_MAX, &only_type)) return env.Undefined();

  auto monitor = std::make_shared<Monitor>();
  const Failure failure = monitor->Open(env, static_cast<int>(protocol), std::move(groups), static_cast<int>(netns_fd),
                                        static_cast<int>(quiet_ms), static_cast<uint32_t>(own_port),
                                        static_cast<int>(only_type), info[4].As<Napi::Function>());
  if (failure) return Throw(env, failure, "cannot watch netlink");

  // It runs until close(), whether or not the object is still held: the callback is what the caller wants.
  Napi::Object object = Napi::Object::New(env);
  object.Set("close", Napi::Function::New(
                          env, [monitor](const Napi::CallbackInfo&) { monitor->Close(); }, "close"));
  return object;
}

}  // namespace loden

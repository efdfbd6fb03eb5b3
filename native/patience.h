// System calls that may hang, each on a helper thread, and a promise for each that does not hang with it.
#pragma once

#include <napi.h>
#include <pthread.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "failure.h"
#include "thread.h"

namespace loden {

// One call. Destroyed on any thread, without having been settled when its time ran out first: what it got it lets go.
class Call {
 public:
  virtual ~Call() = default;
  // A helper thread.
  virtual void Work() = 0;
  // JS thread, after Work().
  virtual void Settle(Napi::Env env, const Napi::Promise::Deferred& promise) = 0;
};

// What a promise comes to when the time is over.
using Late = void (*)(Napi::Env env, const Napi::Promise::Deferred& promise, const std::string& about);

class Patience;
struct Answer {
  uint64_t id = 0;
  std::unique_ptr<Call> call;  // none: the time is over
};
void Deliver(Napi::Env env, Napi::Function, Patience* patience, Answer* answer);

// The helper threads for one kind of call. They are never waited for: a hung one ends with the process.
class Patience : public std::enable_shared_from_this<Patience> {
 public:
  // Does the call itself end when `timeout_ms` is over? If so it is only its wait for a helper that is cut short.
  explicit Patience(bool ends_itself) : ends_itself_(ends_itself) {}

  // JS thread. The promise holds the event loop. `late` is called with `about`.
  Napi::Value Submit(Napi::Env env, std::unique_ptr<Call> call, int timeout_ms, Late late, std::string about);

 private:
  using Channel = Napi::TypedThreadSafeFunction<Patience, Answer, Deliver>;
  friend void Deliver(Napi::Env env, Napi::Function, Patience* patience, Answer* answer);
  struct Pending {
    Napi::Promise::Deferred promise;
    Late late;
    std::string about;
  };
  struct Queued {
    uint64_t id;
    std::unique_ptr<Call> call;
  };

  Failure Open(Napi::Env env);
  static void EnvClosing(void* self);
  static void ClockMain(void* self);
  static void* HelperMain(void* kept);
  // With mutex_ held.
  Failure StartHelper();
  void Post(uint64_t id, std::unique_ptr<Call> call);
  void Forget(uint64_t id);
  int64_t Expire();
  void Help();

  const bool ends_itself_;

  // JS thread only.
  bool opened_ = false;
  Failure open_failure_;
  std::shared_ptr<Patience> self_;  // kept until the channel is finalized
  uint64_t next_id_ = 0;
  std::map<uint64_t, Pending> pending_;
  Channel channel_;
  Thread clock_;  // tells whose time is over

  std::mutex mutex_;
  pthread_cond_t queued_{};  // set up by Open()
  bool closed_ = true;       // nothing may be posted
  std::deque<Queued> queue_;
  std::map<uint64_t, int64_t> deadlines_;
  std::set<std::pair<int64_t, uint64_t>> order_;
  int64_t looks_at_ = INT64_MAX;  // when the clock does, unless it is woken
  int helpers_ = 0;
  int idle_ = 0;
};

}  // namespace loden

#include "patience.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <climits>

#include "clock.h"
#include "js.h"

namespace loden {

namespace {
constexpr size_t kStackBytes = 256 * 1024;
// With so many hung, further calls wait until one is not, or their time is over.
constexpr int kMaxHelpers = 64;
constexpr size_t kMaxPending = 4096;
// A helper without work ends after this: calls come in bursts.
constexpr int kIdleSeconds = 10;
}  // namespace

Failure Patience::Open(Napi::Env env) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&queued_, &monotonic);
  pthread_condattr_destroy(&monotonic);

  self_ = shared_from_this();
  channel_ = Channel::New(
      env, "loden patience", 0, 1, this,
      [](Napi::Env finalizing, void*, Patience* self) {
        napi_remove_env_cleanup_hook(finalizing, &Patience::EnvClosing, self);
        self->clock_.Join();
        const std::shared_ptr<Patience> last = std::move(self->self_);
      },
      static_cast<void*>(nullptr));
  channel_.Unref(env);
  // Added after the channel's own hook, so it runs before it: nobody posts when the channel goes.
  napi_add_env_cleanup_hook(env, &Patience::EnvClosing, this);
  closed_ = false;
  const Failure failure = clock_.Start(&Patience::ClockMain, this, "loden-patience");
  if (failure) {
    closed_ = true;
    channel_.Release();
  }
  return failure;
}

void Patience::EnvClosing(void* self) {
  auto* patience = static_cast<Patience*>(self);
  patience->clock_.Stop();
  patience->clock_.Join();
}

Napi::Value Patience::Submit(Napi::Env env, std::unique_ptr<Call> call, int timeout_ms, Late late, std::string about) {
  const Napi::Promise::Deferred promise = Napi::Promise::Deferred::New(env);
  if (!std::exchange(opened_, true)) open_failure_ = Open(env);
  Failure failure = open_failure_;
  if (!failure && pending_.size() >= kMaxPending) failure = {EAGAIN, "pthread_create"};
  if (!failure) {
    const std::lock_guard lock(mutex_);
    // Without any helper nobody would come.
    if (queue_.size() >= static_cast<size_t>(idle_) && helpers_ < kMaxHelpers) failure = StartHelper();
    if (helpers_ > 0) failure = {};
    if (!failure) {
      const uint64_t id = next_id_++;
      const int64_t deadline = NowMs() + timeout_ms;
      // The clock is woken only for what is due before it will look again.
      const bool sooner = deadline < looks_at_;
      deadlines_.emplace(id, deadline);
      order_.emplace(deadline, id);
      queue_.push_back({id, std::move(call)});
      pthread_cond_signal(&queued_);
      if (sooner) {
        looks_at_ = deadline;
        clock_.Wake();
      }
      if (pending_.empty()) channel_.Ref(env);
      pending_.emplace(id, Pending{promise, late, std::move(about)});
      return promise.Promise();
    }
  }
  promise.Reject(MakeError(env, failure, about).Value());
  return promise.Promise();
}

Failure Patience::StartHelper() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto kept = std::make_unique<std::shared_ptr<Patience>>(shared_from_this());
  pthread_t id;
  const int error = pthread_create(&id, &attributes, &Patience::HelperMain, kept.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) return {error, "pthread_create"};
  (void)kept.release();
  ++helpers_;
  return {};
}

void* Patience::HelperMain(void* kept) {
  const std::unique_ptr<std::shared_ptr<Patience>> patience(static_cast<std::shared_ptr<Patience>*>(kept));
  pthread_setname_np(pthread_self(), "loden-helper");
  (*patience)->Help();
  return nullptr;
}

void Patience::Help() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    if (queue_.empty()) {
      timespec until{};
      clock_gettime(CLOCK_MONOTONIC, &until);
      until.tv_sec += kIdleSeconds;
      ++idle_;
      const int waited = pthread_cond_timedwait(&queued_, mutex_.native_handle(), &until);
      --idle_;
      if (waited == ETIMEDOUT && queue_.empty()) break;
      continue;
    }
    Queued next = std::move(queue_.front());
    queue_.pop_front();
    if (ends_itself_) Forget(next.id);
    lock.unlock();
    next.call->Work();
    lock.lock();
    Forget(next.id);
    Post(next.id, std::move(next.call));
  }
  --helpers_;
}

void Patience::Forget(uint64_t id) {
  const auto it = deadlines_.find(id);
  if (it == deadlines_.end()) return;
  order_.erase({it->second, id});
  deadlines_.erase(it);
}

void Patience::Post(uint64_t id, std::unique_ptr<Call> call) {
  if (closed_) return;
  auto answer = std::make_unique<Answer>(Answer{id, std::move(call)});
  if (channel_.NonBlockingCall(answer.get()) == napi_ok) (void)answer.release();
}

int64_t Patience::Expire() {
  const std::lock_guard lock(mutex_);
  const int64_t now = NowMs();
  while (!order_.empty()) {
    const auto [deadline, id] = *order_.begin();
    if (deadline > now) {
      looks_at_ = deadline;
      return deadline - now;
    }
    Forget(id);
    std::erase_if(queue_, [&](const Queued& queued) { return queued.id == id; });
    Post(id, nullptr);
  }
  looks_at_ = INT64_MAX;
  return -1;
}

void Patience::ClockMain(void* self) {
  auto* patience = static_cast<Patience*>(self);
  while (!patience->clock_.stopping()) {
    const int64_t left = patience->Expire();
    pollfd wake{patience->clock_.wake_fd(), POLLIN, 0};
    poll(&wake, 1, static_cast<int>(std::min<int64_t>(left, INT_MAX)));
    patience->clock_.ClearWake();
  }
  {
    const std::lock_guard lock(patience->mutex_);
    patience->closed_ = true;
    patience->queue_.clear();
    pthread_cond_broadcast(&patience->queued_);
  }
  patience->channel_.Release();
}

void Deliver(Napi::Env env, Napi::Function, Patience* patience, Answer* raw) {
  const std::unique_ptr<Answer> answer(raw);
  if (env == nullptr) return;  // the environment is going away, and with it whoever waited
  const auto it = patience->pending_.find(answer->id);
  if (it == patience->pending_.end()) return;  // too late
  const Patience::Pending pending = std::move(it->second);
  patience->pending_.erase(it);
  if (patience->pending_.empty()) patience->channel_.Unref(env);
  if (answer->call) {
    answer->call->Settle(env, pending.promise);
  } else {
    pending.late(env, pending.promise, pending.about);
  }
}

}  // namespace loden

#include "exchanger.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "clock.h"
#include "js.h"

namespace loden {

namespace {
// What one exchange may bring back: a dump of about 600,000 routes. Beyond it something is wrong.
constexpr size_t kMaxReplyBytes = 64 * 1024 * 1024;
}  // namespace

Failure Exchanger::Open(Napi::Env env, int protocol, int netns_fd, int rcvbuf, bool wait) {
  // The caller may close its own before the thread has begun.
  if (!wait && netns_fd >= 0 && (netns_fd = fcntl(netns_fd, F_DUPFD_CLOEXEC, 3)) < 0) return {errno, "fcntl"};
  protocol_ = protocol;
  netns_fd_ = netns_fd;
  rcvbuf_ = rcvbuf;
  waited_ = wait;
  self_ = shared_from_this();
  channel_ = Channel::New(
      env, "loden netlink", 0, 1, this,
      [](Napi::Env finalizing, void*, Exchanger* self) {
        napi_remove_env_cleanup_hook(finalizing, &Exchanger::EnvClosing, self);
        self->thread_.Join();
        const std::shared_ptr<Exchanger> last = std::move(self->self_);
      },
      static_cast<void*>(nullptr));
  channel_.Unref(env);
  // Added after the channel's own hook, so it runs before it: the thread is gone when the channel goes.
  napi_add_env_cleanup_hook(env, &Exchanger::EnvClosing, this);

  Failure failure = thread_.Start(&Exchanger::ThreadMain, this);
  if (failure) {
    if (!wait && netns_fd_ >= 0) close(netns_fd_);
    channel_.Release();
    return failure;
  }
  if (!wait) return {};
  opened_.acquire();  // setns and socket take microseconds, but to start a thread a hundred
  return open_failure_;
}

void Exchanger::EnvClosing(void* self) {
  auto* exchanger = static_cast<Exchanger*>(self);
  exchanger->thread_.Stop();
  exchanger->thread_.Join();
}

void Exchanger::Submit(Napi::Env env, std::unique_ptr<Job> job) {
  if (pending_++ == 0) channel_.Ref(env);
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  thread_.Wake();
}

void Exchanger::ThreadMain(void* self) {
  auto* exchanger = static_cast<Exchanger*>(self);
  Failure failure = EnterNetns(exchanger->netns_fd_);
  if (!exchanger->waited_ && exchanger->netns_fd_ >= 0) close(exchanger->netns_fd_);
  if (!failure) failure = exchanger->socket_.Open(exchanger->protocol_, exchanger->rcvbuf_, 0, {});
  exchanger->open_failure_ = failure;
  exchanger->port_ = exchanger->socket_.port();
  exchanger->opened_.release();
  if (!failure || !exchanger->waited_) exchanger->Loop();
  exchanger->socket_.Close();
  exchanger->channel_.Release();
}

std::unique_ptr<Job> Exchanger::Next() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return nullptr;
  std::unique_ptr<Job> job = std::move(queue_.front());
  queue_.pop_front();
  return job;
}

void Exchanger::Loop() {
  while (!thread_.stopping()) {
    if (std::unique_ptr<Job> job = Next()) {
      Run(*job);
      channel_.NonBlockingCall(job.release());
      continue;
    }
    pollfd wake{thread_.wake_fd(), POLLIN, 0};
    poll(&wake, 1, -1);
    thread_.ClearWake();
  }
  // JavaScript has been told that it is closed, so nothing is added behind this.
  while (std::unique_ptr<Job> job = Next()) {
    job->failure = {ECANCELED, "close"};
    channel_.NonBlockingCall(job.release());
  }
}

void Exchanger::Run(Job& job) {
  if (open_failure_) {
    job.failure = open_failure_;
    return;
  }
  if (job.is_sysctls) {
    for (Sysctl& sysctl : job.sysctls) sysctl.Run();
    return;
  }
  const int64_t deadline = NowMs() + job.timeout_ms;
  if (socket_.fd() < 0) Reopen();
  job.failure = socket_.Send(job.request);
  job.request = {};
  if (job.failure) return;
  for (;;) {
    switch (socket_.Receive()) {
      case NetlinkSocket::Got::kData:
        if (Take(job)) return;
        if (!job.failure) continue;
        break;
      case NetlinkSocket::Got::kOverrun:
        job.overrun = true;
        continue;
      case NetlinkSocket::Got::kFailed:
        job.failure = socket_.failure();
        break;
      case NetlinkSocket::Got::kNothing: {
        // The kernel answers before send() returns, and goes on with a dump as we read: after a loss nothing more
        // comes, and the last answer may be among the lost.
        if (job.overrun) return;
        const int64_t left = deadline - NowMs();
        if (left <= 0) {
          job.failure = {ETIMEDOUT, "recvmsg"};
          break;
        }
        pollfd ready[2] = {{socket_.fd(), POLLIN, 0}, {thread_.wake_fd(), POLLIN, 0}};
        poll(ready, 2, static_cast<int>(std::min<int64_t>(left, INT_MAX)));
        if (thread_.stopping()) {
          job.failure = {ECANCELED, "close"};
          return;
        }
        // Woken for a queued job, which Loop() will find without being woken.
        if (ready[1].revents != 0) thread_.ClearWake();
        continue;
      }
    }
    Reopen();
    return;
  }
}

bool Exchanger::Take(Job& job) {
  const uint8_t* data = socket_.data();
  const size_t size = socket_.size();
  const uint32_t span = job.last_seq - job.first_seq;  // sequence numbers wrap
  for (size_t at = 0; at + sizeof(nlmsghdr) <= size;) {
    nlmsghdr header;
    memcpy(&header, data + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) {
      job.failure = {EBADMSG, "recvmsg"};
      return false;
    }
    const size_t next = std::min<size_t>(at + NLMSG_ALIGN(header.nlmsg_len), size);
    if (header.nlmsg_pid == port_ && header.nlmsg_seq - job.first_seq <= span) {
      if (job.reply.size() + (next - at) > kMaxReplyBytes) {
        job.failure = {EMSGSIZE, "recvmsg"};
        return false;
      }
      job.reply.insert(job.reply.end(), data + at, data + next);
      const bool ends = header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE;
      if (ends && header.nlmsg_seq == job.last_seq) return true;
    }
    at = next;
  }
  return false;
}

void Exchanger::Reopen() {
  // The same port id, so that portId stays true; this thread has never left the namespace.
  if (socket_.Open(protocol_, rcvbuf_, port_, {})) socket_.Close();
}

namespace {
Napi::Value ToJs(Napi::Env env, const Sysctl& done) {
  if (!done.failure) {
    if (done.value) return Napi::Boolean::New(env, true);
    return Napi::String::New(env, done.text);
  }
  Napi::Object value = Napi::Object::New(env);
  value.Set("code", Napi::String::New(env, ErrorName(done.failure)));
  return value;
}
}  // namespace

void Deliver(Napi::Env env, Napi::Function, Exchanger* exchanger, Job* raw) {
  const std::unique_ptr<Job> job(raw);
  if (env == nullptr) return;  // the environment is going away, and with it whoever waited
  exchanger->Finished(env);
  if (job->failure) {
    job->deferred.Reject(MakeError(env, job->failure, "netlink exchange").Value());
    return;
  }
  if (job->is_sysctls) {
    Napi::Array results = Napi::Array::New(env, job->sysctls.size());
    for (uint32_t i = 0; i < job->sysctls.size(); i++) results.Set(i, ToJs(env, job->sysctls[i]));
    job->deferred.Resolve(results);
    return;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("data", Napi::Buffer<uint8_t>::Copy(env, job->reply.data(), job->reply.size()));
  result.Set("overrun", Napi::Boolean::New(env, job->overrun));
  job->deferred.Resolve(result);
}

}  // namespace loden

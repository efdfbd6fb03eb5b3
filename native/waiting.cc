#include "waiting.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <memory>
#include <string>
#include <utility>

#include "clock.h"
#include "js.h"
#include "patience.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace loden {
namespace {

class OpenNetns : public Call {
 public:
  explicit OpenNetns(std::string path) : path_(std::move(path)) {}
  ~OpenNetns() override {
    if (fd_ >= 0) close(fd_);
  }

  // JS thread, instead of Work(): where the path leads through nothing that could keep anybody waiting, this takes microseconds,
  // and to wake a thread a hundred. False: not so, and nothing has been done.
  bool WorkNow() {
    open_how how{};
    how.flags = O_PATH | O_CLOEXEC;
    // Only what the kernel knows without asking any file system (since Linux 5.12).
    how.resolve = RESOLVE_CACHED;
    const int seen = static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path_.c_str(), &how, sizeof how));
    if (seen < 0) return false;
    struct statx stat {};
    const bool is_namespace = statx(seen, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stat) == 0 &&
                              makedev(stat.stx_dev_major, stat.stx_dev_minor) == NamespaceDevice();
    if (is_namespace) Open(seen);
    close(seen);
    return is_namespace;
  }

  void Work() override {
    // Only looked at first: to open a device or a FIFO can mean something to it.
    const int seen = open(path_.c_str(), O_PATH | O_CLOEXEC);
    if (seen < 0) {
      failure_ = {errno, "open"};
      return;
    }
    struct statfs system {};
    if (fstatfs(seen, &system) != 0 || system.f_type != NSFS_MAGIC) {
      failure_ = {EINVAL, "statfs"};
    } else {
      Open(seen);
    }
    close(seen);
  }

  void Settle(Napi::Env env, const Napi::Promise::Deferred& promise) override {
    if (failure_) {
      promise.Reject(MakeError(env, failure_, About(path_)).Value());
      return;
    }
    Napi::Object value = Napi::Object::New(env);
    value.Set("fd", Napi::Number::New(env, std::exchange(fd_, -1)));
    value.Set("dev", Napi::BigInt::New(env, static_cast<uint64_t>(identity_.st_dev)));
    value.Set("ino", Napi::BigInt::New(env, static_cast<uint64_t>(identity_.st_ino)));
    promise.Resolve(value);
  }

  static std::string About(const std::string& path) { return "network namespace " + path; }

 private:
  // All namespaces are on one file system. 0: it cannot be told.
  static dev_t NamespaceDevice() {
    static const dev_t device = [] {
      struct stat own {};
      return stat("/proc/self/ns/net", &own) == 0 ? own.st_dev : 0;
    }();
    return device;
  }

  // What is at `seen`, which is on nsfs.
  void Open(int seen) {
    const std::string again = "/proc/self/fd/" + std::to_string(seen);
    fd_ = open(again.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) failure_ = {errno, "open"};
    if (!failure_ && ioctl(fd_, NS_GET_NSTYPE) != CLONE_NEWNET) failure_ = {EINVAL, "ioctl NS_GET_NSTYPE"};
    if (!failure_ && fstat(fd_, &identity_) != 0) failure_ = {errno, "fstat"};
  }

  const std::string path_;
  int fd_ = -1;
  struct stat identity_ {};
  Failure failure_;
};

// Interrupts flock() on the thread that asked for it, and means nothing to anybody else. Not one that libc, Node or V8 use.
int InterruptSignal() { return SIGRTMAX - 3; }

class WaitForLock : public Call {
 public:
  // `fd` becomes its own.
  WaitForLock(int fd, int64_t deadline) : fd_(fd), deadline_(deadline) {}
  ~WaitForLock() override {
    if (locked_) flock(fd_, LOCK_UN);
    close(fd_);
  }

  void Work() override {
    // After the deadline a signal comes every millisecond until this thread has noticed: the first may come too early.
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = InterruptSignal();
    event.sigev_notify_thread_id = static_cast<int>(syscall(SYS_gettid));
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
      failure_ = {errno, "timer_create"};
      return;
    }
    itimerspec when{};
    when.it_value.tv_sec = deadline_ / 1000;
    when.it_value.tv_nsec = deadline_ % 1000 * 1'000'000;
    when.it_interval.tv_nsec = 1'000'000;
    timer_settime(timer, TIMER_ABSTIME, &when, nullptr);
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, InterruptSignal());
    pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
    while (NowMs() < deadline_) {
      locked_ = flock(fd_, LOCK_EX) == 0;
      if (locked_) break;
      if (errno != EINTR) {
        failure_ = {errno, "flock"};
        break;
      }
    }
    pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
    timer_delete(timer);
  }

  void Settle(Napi::Env env, const Napi::Promise::Deferred& promise) override {
    if (failure_) {
      promise.Reject(MakeError(env, failure_, "cannot lock the file").Value());
      return;
    }
    promise.Resolve(Napi::Boolean::New(env, std::exchange(locked_, false)));
  }

 private:
  const int fd_;
  const int64_t deadline_;
  bool locked_ = false;  // and nobody told
  Failure failure_;
};

Napi::Value NetnsOpen(const Napi::CallbackInfo& info, const std::shared_ptr<Patience>& patience) {
  const Napi::Env env = info.Env();
  int64_t timeout_ms;
  if (!info[0].IsString()) return ThrowType(env, "path must be a string");
  std::string path = info[0].As<Napi::String>();
  if (path.find('\0') != path.npos) return ThrowType(env, "path must be without zero bytes");
  if (!IntArgument(info, 1, "timeoutMs", 0, INT_MAX, &timeout_ms)) return env.Undefined();
  const Late late = [](Napi::Env in, const Napi::Promise::Deferred& promise, const std::string& about) {
    promise.Reject(MakeError(in, {ETIMEDOUT, "open"}, about).Value());
  };
  std::string about = OpenNetns::About(path);
  auto call = std::make_unique<OpenNetns>(std::move(path));
  if (call->WorkNow()) {
    const Napi::Promise::Deferred promise = Napi::Promise::Deferred::New(env);
    call->Settle(env, promise);
    return promise.Promise();
  }
  return patience->Submit(env, std::move(call), static_cast<int>(timeout_ms), late,
                          std::move(about));
}

Napi::Value FlockWait(const Napi::CallbackInfo& info, const std::shared_ptr<Patience>& patience) {
  const Napi::Env env = info.Env();
  int64_t fd, timeout_ms;
  if (!IntArgument(info, 0, "fd", 0, INT_MAX, &fd)) return env.Undefined();
  if (!IntArgument(info, 1, "timeoutMs", 0, INT_MAX, &timeout_ms)) return env.Undefined();
  const Napi::Promise::Deferred promise = Napi::Promise::Deferred::New(env);
  // Mostly nobody has it.
  if (flock(static_cast<int>(fd), LOCK_EX | LOCK_NB) == 0) {
    promise.Resolve(Napi::Boolean::New(env, true));
    return promise.Promise();
  }
  Failure failure;
  if (errno != EWOULDBLOCK && errno != EINTR) failure = {errno, "flock"};
  // The caller may close its own before it is over.
  int own = -1;
  if (!failure && (own = fcntl(static_cast<int>(fd), F_DUPFD_CLOEXEC, 3)) < 0) failure = {errno, "fcntl"};
  if (failure) {
    promise.Reject(MakeError(env, failure, "cannot lock the file").Value());
    return promise.Promise();
  }
  const Late late = [](Napi::Env in, const Napi::Promise::Deferred& deferred, const std::string&) {
    deferred.Resolve(Napi::Boolean::New(in, false));
  };
  return patience->Submit(env, std::make_unique<WaitForLock>(own, NowMs() + timeout_ms), static_cast<int>(timeout_ms),
                          late, "cannot lock the file");
}

}  // namespace

void AddWaiting(Napi::Env env, Napi::Object exports) {
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  // Without SA_RESTART: what is interrupted is to come back.
  sigaction(InterruptSignal(), &nothing, nullptr);

  const auto opening = std::make_shared<Patience>(false);
  const auto locking = std::make_shared<Patience>(true);
  exports.Set("netnsOpen", Napi::Function::New(
                               env, [opening](const Napi::CallbackInfo& info) { return NetnsOpen(info, opening); },
                               "netnsOpen"));
  exports.Set("flockWait", Napi::Function::New(
                               env, [locking](const Napi::CallbackInfo& info) { return FlockWait(info, locking); },
                               "flockWait"));
}

}  // namespace loden

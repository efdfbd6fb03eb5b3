// A netlink socket with its thread, its queue of jobs and the way back to JavaScript.
#pragma once

#include <napi.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <semaphore>
#include <utility>
#include <vector>

#include "failure.h"
#include "netlink_socket.h"
#include "sysctl.h"
#include "thread.h"

namespace loden {

class Exchanger;

// What the functions of the JS object and unfinished jobs hold; when the last lets go, the socket closes.
struct Handle {
  explicit Handle(std::shared_ptr<Exchanger> opened) : exchanger(std::move(opened)) {}
  inline ~Handle();
  const std::shared_ptr<Exchanger> exchanger;
};

// One call of exchange() or sysctls(). Owned by whichever side is working on it; never shared.
struct Job {
  Job(Napi::Promise::Deferred promise, std::shared_ptr<Handle> keep) : deferred(promise), handle(std::move(keep)) {}

  Napi::Promise::Deferred deferred;  // JS thread only
  std::shared_ptr<Handle> handle;    // JS thread only: destroyed where the job is
  bool is_sysctls = false;
  std::vector<Sysctl> sysctls;  // of sysctls()
  std::vector<uint8_t> request;
  uint32_t first_seq = 0;
  uint32_t last_seq = 0;
  int timeout_ms = 0;

  std::vector<uint8_t> reply;
  bool overrun = false;
  Failure failure;
};

void Deliver(Napi::Env env, Napi::Function, Exchanger* exchanger, Job* job);
using Channel = Napi::TypedThreadSafeFunction<Exchanger, Job, Deliver>;

// The socket, its thread and the way back to JavaScript. Made and destroyed on the JS thread.
class Exchanger : public std::enable_shared_from_this<Exchanger> {
 public:
  // JS thread. On failure nothing is left running. `wait` false: returns at once, without the port id; that it could not be
  // opened is what every job comes back with.
  Failure Open(Napi::Env env, int protocol, int netns_fd, int rcvbuf, bool wait);
  // JS thread. Known once it is open.
  uint32_t port() const { return port_; }
  // JS thread.
  void Submit(Napi::Env env, std::unique_ptr<Job> job);
  // JS thread. Every job still unfinished comes back with ECANCELED. Idempotent.
  void Close() { thread_.Stop(); }
  bool closed() const { return thread_.stopping(); }

  // JS thread: a job came back. The loop is held only while jobs are out.
  void Finished(Napi::Env env) {
    if (--pending_ == 0) channel_.Unref(env);
  }

 private:
  static void EnvClosing(void* self);
  static void ThreadMain(void* self);

  // Helper thread.
  void Loop();
  void Run(Job& job);
  // Keeps what belongs to the job; true when the last answer is in.
  bool Take(Job& job);
  // The kernel is not finished with the request, we are: a new socket has no leftovers.
  void Reopen();
  std::unique_ptr<Job> Next();

  // Kept until the channel is finalized, which is when the thread has ended or the environment goes.
  std::shared_ptr<Exchanger> self_;
  Thread thread_;
  Channel channel_;
  size_t pending_ = 0;  // JS thread only

  std::mutex mutex_;
  std::deque<std::unique_ptr<Job>> queue_;  // under mutex_

  // Set before the thread starts, or by it before `opened_`; then only the thread's.
  NetlinkSocket socket_;
  int protocol_ = 0;
  int netns_fd_ = -1;  // its own when it is not waited for
  bool waited_ = true;
  int rcvbuf_ = 0;
  Failure open_failure_;
  uint32_t port_ = 0;
  std::binary_semaphore opened_{0};
};

Handle::~Handle() { exchanger->Close(); }

}  // namespace loden

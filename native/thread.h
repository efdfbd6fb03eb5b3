// A helper thread with a small stack and all signals blocked, and the eventfd that wakes it.
#pragma once

#include <pthread.h>

#include <atomic>

#include "failure.h"

namespace loden {

class Thread {
 public:
  Thread() = default;
  ~Thread();
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  // Starts `body(arg)` under a name of at most 15 bytes. Called once, by the owner.
  Failure Start(void (*body)(void*), void* arg, const char* name = "loden-netlink");
  // Asks the thread to end and wakes it. Any thread.
  void Stop();
  bool stopping() const { return stop_.load(std::memory_order_acquire); }
  // Makes wake_fd() readable. Any thread.
  void Wake();
  // Makes wake_fd() unreadable again. The helper.
  void ClearWake();
  int wake_fd() const { return wake_fd_; }
  // Waits for the end of the thread. The owner only; idempotent.
  void Join();

 private:
  static void* Run(void* self);

  pthread_t id_{};
  bool joinable_ = false;
  std::atomic<bool> stop_{false};
  int wake_fd_ = -1;
  void (*body_)(void*) = nullptr;
  void* arg_ = nullptr;
  const char* name_ = nullptr;
};

}  // namespace loden

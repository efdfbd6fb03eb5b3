#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace loden {

namespace {
// Buffers live on the heap; nothing here recurses.
constexpr size_t kStackBytes = 256 * 1024;
}  // namespace

Thread::~Thread() {
  Stop();
  Join();
  if (wake_fd_ >= 0) close(wake_fd_);
}

Failure Thread::Start(void (*body)(void*), void* arg, const char* name) {
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) return {errno, "eventfd"};
  body_ = body;
  arg_ = arg;
  name_ = name;

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  // The thread inherits the mask: Node's signal handling stays on Node's threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&id_, &attributes, &Thread::Run, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) return {error, "pthread_create"};
  joinable_ = true;
  return {};
}

void* Thread::Run(void* self) {
  auto* thread = static_cast<Thread*>(self);
  pthread_setname_np(pthread_self(), thread->name_);
  thread->body_(thread->arg_);
  return nullptr;
}

void Thread::Stop() {
  stop_.store(true, std::memory_order_release);
  Wake();
}

void Thread::Wake() {
  if (wake_fd_ < 0) return;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the thread is awake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

void Thread::ClearWake() {
  uint64_t count;
  [[maybe_unused]] const ssize_t got = read(wake_fd_, &count, sizeof count);
}

void Thread::Join() {
  if (!joinable_) return;
  pthread_join(id_, nullptr);
  joinable_ = false;
}

}  // namespace loden

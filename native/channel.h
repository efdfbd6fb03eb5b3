// The way from a helper thread back to JavaScript.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "thread.h"

namespace loden {

// Opens a channel that holds `owner` until the thread has released it or the environment goes; in either case the thread has ended before. Does not hold
// the event loop. JS thread; `thread`, a part of the owner, is to be started afterwards.
template <typename Channel, typename Owner>
Channel OpenChannel(Napi::Env env, Napi::Function callback, const char* name, std::shared_ptr<Owner> owner,
                    Thread* thread) {
  struct Held {
    std::shared_ptr<Owner> owner;
    Thread* thread;
    static void EnvClosing(void* thread) {
      static_cast<Thread*>(thread)->Stop();
      static_cast<Thread*>(thread)->Join();
    }
  };
  Owner* context = owner.get();
  Channel channel = Channel::New(
      env, callback, name, 0, 1, context,
      [](Napi::Env finalizing, Held* held, Owner*) {
        napi_remove_env_cleanup_hook(finalizing, &Held::EnvClosing, held->thread);
        held->thread->Join();
        delete held;
      },
      new Held{std::move(owner), thread});
  channel.Unref(env);
  // Added after the channel's own hook, so it runs before it: the thread is gone when the channel goes.
  napi_add_env_cleanup_hook(env, &Held::EnvClosing, thread);
  return channel;
}

}  // namespace loden

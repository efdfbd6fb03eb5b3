// Functions that wait for somebody else, without the event loop and libuv's threads.
#pragma once

#include <napi.h>

namespace loden {

// Adds netnsOpen(path, timeoutMs) and flockWait(fd, timeoutMs).
void AddWaiting(Napi::Env env, Napi::Object exports);

}  // namespace loden

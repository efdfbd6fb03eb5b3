// The module's functions, as src/native/addon.ts declares them.
#include <napi.h>

#include "exchange.h"
#include "monitor.h"
#include "sys.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("netlinkOpen", Napi::Function::New<loden::NetlinkOpen>(env, "netlinkOpen"));
  exports.Set("netlinkMonitor", Napi::Function::New<loden::NetlinkMonitor>(env, "netlinkMonitor"));
  exports.Set("sdNotify", Napi::Function::New<loden::SdNotify>(env, "sdNotify"));
  exports.Set("flockTry", Napi::Function::New<loden::FlockTry>(env, "flockTry"));
  exports.Set("peerCred", Napi::Function::New<loden::PeerCred>(env, "peerCred"));
  exports.Set("bootTimeMs", Napi::Function::New<loden::BootTimeMs>(env, "bootTimeMs"));
  return exports;
}

}  // namespace

NODE_API_MODULE(loden, Init)

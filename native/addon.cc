// The module's functions, as src/native/addon.ts declares them.
#include <napi.h>

#include "descriptors.h"
#include "exchange.h"
#include "forwarder.h"
#include "handover.h"
#include "monitor.h"
#include "prober.h"
#include "sys.h"
#include "waiting.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("netlinkOpen", Napi::Function::New<loden::NetlinkOpen>(env, "netlinkOpen"));
  exports.Set("netlinkMonitor", Napi::Function::New<loden::NetlinkMonitor>(env, "netlinkMonitor"));
  exports.Set("prober", Napi::Function::New<loden::NewProber>(env, "prober"));
  exports.Set("sdNotify", Napi::Function::New<loden::SdNotify>(env, "sdNotify"));
  exports.Set("closeOnExec", Napi::Function::New<loden::CloseOnExec>(env, "closeOnExec"));
  exports.Set("handoverListen", Napi::Function::New<loden::HandoverListen>(env, "handoverListen"));
  exports.Set("handoverConnect", Napi::Function::New<loden::HandoverConnect>(env, "handoverConnect"));
  exports.Set("flockTry", Napi::Function::New<loden::FlockTry>(env, "flockTry"));
  exports.Set("peerCred", Napi::Function::New<loden::PeerCred>(env, "peerCred"));
  exports.Set("bootTimeMs", Napi::Function::New<loden::BootTimeMs>(env, "bootTimeMs"));
  exports.Set("clockSynchronised", Napi::Function::New<loden::ClockSynchronised>(env, "clockSynchronised"));
  exports.Set("tunCreate", Napi::Function::New<loden::TunCreate>(env, "tunCreate"));
  exports.Set("tunAttach", Napi::Function::New<loden::TunAttach>(env, "tunAttach"));
  exports.Set("tunIdentity", Napi::Function::New<loden::TunIdentity>(env, "tunIdentity"));
  exports.Set("udpOpen", Napi::Function::New<loden::UdpOpen>(env, "udpOpen"));
  exports.Set("udpIdentity", Napi::Function::New<loden::UdpIdentity>(env, "udpIdentity"));
  exports.Set("closeFds", Napi::Function::New<loden::CloseFds>(env, "closeFds"));
  exports.Set("forwarder", Napi::Function::New<loden::NewForwarder>(env, "forwarder"));
  exports.Set("forwarderLayout", Napi::Function::New<loden::ForwarderLayout>(env, "forwarderLayout"));
  loden::AddWaiting(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(loden, Init)

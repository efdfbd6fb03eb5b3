// The CNI plugin: takes a runtime's call to the daemon, and brings the answer back. docs/cni.md explains it.
#include <signal.h>

#include "config.h"
#include "contract.h"
#include "daemon.h"
#include "env.h"
#include "json.h"
#include "output.h"

namespace loden::cni {
namespace {

// A page of these costs something only when it is used.
char g_input[kLargestConfig + 1];
char g_request[kLargestRequest];
char g_answer[kLargestRequest];

int Main() {
  signal(SIGPIPE, SIG_IGN);
  const std::string_view command = Variable("CNI_COMMAND");
  if (command.empty()) return PrintAbout();
  const Input input = ReadInput(g_input, Deadline(kTimeout));
  Config config(input.text);
  if (command == "VERSION") return PrintVersions(config.has_version() ? config.version() : "1.1.0");
  if (input.why != nullptr) {
    TextOf<256> msg;
    msg.Put("error reading from stdin: ").Put(input.why);
    return Fail(config.version(), Code::kIoFailure, msg.view());
  }
  Text request(g_request, sizeof g_request);
  request.Put("{\"env\":");
  PutVariables(&request);
  request.Put(",\"stdin\":");
  PutJsonString(&request, input.text);
  request.Put(",\"netns\":\"");
  PutOwnNetns(&request);
  request.Put("\"}");
  Daemon daemon(config.socket(), g_answer);
  switch (daemon.Ask(request.view(), true)) {
    case Daemon::Reached::kAnswered:
      return Print(daemon.answer().body(), daemon.answer().status() == 200 ? 0 : 1);
    default:
      return Fail(config.version(), Code::kTryAgainLater, daemon.why(), daemon.advice());
  }
}

}  // namespace
}  // namespace loden::cni

int main() { return loden::cni::Main(); }

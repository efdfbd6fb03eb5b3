// The CNI plugin: takes a runtime's call to the daemon, and brings the answer back. docs/cni.md explains it.
#include <signal.h>

#include "call.h"
#include "config.h"
#include "contract.h"
#include "env.h"
#include "output.h"

namespace loden::cni {
namespace {

// All the memory there is. A page of it costs something only when it is used.
char g_input[kLargestConfig + 1];
char g_request[kLargestRequest];
char g_answer[kLargestRequest + HttpAnswer::kMaxHead];
char g_delegates[4 << 20];

int Main() {
  signal(SIGPIPE, SIG_IGN);
  const std::string_view command = Variable("CNI_COMMAND");
  if (command.empty()) return PrintAbout();
  const Deadline end(kCallTimeout);
  const Input input = ReadInput(g_input, end.AtMost(kTimeout));
  Config config(input.text);
  if (command == "VERSION") return PrintVersions(config.has_version() ? config.version() : "1.1.0");
  if (input.why != nullptr) {
    TextOf<256> msg;
    msg.Put("error reading from stdin: ").Put(input.why);
    return Fail(config.version(), Code::kIoFailure, msg.view());
  }
  if (!VariablesFit()) {
    return Fail(config.version(), Code::kInvalidEnvironment, "the CNI variables are together longer than 1 MiB");
  }
  Call call(command, input.text, &config, {g_request, g_answer, g_delegates}, end);
  return call.Run();
}

}  // namespace
}  // namespace loden::cni

int main() { return loden::cni::Main(); }

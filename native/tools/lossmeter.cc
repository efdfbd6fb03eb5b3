// The loss meter: sequenced UDP at a steady rate, and what of it arrived. Prints one line of JSON.
//
//   lossmeter send --to ADDR --port P (--count N | --seconds S) [--rate HZ] [--size BYTES] [--id N]
//   lossmeter receive --port P [--bind ADDR] [--seconds S] [--until-idle MS] [--id N]
//
// The receiver ends when the sender says so, after S seconds, after MS milliseconds of silence, or by SIGTERM or SIGINT.

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <map>

#include "loss.h"

namespace loss {

volatile sig_atomic_t stopped = 0;

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int Fail(const std::string& what) {
  fprintf(stderr, "lossmeter: %s: %s\n", what.c_str(), strerror(errno));
  return 1;
}

}  // namespace loss

namespace {

using loss::Address;
using Options = std::map<std::string, std::string>;

[[noreturn]] void Usage(const std::string& what) {
  fprintf(stderr,
          "lossmeter: %s\n"
          "usage: lossmeter send --to ADDR --port P (--count N | --seconds S) [--rate HZ] [--size BYTES] [--id N]\n"
          "       lossmeter receive --port P [--bind ADDR] [--seconds S] [--until-idle MS] [--id N]\n",
          what.c_str());
  exit(64);
}

Options Parse(int argc, char** argv, const std::string& known) {
  Options options;
  for (int i = 2; i < argc; i += 2) {
    const std::string name = argv[i];
    if (name.rfind("--", 0) != 0 || known.find(" " + name + " ") == std::string::npos) Usage("unknown option " + name);
    if (i + 1 >= argc) Usage(name + " needs a value");
    options[name] = argv[i + 1];
  }
  return options;
}

// A number within [low, high], or `otherwise` if the option was not given.
double Number(const Options& options, const std::string& name, double low, double high, double otherwise) {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  char* end = nullptr;
  const double value = strtod(found->second.c_str(), &end);
  if (end == found->second.c_str() || *end != '\0' || !(value >= low && value <= high)) {
    Usage(name + " must be a number from " + std::to_string(static_cast<long long>(low)) + " to " +
          std::to_string(static_cast<long long>(high)));
  }
  return value;
}

Address ReadAddress(const std::string& name, const std::string& text, uint16_t port) {
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.length = sizeof *v4;
  } else if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.length = sizeof *v6;
  } else {
    Usage(name + " must be an IPv4 or IPv6 address");
  }
  return address;
}

int SendMain(int argc, char** argv) {
  const Options given = Parse(argc, argv, " --to --port --count --seconds --rate --size --id ");
  if (!given.count("--to") || !given.count("--port")) Usage("--to and --port are needed");
  if (given.count("--count") + given.count("--seconds") != 1) Usage("one of --count and --seconds is needed");
  loss::SendOptions options;
  options.to = ReadAddress("--to", given.at("--to"), static_cast<uint16_t>(Number(given, "--port", 1, 65535, 0)));
  options.rate = static_cast<int64_t>(Number(given, "--rate", 1, 100'000, 1000));
  options.count = static_cast<int64_t>(Number(given, "--count", 1, static_cast<double>(loss::kMaxNumber), 0));
  if (given.count("--seconds")) {
    options.count = static_cast<int64_t>(Number(given, "--seconds", 0.001, 86'400, 0) * static_cast<double>(options.rate));
    if (options.count < 1) options.count = 1;
  }
  options.size = static_cast<int64_t>(Number(given, "--size", sizeof(loss::Datagram), loss::kMaxSize, 64));
  options.id = static_cast<uint32_t>(Number(given, "--id", 0, UINT32_MAX, getpid()));
  return loss::Send(options);
}

int ReceiveMain(int argc, char** argv) {
  const Options given = Parse(argc, argv, " --port --bind --seconds --until-idle --id ");
  if (!given.count("--port")) Usage("--port is needed");
  loss::ReceiveOptions options;
  options.port = static_cast<uint16_t>(Number(given, "--port", 0, 65535, 0));
  options.dual_stack = !given.count("--bind");
  options.bind = ReadAddress("--bind", options.dual_stack ? "::" : given.at("--bind"), options.port);
  options.seconds_ms = static_cast<int64_t>(Number(given, "--seconds", 0.001, 86'400, 0) * 1000);
  options.idle_ms = static_cast<int64_t>(Number(given, "--until-idle", 1, 86'400'000, 0));
  options.id = static_cast<int64_t>(Number(given, "--id", 0, UINT32_MAX, -1));
  return loss::Receive(options);
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = [](int) { loss::stopped = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "send") return SendMain(argc, argv);
  if (what == "receive") return ReceiveMain(argc, argv);
  Usage("say send or receive");
}

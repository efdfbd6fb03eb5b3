// The spawn meter: runs programs as a container runtime runs CNI plugins, and says how long each took, from before the process was
// made until it was reaped. A runtime written in another language pays more or less for making a process; here it is as cheap as it
// gets (vfork), so that what is measured is the plugin's.
//
//   spawnmeter [--at-once N]        N at once, each by a thread of its own; 1
//
// Standard input names the calls, one after the other:
//
//   run PATH
//   env NAME=VALUE                  any number of lines; there is no other environment
//   input BYTES                     a line feed, so many bytes, a line feed
//
// Standard output has a line of JSON for each, in their order: its exit status (128 + the signal's number), when it began and how
// long it took (nanoseconds, CLOCK_MONOTONIC), its own CPU time (nanoseconds; not that of daemons it asks), what it printed on
// standard output. A last line has the time of all: {"wallNs":N}. What they print on standard error is passed on.

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

namespace {

// What fits into a pipe: inputs are written before the process is there to read.
constexpr size_t kMaxInput = 64 << 10;
constexpr size_t kMaxOutput = 1 << 20;
constexpr size_t kMaxCalls = 100'000;
constexpr int kMaxAtOnce = 1000;

struct Call {
  std::string path;
  std::vector<std::string> env;
  std::string input;
};

struct Outcome {
  int status = 0;
  int64_t start_ns = 0;
  int64_t ns = 0;
  int64_t cpu_ns = 0;
  std::string output;
};

[[noreturn]] void Die(const std::string& what, int error = 0) {
  fprintf(stderr, "spawnmeter: %s%s%s\n", what.c_str(), error ? ": " : "", error ? strerror(error) : "");
  exit(1);
}

[[noreturn]] void Usage(const std::string& what) {
  fprintf(stderr, "spawnmeter: %s\nusage: spawnmeter [--at-once N] <calls\n", what.c_str());
  exit(64);
}

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int64_t Ns(const timeval& time) { return (int64_t{time.tv_sec} * 1'000'000 + time.tv_usec) * 1000; }

// A whole number from 0 to `max`; dies of anything else.
size_t Number(const std::string& what, const std::string& text, size_t max) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) {
    Die(what + ": not a number: " + text);
  }
  const size_t number = strtoul(text.c_str(), nullptr, 10);
  if (number > max) Die(what + ": more than " + std::to_string(max));
  return number;
}

std::string ReadAll(int fd, size_t max, const char* what) {
  std::string all;
  char chunk[16 << 10];
  for (;;) {
    const ssize_t got = read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) Die(std::string("reading ") + what, errno);
    if (got == 0) return all;
    all.append(chunk, static_cast<size_t>(got));
    if (all.size() > max) Die(std::string(what) + " is too long");
  }
}

std::vector<Call> ReadCalls() {
  const std::string text = ReadAll(STDIN_FILENO, kMaxCalls * 4096, "the calls");
  std::vector<Call> calls;
  Call call;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) Die("the last line has no end");
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const size_t blank = line.find(' ');
    const std::string word = line.substr(0, blank);
    const std::string value = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (word == "run" && !value.empty() && call.path.empty()) {
      call.path = value;
    } else if (word == "env" && value.find('=') != std::string::npos && !call.path.empty()) {
      call.env.push_back(value);
    } else if (word == "input" && !call.path.empty()) {
      const size_t length = Number("input", value, kMaxInput);
      if (text.size() - at < length + 1 || text[at + length] != '\n') Die("an input is shorter or longer than it says");
      call.input = text.substr(at, length);
      at += length + 1;
      calls.push_back(std::move(call));
      call = Call();
      if (calls.size() > kMaxCalls) Die("too many calls");
    } else {
      Die("not a line of a call: " + line.substr(0, 100));
    }
  }
  if (!call.path.empty()) Die("the last call has no input");
  return calls;
}

Outcome Run(const Call& call) {
  // Nobody else's child inherits any of these.
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) Die("pipe2", errno);
  if (write(in[1], call.input.data(), call.input.size()) != static_cast<ssize_t>(call.input.size())) {
    Die("writing an input", errno);
  }
  close(in[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  std::vector<char*> env;
  for (const std::string& variable : call.env) env.push_back(const_cast<char*>(variable.c_str()));
  env.push_back(nullptr);
  char* argv[] = {const_cast<char*>(call.path.c_str()), nullptr};

  Outcome outcome;
  pid_t pid = -1;
  outcome.start_ns = NowNs();
  const int error = posix_spawn(&pid, call.path.c_str(), &actions, nullptr, argv, env.data());
  if (error) Die(call.path, error);
  close(in[0]);
  close(out[1]);
  outcome.output = ReadAll(out[0], kMaxOutput, "a program's output");
  int status = 0;
  rusage used{};
  while (wait4(pid, &status, 0, &used) < 0) {
    if (errno != EINTR) Die("wait4", errno);
  }
  outcome.ns = NowNs() - outcome.start_ns;

  close(out[0]);
  posix_spawn_file_actions_destroy(&actions);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.cpu_ns = Ns(used.ru_utime) + Ns(used.ru_stime);
  return outcome;
}

// JSON's escapes; bytes beyond ASCII are passed on as they are.
std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\u%04x", c);
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

int main(int argc, char** argv) {
  int at_once = 1;
  if (argc == 3 && std::string(argv[1]) == "--at-once") {
    at_once = static_cast<int>(Number("--at-once", argv[2], kMaxAtOnce));
  } else if (argc != 1) {
    Usage("unknown options");
  }
  if (at_once < 1) Usage("--at-once must be a number from 1");
  const std::vector<Call> calls = ReadCalls();
  std::vector<Outcome> outcomes(calls.size());

  std::atomic<size_t> next{0};
  std::atomic<bool> begin{at_once == 1};
  const auto work = [&] {
    begin.wait(false);
    for (size_t i; (i = next.fetch_add(1)) < calls.size();) outcomes[i] = Run(calls[i]);
  };
  int64_t start = NowNs();
  if (at_once == 1) {
    work();
  } else {
    std::vector<std::thread> threads;
    for (int i = 0; i < at_once; i++) threads.emplace_back(work);
    start = NowNs();
    begin = true;
    begin.notify_all();
    for (std::thread& thread : threads) thread.join();
  }
  const int64_t wall = NowNs() - start;

  for (const Outcome& o : outcomes) {
    printf("{\"status\":%d,\"startNs\":%lld,\"ns\":%lld,\"cpuNs\":%lld,\"stdout\":%s}\n", o.status,
           static_cast<long long>(o.start_ns), static_cast<long long>(o.ns), static_cast<long long>(o.cpu_ns),
           Quoted(o.output).c_str());
  }
  printf("{\"wallNs\":%lld}\n", static_cast<long long>(wall));
  return fflush(stdout) == 0 ? 0 : 1;
}

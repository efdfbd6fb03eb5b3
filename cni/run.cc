#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deadline.h"
#include "env.h"
#include "output.h"

namespace loden::cni {
namespace {

constexpr size_t kMaxVariables = 8192;
constexpr int kNotRun = 127;
// Milliseconds to wait for one that was killed.
constexpr int kDying = 1000;

TextOf<kLargestResult> g_error;
char g_output[kLargestResult + 1];
const char* g_variables[kMaxVariables + 1];

Outcome NotRun(std::string_view version, Text& msg, int exit = kNotRun) {
  g_error.Cut(0);
  PutError(&g_error, version, Code::kInternal, msg.view(), "");
  return {exit, g_error.view()};
}

// The first regular file of that name, as libcni looks for it.
bool Find(std::string_view paths, const char* plugin, TextOf<PATH_MAX>* out) {
  for (;;) {
    const size_t colon = paths.find(':');
    const std::string_view directory = paths.substr(0, colon);
    out->Cut(0);
    out->Put(directory.empty() ? "." : directory).Put('/').Put(plugin);
    struct stat file;
    if (!out->full() && stat(out->c_str(), &file) == 0 && S_ISREG(file.st_mode)) return true;
    if (colon == paths.npos) return false;
    paths.remove_prefix(colon + 1);
  }
}

bool SameName(const char* a, const char* b) {
  const size_t length = strcspn(a, "=");
  return strncmp(a, b, length) == 0 && b[length] == '=';
}

// False when there are too many.
bool Variables(const Delegate& delegate, const char* command) {
  size_t count = 0;
  const auto put = [&](const char* variable) {
    for (size_t i = 0; i < count; ++i) {
      // The first of a name is the one that getenv() finds.
      if (SameName(variable, g_variables[i])) return true;
    }
    if (count == kMaxVariables) return false;
    g_variables[count++] = variable;
    return true;
  };
  if (command != nullptr && !put(command)) return false;
  // Of two of a name the last counts.
  for (size_t i = delegate.variable_count; i-- > 0;) put(delegate.variables[i]);
  const size_t ours = count;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    bool over = false;
    for (size_t i = 0; i < ours; ++i) over = over || SameName(g_variables[i], *variable);
    if (over) continue;
    if (count == kMaxVariables) return false;
    g_variables[count++] = *variable;
  }
  g_variables[count] = nullptr;
  return true;
}

struct Child {
  pid_t pid = -1;
  int in = -1;   // its standard input
  int out = -1;  // its standard output
};

void Close(int* fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

// 0 or an errno.
int Start(const char* path, const char* name, const sigset_t& mask, Child* child) {
  int in[2] = {-1, -1}, out[2] = {-1, -1};
  int error = 0;
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
    error = errno;
  } else {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    // Should a runtime start us without standard streams, the pipes may have their numbers: dup2() of itself then keeps it.
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setsigmask(&attributes, &mask);
    // A group of its own: what it has started is to end with it.
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    char* const argv[] = {const_cast<char*>(name), nullptr};
    error = posix_spawn(&child->pid, path, &actions, &attributes, argv, const_cast<char**>(g_variables));
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  Close(&in[0]);
  Close(&out[1]);
  if (error == 0) {
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    child->in = in[1];
    child->out = out[0];
    return 0;
  }
  Close(&in[1]);
  Close(&out[0]);
  return error;
}

// What there is to read now; false at the end. What is more than a result may be is read and dropped.
bool Drain(int fd, size_t* size, bool* too_long) {
  for (;;) {
    char dropped[4096];
    const bool drop = *size == sizeof g_output;
    const ssize_t got = drop ? read(fd, dropped, sizeof dropped) : read(fd, g_output + *size, sizeof g_output - *size);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (!drop) *size += static_cast<size_t>(got);
    *too_long = *size == sizeof g_output;
    if (drop) return true;  // so that the time is looked at
  }
}

// Has it ended? One that a signal has ended takes all with it that it has started, while its number is still its own.
bool HasEnded(pid_t pid, int* status) {
  siginfo_t how{};
  if (waitid(P_PID, static_cast<id_t>(pid), &how, WEXITED | WNOHANG | WNOWAIT) != 0 || how.si_pid != pid) return false;
  if (how.si_code != CLD_EXITED) kill(-pid, SIGKILL);
  return waitpid(pid, status, WNOHANG) == pid;
}

// Its configuration into it, its result out of it, until it has ended. False when it was killed for taking too long.
bool Attend(Child* child, std::string_view config, const Deadline& deadline, int ended, size_t* size, bool* too_long,
            int* status) {
  bool killed = false;
  Deadline dying(0);
  for (;;) {
    if (HasEnded(child->pid, status)) break;
    // Killed, it ends at once; it is waited for all the same, but not for ever.
    pollfd ready[3] = {{ended, POLLIN, 0}, {child->in, POLLOUT, 0}, {child->out, POLLIN, 0}};
    const int polled = poll(ready, 3, killed ? dying.left() : deadline.left());
    // Also when something is always ready: it may print for ever.
    if (killed ? dying.past() : deadline.past()) {
      if (killed) break;
      killed = true;
      dying = Deadline(kDying);
      kill(-child->pid, SIGKILL);
      kill(child->pid, SIGKILL);  // should it have left its group
      continue;
    }
    if (polled <= 0) continue;
    signalfd_siginfo told;
    while (read(ended, &told, sizeof told) > 0) {
    }
    if (ready[1].revents != 0) {
      const ssize_t put = write(child->in, config.data(), config.size());
      if (put > 0) config.remove_prefix(static_cast<size_t>(put));
      // It need not read it.
      if (config.empty() || (put < 0 && errno != EAGAIN && errno != EINTR)) Close(&child->in);
    }
    if (ready[2].revents != 0 && !Drain(child->out, size, too_long)) Close(&child->out);
  }
  // What it has started may hold the pipe for ever: what is in it now is its result.
  if (child->out >= 0) Drain(child->out, size, too_long);
  return !killed;
}

}  // namespace

Outcome Run(const Delegate& delegate, const char* command, std::string_view version, int milliseconds) {
  TextOf<2 * PATH_MAX> msg;
  TextOf<PATH_MAX> path;
  const std::string_view paths = Variable("CNI_PATH");
  if (paths.empty() || !Find(paths, delegate.plugin, &path)) {
    msg.Put("failed to find plugin \"").Put(delegate.plugin).Put("\" in path [");
    for (const char c : paths.substr(0, PATH_MAX)) msg.Put(c == ':' ? ' ' : c);
    msg.Put(']');
    return NotRun(version, msg);
  }
  if (!Variables(delegate, command)) {
    msg.Put("cannot run ").Put(path.view()).Put(": there are too many environment variables");
    return NotRun(version, msg);
  }

  // SIGCHLD becomes readable; whoever started us may have ignored it, and then nobody could be waited for.
  signal(SIGCHLD, SIG_DFL);
  sigset_t ends, before;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ends, &before);
  int ended = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  Child child;
  const int error = ended < 0 ? errno : Start(path.c_str(), delegate.plugin, before, &child);
  Outcome outcome;
  if (error != 0) {
    msg.Put("cannot run ").Put(path.view()).Put(": ").Put(strerrordesc_np(error));
    outcome = NotRun(version, msg);
  } else {
    size_t size = 0;
    bool too_long = false;
    int status = 0;
    const bool in_time = Attend(&child, delegate.config, Deadline(milliseconds), ended, &size, &too_long, &status);
    outcome = {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), {g_output, size}};
    if (!in_time) {
      msg.Put(path.view()).Put(" has not ended in ").Number((milliseconds + 500) / 1000).Put(" s and was killed");
      outcome = NotRun(version, msg, 128 + SIGKILL);
    } else if (too_long) {
      msg.Put(path.view()).Put(" has printed more than 1 MiB");
      outcome = NotRun(version, msg, outcome.exit == 0 ? 1 : outcome.exit);
    }
  }
  Close(&child.in);
  Close(&child.out);
  Close(&ended);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return outcome;
}

}  // namespace loden::cni

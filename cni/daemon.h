// The daemon, as the plugin sees it: a Unix socket that answers HTTP, or does not.
#pragma once

#include <linux/limits.h>
#include <sys/types.h>

#include <span>
#include <string_view>

#include "deadline.h"
#include "http.h"
#include "text.h"

namespace loden::cni {

class Daemon {
 public:
  enum class Reached {
    kAnswered,  // see the answer
    kAbsent,    // nobody took the request
    kLost,      // it was taken, at least in part, and the connection ended without an answer
    kSilent,    // there was no answer in time
    kGarbage,   // what came is no answer of HTTP
  };

  // `place` is for answers.
  Daemon(const char* socket, std::span<char> place) : socket_(socket), place_(place) {}

  // Sends a request and waits for its answer, which stands until the next is asked for. If the daemon is just being
  // restarted it is waited for; when it may have been killed, only with `patient`. All of it takes kTimeout at most, and
  // ends by `end`.
  Reached Ask(std::string_view body, const Deadline& end, bool patient);
  const HttpAnswer& answer() const { return answer_; }

  // What is wrong, and what to do, when it was not answered.
  std::string_view why() const { return why_.view(); }
  std::string_view advice() const { return advice_.view(); }

 private:
  int Connect(const Deadline& deadline);
  // Until somebody listens, or `wait` is past.
  int ConnectAfterRestart(const Deadline& wait);
  bool WasJustThere() const;
  bool IsSocket() const;
  Reached Exchange(int fd, std::string_view body, const Deadline& deadline, int seconds);
  void Explain(int error, int seconds);
  Reached Because(Reached reached, std::string_view what, std::string_view advice);

  const char* const socket_;
  const std::span<char> place_;
  HttpAnswer answer_{{}};
  TextOf<2 * PATH_MAX + 512> why_;
  TextOf<512> advice_;
};

}  // namespace loden::cni

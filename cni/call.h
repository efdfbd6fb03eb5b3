// One call of a runtime, from its request to its end.
#pragma once

#include <span>
#include <string_view>

#include "config.h"
#include "daemon.h"
#include "deadline.h"
#include "delegates.h"
#include "run.h"
#include "text.h"

namespace loden::cni {

// Milliseconds that a call may take in all. Of what is left a delegate gets half, so that there is time to ask the daemon what to
// do about it, and to do that. The first gets a minute: one that asks a DHCP server has been given up before.
constexpr int kCallTimeout = 120'000;

// Where a call keeps what it reads and writes.
struct Places {
  std::span<char> request;
  std::span<char> answer;
  std::span<char> delegates;
};

class Call {
 public:
  // It is to be over by `end`.
  Call(std::string_view command, std::string_view input, Config* config, const Places& places, const Deadline& end);
  // The exit code; everything has been printed.
  int Run();

 private:
  using Reached = Daemon::Reached;

  // How often the daemon may name delegates.
  static constexpr int kMaxRounds = 8;

  Reached Rounds();
  Reached Ask();
  // Is the answer one that the runtime can be given?
  bool IsFinal() const;
  void RunDelegates(size_t first);
  Outcome RunOne(const Delegate& delegate, const char* command);
  // What an ADD has let other plugins do and the daemon has not had undone.
  void Undo();
  int Finish();
  int Refused(Reached reached);
  int Queue();
  Reached Garbage(std::string_view what);
  std::string_view Why() const { return why_.size() > 0 ? why_.view() : daemon_.why(); }

  const std::string_view command_;
  const std::string_view input_;
  const Deadline end_;
  Config* const config_;
  Text request_;
  size_t opened_ = 0;  // bytes of the request up to what was delegated
  Daemon daemon_;
  Delegates delegates_;
  size_t ran_[Delegates::kMax] = {};  // which have been run
  size_t ran_count_ = 0;
  TextOf<1024> why_;
  TextOf<1024> undone_;
};

}  // namespace loden::cni

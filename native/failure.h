// What went wrong in a system call, as a value that can cross threads.
#pragma once

namespace loden {

struct Failure {
  int error = 0;               // errno; 0: nothing failed
  const char* what = nullptr;  // the call, for the message: "setns", "bind", …

  explicit operator bool() const { return error != 0; }
};

}  // namespace loden

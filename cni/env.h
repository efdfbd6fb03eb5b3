// What the runtime gives: variables and standard input.
#pragma once

#include <span>
#include <string_view>

#include "deadline.h"
#include "text.h"

namespace loden::cni {

// A variable of the environment; "" when it is not set.
std::string_view Variable(const char* name);
// Those that the daemon is told, as an object of JSON.
void PutVariables(Text* out);
// Are they together no longer than kLargestConfig?
bool VariablesFit();
// Our network namespace, `<dev>:<ino>`; nothing when that cannot be told.
void PutOwnNetns(Text* out);

struct Input {
  // As much as could be read.
  std::string_view text;
  // Why the rest could not be read; nullptr when it could.
  const char* why = nullptr;
};
// All of standard input. What does not fit `place` with one byte to spare is refused.
Input ReadInput(std::span<char> place, const Deadline& deadline);

}  // namespace loden::cni

// What the runtime gets: standard output, standard error and the exit code.
#pragma once

#include <string_view>

#include "text.h"

namespace loden::cni {

// Error codes (src/cni/errors.ts).
enum class Code {
  kInvalidEnvironment = 4,
  kIoFailure = 5,
  kDecodingFailure = 6,
  kTryAgainLater = 11,
  kNotAvailable = 50,
  kInternal = 999,
};

// The error object of the specification. `details` may be "".
void PutError(Text* out, std::string_view version, Code code, std::string_view msg, std::string_view details);
// Prints it; returns the exit code.
int Fail(std::string_view version, Code code, std::string_view msg, std::string_view details = "");
// All of it to standard output; returns `exit`, or 1 when nobody takes it.
int Print(std::string_view text, int exit);
// One line on standard error. What is no text is left out.
void Warn(std::string_view text);
// What is asked for without CNI_COMMAND.
int PrintAbout();
// VERSION (spec section "VERSION"): in the caller's version, ours when it has none.
int PrintVersions(std::string_view version);

}  // namespace loden::cni

// DELs that no daemon takes are kept on disk for the next one.
#pragma once

#include <cstddef>
#include <string_view>

namespace loden::cni {

// Files in a queue: a runtime that asks again and again must not fill the disk.
constexpr size_t kMostQueued = 10'000;

// Writes a call into a file of its own in `directory`, which is made if it is not there: on the disk, whole, or not at all. The
// very same call is kept once, as of now. A daemon that starts at the same time is told by the directory. Only a directory
// of ours that nobody else may write is used. Nullptr, or why it could not be done.
const char* WriteQueued(const char* directory, std::string_view call);

}  // namespace loden::cni

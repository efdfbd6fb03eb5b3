// DELs that no daemon takes are kept on disk for the next one.
#pragma once

#include <string_view>

namespace loden::cni {

// Writes a call into a file of its own in `directory`, which is made if it is not there: on the disk, whole, or not at all. A
// daemon that starts at the same time is told by the directory. 0 or an errno.
int WriteQueued(const char* directory, std::string_view call);

}  // namespace loden::cni

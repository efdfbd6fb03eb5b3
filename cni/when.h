#pragma once

#include <cstdint>

#include "text.h"

namespace loden::cni {

// A moment in seconds since the epoch as RFC 3339 in UTC, and how long ago that is: `2026-11-26T06:40:12Z (3 min ago)`.
void PutWhen(Text* out, int64_t seconds);

}  // namespace loden::cni

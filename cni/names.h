// What the runtime's names may be (spec section "Parameters"): the same as src/cni/protocol/names.ts, in libcni's words,
// but for what takes tables of Unicode; the daemon refuses that when it carries a DEL out.
#pragma once

#include <string_view>

namespace loden::cni {

bool IsContainerId(std::string_view id);
// What is wrong with an interface's name; nullptr when nothing is.
const char* IfnameFault(std::string_view name);

}  // namespace loden::cni

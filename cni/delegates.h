// The delegates that an answer names, without I/O.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "text.h"

namespace loden::cni {

struct Delegate {
  static constexpr size_t kMaxVariables = 16;

  // Letters, digits, `.`, `_` and `-`.
  const char* plugin = nullptr;
  // `NAME=value` each; all are CNI_….
  const char* variables[kMaxVariables] = {};
  size_t variable_count = 0;
  // An object, as it is written in the answer.
  std::string_view config;
  // Is it to ADD when the call is one?
  bool adds = true;
  bool deletes = false;
};

// All that were named in a call. They are copied: each is needed again when what it did must be undone.
class Delegates {
 public:
  static constexpr size_t kMax = 64;

  // `place` is for all their texts.
  explicit Delegates(std::span<char> place) : texts_(place.data(), place.size()) {}

  // Adds those of an answer's body. Nullptr; or why there are none in it, and then nothing is added.
  const char* Read(std::string_view body);
  size_t size() const { return size_; }
  const Delegate& operator[](size_t i) const { return all_[i]; }

 private:
  const char* ReadAll(std::string_view body);
  const char* ReadOne(std::string_view object, Delegate* out);
  const char* ReadVariables(std::string_view object, Delegate* out);

  Text texts_;
  Delegate all_[kMax];
  size_t size_ = 0;
};

}  // namespace loden::cni

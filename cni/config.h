// The few members of the configuration that the plugin itself needs. All else is the daemon's to read, and to refuse.
#pragma once

#include <linux/limits.h>

#include <string_view>

#include "text.h"

namespace loden::cni {

// Those of a text that may be anything: what cannot be used is left at its default. Of a text that stops being JSON, what
// stands before is used: the socket of the daemon that is to refuse it.
class Config {
 public:
  explicit Config(std::string_view text);

  // Path of the daemon's socket.
  const char* socket() { return socket_.c_str(); }
  // Directory for DELs that no daemon takes.
  const char* del_queue() { return del_queue_.c_str(); }
  // As it is given; 0.1.0 when there is none (spec section 1).
  std::string_view version() const { return version_.view(); }
  // Is one given?
  bool has_version() const { return has_version_; }

 private:
  TextOf<PATH_MAX> socket_;
  TextOf<PATH_MAX> del_queue_;
  TextOf<32> version_;
  bool has_version_ = false;
};

}  // namespace loden::cni

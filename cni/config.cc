#include "config.h"

#include "contract.h"
#include "json.h"
#include "json_string.h"

namespace loden::cni {
namespace {

// Only a whole string that fits; else it is empty.
void Take(std::string_view raw, Text* out) {
  out->Cut(0);
  if (!JsonUnescape(raw, out)) out->Cut(0);
}

void OrDefault(Text* path, std::string_view otherwise) {
  if (path->view().starts_with('/')) return;
  path->Cut(0);
  path->Put(otherwise);
}

bool IsVersion(std::string_view text) {
  return text.find_first_not_of("0123456789.abcdefghijklmnopqrstuvwxyz+-") == text.npos && !text.empty();
}

}  // namespace

Config::Config(std::string_view text) {
  JsonReader json(text);
  std::string_view name, raw;
  if (json.Peek() == '{' && json.Enter('{')) {
    while (json.NextMember(&name)) {
      if (json.Peek() != '"') {
        if (!json.Skip()) break;
        continue;
      }
      if (!json.String(&raw)) break;
      if (JsonEquals(name, "socket")) Take(raw, &socket_);
      if (JsonEquals(name, "delQueue")) Take(raw, &del_queue_);
      if (JsonEquals(name, "cniVersion")) Take(raw, &version_);
    }
  }
  OrDefault(&socket_, kSocket);
  OrDefault(&del_queue_, kDelQueue);
  has_version_ = IsVersion(version_.view());
  if (!has_version_) {
    version_.Cut(0);
    version_.Put("0.1.0");
  }
}

}  // namespace loden::cni

#include "config.h"

#include "contract.h"
#include "json.h"
#include "json_string.h"

namespace loden::cni {
namespace {

// A member that is a text: by its own name, or else by the first that differs only in case, as for the daemon.
struct Wanted {
  std::string_view name;
  Text* out;
  bool found = false;

  // `raw` is nullptr when the value is no string. Only a whole string that fits is taken; else it is empty.
  void Offer(std::string_view as, const std::string_view* raw) {
    const bool same = JsonEquals(as, name);
    if (!same && (found || !JsonEqualsAnyCase(as, name))) return;
    found = true;
    out->Cut(0);
    if (raw != nullptr && !JsonUnescape(*raw, out)) out->Cut(0);
  }
};

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
  Wanted all[] = {{"socket", &socket_}, {"delQueue", &del_queue_}, {"cniVersion", &version_}};
  if (json.Peek() == '{' && json.Enter('{')) {
    while (json.NextMember(&name)) {
      const bool text = json.Peek() == '"';
      if (!(text ? json.String(&raw) : json.Skip())) break;
      for (Wanted& wanted : all) wanted.Offer(name, text ? &raw : nullptr);
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

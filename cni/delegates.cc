#include "delegates.h"

#include "contract.h"
#include "json.h"
#include "json_string.h"

namespace loden::cni {
namespace {

constexpr const char* kMalformed = "the list of delegates is malformed";
constexpr const char* kTooMany = "there are too many delegates, or they are too large";

bool Has(std::string_view letters, char c) { return letters.find(c) != letters.npos; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }

// So that it is one file of a directory of plugins. Our own names would run us again, and again.
bool IsPlugin(std::string_view name) {
  for (const char c : name) {
    if (!IsUpper(c) && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !Has("._-", c)) return false;
  }
  return !name.empty() && name.size() <= 64 && name != "." && name != ".." && name != "loden" && name != "flannel";
}

// No other variable is the daemon's to set.
bool IsVariable(std::string_view name) {
  if (!name.starts_with("CNI_")) return false;
  for (const char c : name) {
    if (!IsUpper(c) && c != '_') return false;
  }
  return name.size() <= 64;
}

}  // namespace

const char* Delegates::Read(std::string_view body) {
  const size_t size = size_, bytes = texts_.size();
  const char* why = ReadAll(body);
  if (why == nullptr && texts_.full()) why = kTooMany;
  if (why != nullptr) {
    size_ = size;
    texts_.Cut(bytes);
  }
  return why;
}

const char* Delegates::ReadAll(std::string_view body) {
  JsonReader json(body);
  std::string_view name, item;
  const size_t before = size_;
  if (!json.Enter('{')) return kMalformed;
  while (json.NextMember(&name)) {
    if (!JsonEquals(name, "delegates")) {
      if (!json.Skip()) return kMalformed;
      continue;
    }
    size_ = before;  // of two lists the last counts, as for everybody else
    if (!json.Enter('[')) return kMalformed;
    while (json.NextItem()) {
      if (!json.Skip(&item)) return kMalformed;
      if (size_ == kMax) return kTooMany;
      if (const char* why = ReadOne(item, &all_[size_])) return why;
      ++size_;
    }
  }
  return json.AtEnd() && size_ > before ? nullptr : kMalformed;
}

const char* Delegates::ReadOne(std::string_view object, Delegate* out) {
  JsonReader json(object);
  std::string_view name, raw;
  *out = {};
  if (!json.Enter('{')) return kMalformed;
  while (json.NextMember(&name)) {
    if (JsonEquals(name, "plugin")) {
      const size_t begin = texts_.size();
      if (!json.String(&raw) || !JsonUnescape(raw, &texts_)) return kMalformed;
      const std::string_view plugin = texts_.view().substr(begin);
      if (!IsPlugin(plugin)) return "a delegate's name is not one of a plugin that may be run";
      out->plugin = plugin.data();
      texts_.Put('\0');
    } else if (!json.Skip(&raw)) {
      return kMalformed;
    } else if (JsonEquals(name, "env")) {
      if (const char* why = ReadVariables(raw, out)) return why;
    } else if (JsonEquals(name, "config")) {
      if (!raw.starts_with('{')) return kMalformed;
      if (raw.size() > kLargestConfig) return kTooMany;
      const size_t begin = texts_.size();
      texts_.Put(raw);
      out->config = texts_.view().substr(begin);
    }
  }
  return json.good() && out->plugin != nullptr && !out->config.empty() ? nullptr : kMalformed;
}

const char* Delegates::ReadVariables(std::string_view object, Delegate* out) {
  JsonReader json(object);
  std::string_view name, value;
  out->variable_count = 0;
  out->adds = true;
  out->deletes = false;
  if (!json.Enter('{')) return kMalformed;
  while (json.NextMember(&name)) {
    if (!IsVariable(name)) return "a delegate's environment has other variables than those of CNI";
    if (out->variable_count == Delegate::kMaxVariables) return kTooMany;
    const size_t begin = texts_.size();
    texts_.Put(name).Put('=');
    if (!json.String(&value) || !JsonUnescape(value, &texts_)) return kMalformed;
    const std::string_view variable = texts_.view().substr(begin);
    if (name == "CNI_COMMAND") {
      out->adds = variable == "CNI_COMMAND=ADD";
      out->deletes = variable == "CNI_COMMAND=DEL";
    }
    texts_.Put('\0');
    out->variables[out->variable_count++] = variable.data();
  }
  return json.good() ? nullptr : kMalformed;
}

}  // namespace loden::cni

// What the CNI plugin reads of strangers: JSON, answers of HTTP, lists of delegates. It says the same as a plain reading, and
// the same however the bytes come.
//
// Input: what the rest is (0: JSON, 1: an answer, 2: delegates, 3: any text), then that; of an answer first how much comes at
// once: 8 sizes, of which each is used in turn.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "../../cni/config.h"
#include "../../cni/delegates.h"
#include "../../cni/http.h"
#include "../../cni/json.h"
#include "../../cni/json_string.h"
#include "check.h"
#include "input.h"

namespace loden::fuzz {
namespace {

using cni::Config;
using cni::Delegates;
using cni::HttpAnswer;
using cni::JsonReader;
using cni::Text;

// JSON by RFC 8259's own rules, by recursion.
class Grammar {
 public:
  explicit Grammar(std::string_view text) : text_(text) {}
  bool Matches() { return Value(0) && (Space(), at_ == text_.size()); }

 private:
  bool Is(char c) { return at_ < text_.size() && text_[at_] == c; }
  bool Eat(char c) { return Is(c) && ++at_; }
  void Space() {
    while (Is(' ') || Is('\t') || Is('\n') || Is('\r')) ++at_;
  }
  bool Word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool Digits() {
    const size_t begin = at_;
    while (at_ < text_.size() && isdigit(static_cast<uint8_t>(text_[at_]))) ++at_;
    return at_ > begin;
  }
  bool Number() {
    Eat('-');
    if (!Eat('0') && !Digits()) return false;
    if (Eat('.') && !Digits()) return false;
    if (Eat('e') || Eat('E')) {
      if (!Eat('+')) Eat('-');
      return Digits();
    }
    return true;
  }
  bool String() {
    if (!Eat('"')) return false;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (static_cast<uint8_t>(c) < ' ') return false;
      if (c != '\\') continue;
      if (Eat('u')) {
        for (int i = 0; i < 4; ++i, ++at_) {
          if (at_ == text_.size() || !isxdigit(static_cast<uint8_t>(text_[at_]))) return false;
        }
      } else if (at_ == text_.size() || !strchr("\"\\/bfnrt", text_[at_]) || text_[at_] == '\0') {
        return false;
      } else {
        ++at_;
      }
    }
    return false;
  }
  bool Value(size_t depth) {
    Space();
    if (Is('{') || Is('[')) {
      if (depth == JsonReader::kMaxDepth) return false;
      const bool object = Is('{');
      const char end = object ? '}' : ']';
      ++at_;
      Space();
      if (Eat(end)) return true;
      do {
        Space();
        if (object && !(String() && (Space(), Eat(':')))) return false;
        if (!Value(depth + 1)) return false;
        Space();
      } while (Eat(','));
      return Eat(end);
    }
    if (Is('"')) return String();
    return Word("true") || Word("false") || Word("null") || Number();
  }

  const std::string_view text_;
  size_t at_ = 0;
};

// A place of its own size: what is written beyond it is found.
struct Place {
  explicit Place(size_t size) : bytes(new char[size]), text(bytes.get(), size) {}
  std::unique_ptr<char[]> bytes;
  Text text;
};

void CheckJson(std::string_view text) {
  JsonReader json(text);
  std::string_view raw;
  const bool read = json.Skip(&raw);
  const bool whole = read && json.AtEnd();
  FUZZ_CHECK(whole == Grammar(text).Matches());
  FUZZ_CHECK(!read || (raw.data() >= text.data() && raw.data() + raw.size() <= text.data() + text.size()));
  FUZZ_CHECK(!read || Grammar(raw).Matches());

  Config config(text);
  FUZZ_CHECK(config.socket()[0] == '/' && config.del_queue()[0] == '/' && !config.version().empty());
  FUZZ_CHECK(config.version().size() <= 32 && config.version().find_first_of("\"\\ ") == std::string_view::npos);

  // The names of an object, written and read, are equal to themselves.
  JsonReader members(text);
  std::string_view name, value;
  if (members.Peek() != '{' || !members.Enter('{')) return;
  while (members.NextMember(&name)) {
    Place place(name.size() + 1);
    if (cni::JsonUnescape(name, &place.text)) {
      const std::string_view plain = place.text.view();
      const bool ascii = std::all_of(plain.begin(), plain.end(), [](char c) { return c > 0; });
      FUZZ_CHECK(!ascii || cni::JsonEquals(name, plain));
      FUZZ_CHECK(plain.empty() || !cni::JsonEquals(name, plain.substr(1)));
      FUZZ_CHECK(plain.empty() || !cni::JsonEqualsAnyCase(name, plain.substr(1)));
      std::string other(plain);
      for (char& c : other) c = static_cast<char>(isupper(static_cast<uint8_t>(c)) ? tolower(c) : toupper(static_cast<uint8_t>(c)));
      FUZZ_CHECK(!ascii || cni::JsonEqualsAnyCase(name, other));
      FUZZ_CHECK(!cni::JsonEquals(name, other) || other == plain);
    }
    if (!members.Skip(&value)) break;
    FUZZ_CHECK(Grammar(value).Matches());
  }
  FUZZ_CHECK(!whole || members.AtEnd());
}

void CheckString(std::string_view text) {
  Place written(text.size() * 6 + 2);
  cni::PutJsonString(&written.text, text);
  FUZZ_CHECK(!written.text.full() && Grammar(written.text.view()).Matches());
  JsonReader json(written.text.view());
  std::string_view raw;
  FUZZ_CHECK(json.String(&raw) && json.AtEnd());
  Place read(text.size() * 3 + 1);
  const bool whole = cni::JsonUnescape(raw, &read.text);
  FUZZ_CHECK(whole == (text.find('\0') == text.npos));
  if (!whole) return;
  // UTF-8 comes back as it was; written again nothing is new.
  Place again(written.text.size());
  cni::PutJsonString(&again.text, read.text.view());
  Place twice(read.text.size() + 1);
  JsonReader other(again.text.view());
  FUZZ_CHECK(other.String(&raw) && cni::JsonUnescape(raw, &twice.text) && twice.text.view() == read.text.view());
  if (read.text.view().find("\xef\xbf\xbd") == std::string_view::npos) FUZZ_CHECK(read.text.view() == text);
  // In a place that is too small nothing is written beyond it.
  Place small(text.size() / 2);
  cni::PutJsonString(&small.text, text);
  FUZZ_CHECK(small.text.full() && small.text.size() <= text.size() / 2);
}

constexpr size_t kPlace = 4096;

// All at once is one step of the whole size.
HttpAnswer::State Feed(HttpAnswer* answer, std::string_view text, const uint8_t (&steps)[8], size_t* used) {
  HttpAnswer::State state = HttpAnswer::State::kMore;
  size_t at = 0;
  for (size_t i = 0; at < text.size() && state == HttpAnswer::State::kMore; ++i) {
    const std::span<char> room = answer->Room();
    FUZZ_CHECK(!room.empty());
    const size_t step = steps[i % 8] == 0 ? text.size() : steps[i % 8];
    const size_t count = std::min({room.size(), text.size() - at, step});
    memcpy(room.data(), text.data() + at, count);
    at += count;
    state = answer->Take(count);
  }
  *used = at;
  return state == HttpAnswer::State::kMore ? answer->End() : state;
}

void CheckAnswer(Input in) {
  uint8_t steps[8];
  for (uint8_t& step : steps) step = in.U8();
  const Bytes bytes = in.Take(in.left());
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::unique_ptr<char[]> a(new char[kPlace]), b(new char[kPlace]);
  HttpAnswer one({a.get(), kPlace}), other({b.get(), kPlace});
  size_t used_one, used_other;
  const HttpAnswer::State state = Feed(&one, text, {0, 0, 0, 0, 0, 0, 0, 0}, &used_one);
  const HttpAnswer::State same = Feed(&other, text, steps, &used_other);
  const auto bad = HttpAnswer::State::kBad;
  FUZZ_CHECK((state == bad) == (one.why() != nullptr) && (same == bad) == (other.why() != nullptr));
  // What is too long in one go may fit where framing is taken away earlier, and nothing else may differ.
  const std::string_view long_one = state == bad ? one.why() : "", long_other = same == bad ? other.why() : "";
  if (long_one == "the answer is too long" || long_other == "the answer is too long") return;
  FUZZ_CHECK(state == same);
  if (state == bad) return;
  FUZZ_CHECK(one.status() == other.status() && one.status() >= 200 && one.status() <= 999);
  FUZZ_CHECK(one.content_type() == other.content_type() && one.warning() == other.warning());
  FUZZ_CHECK(one.body() == other.body() && one.body().size() <= text.size());
  const auto inside = [&](std::string_view view) {
    return view.empty() || (view.data() >= a.get() && view.data() + view.size() <= a.get() + kPlace);
  };
  FUZZ_CHECK(inside(one.body()) && inside(one.content_type()) && inside(one.warning()));
}

void CheckDelegates(std::string_view text) {
  constexpr size_t kTexts = 2048;
  const std::unique_ptr<char[]> place(new char[kTexts]);
  Delegates delegates({place.get(), kTexts});
  size_t before = 0;
  // Until there is no room for more.
  for (int i = 0; i < 100; ++i) {
    const char* why = delegates.Read(text);
    FUZZ_CHECK(why != nullptr ? delegates.size() == before : delegates.size() > before);
    FUZZ_CHECK(why != nullptr || Grammar(text).Matches());
    if (why != nullptr) break;
    before = delegates.size();
  }
  FUZZ_CHECK(delegates.size() <= Delegates::kMax);
  for (size_t i = 0; i < delegates.size(); ++i) {
    const cni::Delegate& delegate = delegates[i];
    const std::string_view plugin = delegate.plugin;
    FUZZ_CHECK(!plugin.empty() && plugin.find('/') == plugin.npos && plugin != "." && plugin != "..");
    FUZZ_CHECK(plugin != "loden" && plugin != "flannel");
    FUZZ_CHECK(delegate.config.starts_with('{') && Grammar(delegate.config).Matches());
    FUZZ_CHECK(delegate.variable_count <= cni::Delegate::kMaxVariables);
    bool adds = true;
    for (size_t k = 0; k < delegate.variable_count; ++k) {
      const std::string_view variable = delegate.variables[k];
      FUZZ_CHECK(variable.starts_with("CNI_") && variable.find('=') != variable.npos);
      if (variable.starts_with("CNI_COMMAND=")) adds = variable == "CNI_COMMAND=ADD";
    }
    FUZZ_CHECK(adds == delegate.adds);
  }
}

int Run(Input in) {
  const uint8_t kind = in.U8() % 4;
  if (kind == 1) {
    CheckAnswer(in);
    return 0;
  }
  const Bytes bytes = in.Take(in.left());
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (kind == 0) CheckJson(text);
  if (kind == 2) CheckDelegates(text);
  if (kind == 3) CheckString(text);
  return 0;
}

}  // namespace
}  // namespace loden::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return loden::fuzz::Run({data, size}); }

#include "json.h"

#include <cstdint>

#include "json_string.h"

namespace loden::cni {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool JsonReader::Bad() {
  good_ = false;
  return false;
}

void JsonReader::SkipSpace() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
    ++at_;
  }
}

char JsonReader::Peek() {
  SkipSpace();
  return good_ && at_ < text_.size() ? text_[at_] : '\0';
}

bool JsonReader::Enter(char bracket) {
  if (Peek() != bracket) return Bad();
  ++at_;
  fresh_ = true;
  return true;
}

bool JsonReader::NextMember(std::string_view* name) {
  const bool first = fresh_;
  fresh_ = false;
  const char c = Peek();
  if (c == '}') {
    ++at_;
    return false;
  }
  if (!first) {
    if (c != ',') return Bad();
    ++at_;
  }
  if (!String(name) || Peek() != ':') return Bad();
  ++at_;
  return true;
}

bool JsonReader::NextItem() {
  const bool first = fresh_;
  fresh_ = false;
  const char c = Peek();
  if (c == ']') {
    ++at_;
    return false;
  }
  if (first) return c != '\0' || Bad();
  if (c != ',') return Bad();
  ++at_;
  return true;
}

bool JsonReader::String(std::string_view* raw) {
  if (Peek() != '"') return Bad();
  const size_t begin = ++at_;
  for (; at_ < text_.size(); ++at_) {
    const char c = text_[at_];
    if (c == '"') {
      *raw = text_.substr(begin, at_ - begin);
      ++at_;
      return true;
    }
    if (static_cast<uint8_t>(c) < 0x20) return Bad();
    if (c != '\\') continue;
    if (++at_ == text_.size()) return Bad();
    if (text_[at_] == 'u') {
      if (JsonHex4(text_.substr(at_ + 1)) < 0) return Bad();
      at_ += 4;
    } else if (std::string_view("\"\\/bfnrt").find(text_[at_]) == std::string_view::npos) {
      return Bad();
    }
  }
  return Bad();
}

bool JsonReader::Literal(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return Bad();
  at_ += word.size();
  return true;
}

bool JsonReader::Digits() {
  const size_t begin = at_;
  while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
  return at_ > begin || Bad();
}

bool JsonReader::Number() {
  const auto is = [&](char c) { return at_ < text_.size() && text_[at_] == c; };
  if (is('-')) ++at_;
  if (is('0')) {
    ++at_;
  } else if (!Digits()) {
    return false;
  }
  if (is('.')) {
    ++at_;
    if (!Digits()) return false;
  }
  if (is('e') || is('E')) {
    ++at_;
    if (is('+') || is('-')) ++at_;
    if (!Digits()) return false;
  }
  return true;
}

bool JsonReader::Scalar() {
  std::string_view string;
  switch (Peek()) {
    case '"': return String(&string);
    case 't': return Literal("true");
    case 'f': return Literal("false");
    case 'n': return Literal("null");
    default: return Number();
  }
}

bool JsonReader::Skip(std::string_view* raw) {
  SkipSpace();
  const size_t begin = at_;
  // Which of the open brackets are objects'.
  uint8_t objects[kMaxDepth / 8];
  size_t depth = 0;
  do {
    const char c = Peek();
    if (c == '{' || c == '[') {
      if (depth == kMaxDepth) return Bad();
      const uint8_t bit = static_cast<uint8_t>(1 << depth % 8);
      if (depth % 8 == 0) objects[depth / 8] = 0;
      objects[depth / 8] = static_cast<uint8_t>(c == '{' ? objects[depth / 8] | bit : objects[depth / 8] & ~bit);
      ++depth;
      Enter(c);
    } else if (!Scalar()) {
      return false;
    }
    // Out of everything that ends here, up to the next value.
    while (depth > 0) {
      std::string_view name;
      const bool object = (objects[(depth - 1) / 8] & 1 << (depth - 1) % 8) != 0;
      if (object ? NextMember(&name) : NextItem()) break;
      if (!good_) return false;
      --depth;
    }
  } while (depth > 0);
  if (raw != nullptr) *raw = text_.substr(begin, at_ - begin);
  return true;
}

bool JsonReader::AtEnd() {
  SkipSpace();
  return good_ && at_ == text_.size();
}

}  // namespace loden::cni

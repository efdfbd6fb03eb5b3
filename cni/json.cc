#include "json.h"

#include <cstdint>

namespace loden::cni {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Four hexadecimal digits at the beginning; -1 if they are not.
int32_t Hex4(std::string_view text) {
  if (text.size() < 4) return -1;
  int32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    const int digit = HexDigit(text[i]);
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

// Bytes of the UTF-8 sequence at the beginning (RFC 3629: no surrogates, none longer than needed); 0 if it is none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const auto more = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint8_t lead = byte(0), next = byte(1);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return more(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f)) return 0;
    return more(1) && more(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if ((lead == 0xf0 && next < 0x90) || (lead == 0xf4 && next > 0x8f)) return 0;
    return more(1) && more(2) && more(3) ? 4 : 0;
  }
  return 0;
}

void PutUtf8(Text* out, uint32_t point) {
  char bytes[4];
  size_t size = 0;
  const auto put = [&](uint32_t byte) { bytes[size++] = static_cast<char>(byte); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6);
    put(0x80 | (point & 0x3f));
  } else {
    if (point < 0x10000) {
      put(0xe0 | point >> 12);
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
    }
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  }
  out->Put(std::string_view(bytes, size));
}

// A character written as `\` and what is at the beginning of `rest`, of which it takes `*taken` bytes.
uint32_t Escaped(std::string_view rest, size_t* taken) {
  *taken = 1;
  switch (rest[0]) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'u': break;
    default: return static_cast<uint8_t>(rest[0]);
  }
  const int32_t high = Hex4(rest.substr(1));
  *taken = 5;
  if (high < 0xd800 || high > 0xdfff) return static_cast<uint32_t>(high);
  const int32_t low = rest.substr(5, 2) == "\\u" ? Hex4(rest.substr(7)) : -1;
  if (high > 0xdbff || low < 0xdc00 || low > 0xdfff) return 0xfffd;
  *taken = 11;
  return 0x10000 + (static_cast<uint32_t>(high - 0xd800) << 10 | static_cast<uint32_t>(low - 0xdc00));
}

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
      if (Hex4(text_.substr(at_ + 1)) < 0) return Bad();
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

bool JsonUnescape(std::string_view raw, Text* out) {
  for (size_t i = 0; i < raw.size();) {
    if (raw[i] != '\\') {
      out->Put(raw[i++]);
      continue;
    }
    size_t taken;
    const uint32_t point = Escaped(raw.substr(i + 1), &taken);
    if (point == 0) return false;
    PutUtf8(out, point);
    i += 1 + taken;
  }
  return !out->full();
}

bool JsonEquals(std::string_view raw, std::string_view text) {
  size_t at = 0;
  for (size_t i = 0; i < raw.size(); ++at) {
    if (at == text.size()) return false;
    uint32_t point = static_cast<uint8_t>(raw[i]);
    size_t taken = 0;
    if (point == '\\') point = Escaped(raw.substr(i + 1), &taken);
    if (point != static_cast<uint8_t>(text[at])) return false;
    i += 1 + taken;
  }
  return at == text.size();
}

void PutJsonString(Text* out, std::string_view text) {
  out->Put('"');
  size_t plain = 0;
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<uint8_t>(text[i]);
    const size_t length = Utf8Length(text.substr(i, 4));
    if (length > 0 && c >= 0x20 && c != '"' && c != '\\') {
      i += length;
      continue;
    }
    out->Put(text.substr(plain, i - plain));
    if (length == 0) {
      out->Put("\\ufffd");
    } else if (c >= 0x20) {
      out->Put('\\').Put(text[i]);
    } else if (c == '\n') {
      out->Put("\\n");
    } else {
      out->Put("\\u00").Put("0123456789abcdef"[c >> 4]).Put("0123456789abcdef"[c & 15]);
    }
    plain = ++i;
  }
  out->Put(text.substr(plain)).Put('"');
}

}  // namespace loden::cni

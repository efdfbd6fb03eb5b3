#include "json_string.h"

namespace loden::cni {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
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
  const int32_t high = JsonHex4(rest.substr(1));
  *taken = 5;
  if (high < 0xd800 || high > 0xdfff) return static_cast<uint32_t>(high);
  const int32_t low = rest.substr(5, 2) == "\\u" ? JsonHex4(rest.substr(7)) : -1;
  if (high > 0xdbff || low < 0xdc00 || low > 0xdfff) return 0xfffd;
  *taken = 11;
  return 0x10000 + (static_cast<uint32_t>(high - 0xd800) << 10 | static_cast<uint32_t>(low - 0xdc00));
}

// Are both the same when each of their characters is folded?
template <typename Fold>
bool Equals(std::string_view raw, std::string_view text, Fold fold) {
  size_t at = 0;
  for (size_t i = 0; i < raw.size(); ++at) {
    if (at == text.size()) return false;
    uint32_t point = static_cast<uint8_t>(raw[i]);
    size_t taken = 0;
    if (point == '\\') point = Escaped(raw.substr(i + 1), &taken);
    if (point >= 0x80 || fold(point) != fold(static_cast<uint8_t>(text[at]))) return false;
    i += 1 + taken;
  }
  return at == text.size();
}

}  // namespace

int32_t JsonHex4(std::string_view text) {
  if (text.size() < 4) return -1;
  int32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    const int digit = HexDigit(text[i]);
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
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
  return Equals(raw, text, [](uint32_t point) { return point; });
}

bool JsonEqualsAnyCase(std::string_view raw, std::string_view text) {
  return Equals(raw, text, [](uint32_t point) { return point >= 'A' && point <= 'Z' ? point | 0x20 : point; });
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

// Strings of JSON (RFC 8259, section 7), read and written.
#pragma once

#include <cstdint>
#include <string_view>

#include "text.h"

namespace loden::cni {

// The four hexadecimal digits of `\u` at the beginning; -1 if they are none.
int32_t JsonHex4(std::string_view text);
// The contents of a string as text; false if it holds a zero byte, or does not fit. A lone surrogate becomes U+FFFD.
bool JsonUnescape(std::string_view raw, Text* out);
// Is `raw`, unescaped, `text`, which is ASCII? Names may be written with escapes.
bool JsonEquals(std::string_view raw, std::string_view text);
// The same, be a letter of ASCII upper or lower case.
bool JsonEqualsAnyCase(std::string_view raw, std::string_view text);
// A string with its quotes. Bytes that are not UTF-8 become U+FFFD.
void PutJsonString(Text* out, std::string_view text);

}  // namespace loden::cni

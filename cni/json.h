// As much of JSON (RFC 8259) as the plugin needs. Nothing is allocated, nothing recurses.
#pragma once

#include <cstddef>
#include <string_view>

namespace loden::cni {

// Reads a text from front to back. After anything that is no JSON every call returns false.
class JsonReader {
 public:
  // Deeper nesting is taken for no JSON.
  static constexpr size_t kMaxDepth = 1000;

  explicit JsonReader(std::string_view text) : text_(text) {}

  // The next byte that is not white space; 0 at the end.
  char Peek();
  // Into `{` or `[`, which must be next.
  bool Enter(char bracket);
  // In an object: the next name, as it is written; false when there is no other, which is past the `}`.
  bool NextMember(std::string_view* name);
  // In an array: is there another value? If not, past the `]`.
  bool NextItem();
  // Past a string, which must be next; `raw` is what is between its quotes.
  bool String(std::string_view* raw);
  // Past any value; `raw` is how it is written.
  bool Skip(std::string_view* raw = nullptr);
  // Is all read, and was all of it JSON?
  bool AtEnd();
  bool good() const { return good_; }

 private:
  void SkipSpace();
  bool Bad();
  bool Literal(std::string_view word);
  bool Number();
  bool Digits();
  bool Scalar();

  const std::string_view text_;
  size_t at_ = 0;
  bool good_ = true;
  // Nothing of the object or array just entered has been read: no comma comes before what is next.
  bool fresh_ = false;
};

}  // namespace loden::cni

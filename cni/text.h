// Text that grows in a place of fixed size.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace loden::cni {

// What does not fit any more is left out, wholly, and remembered.
class Text {
 public:
  Text(char* place, size_t capacity) : place_(place), capacity_(capacity) {}
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  Text& Put(std::string_view more) {
    if (full_ || more.size() > capacity_ - size_) {
      full_ = true;
      return *this;
    }
    if (!more.empty()) memcpy(place_ + size_, more.data(), more.size());
    size_ += more.size();
    return *this;
  }
  Text& Put(char more) { return Put(std::string_view(&more, 1)); }
  Text& Number(int64_t number) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, number);
    return Put(std::string_view(digits, static_cast<size_t>(end.ptr - digits)));
  }
  // The first `size` bytes stay.
  void Cut(size_t size) {
    if (size < size_) size_ = size;
    full_ = false;
  }

  // Was something left out?
  bool full() const { return full_; }
  size_t size() const { return size_; }
  std::string_view view() const { return {place_, size_}; }

 private:
  char* const place_;
  const size_t capacity_;
  size_t size_ = 0;
  bool full_ = false;
};

template <size_t N>
class TextOf : public Text {
 public:
  TextOf() : Text(bytes_, N) {}
  // Ends with a zero byte, for system calls.
  const char* c_str() {
    bytes_[size()] = '\0';
    return bytes_;
  }

 private:
  char bytes_[N + 1];
};

}  // namespace loden::cni

// The fuzzer's bytes, taken from the front.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace loden::fuzz {

using Bytes = std::vector<uint8_t>;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  size_t left() const { return left_; }
  // 0 when there is nothing left. Big-endian.
  uint8_t U8() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint16_t U16() {
    const uint8_t high = U8();
    return static_cast<uint16_t>(high << 8 | U8());
  }
  // At most `size` bytes, in a block of their own: what is read beyond them is found.
  Bytes Take(size_t size) {
    if (size > left_) size = left_;
    Bytes out(data_, data_ + size);
    data_ += size;
    left_ -= size;
    return out;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

}  // namespace loden::fuzz

#include "http.h"

#include <strings.h>

#include <cstdint>
#include <cstring>

namespace loden::cni {
namespace {

// Digits of a length that cannot overflow.
constexpr size_t kMaxDigits = 15;

bool IsName(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool IsToken(std::string_view text) {
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == nullptr)) return false;
  }
  return !text.empty();
}

bool Decimal(std::string_view text, size_t* out) {
  size_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<size_t>(c - '0');
  }
  *out = value;
  return !text.empty() && text.size() <= kMaxDigits;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

void PutRequestHead(Text* out, std::string_view resource, size_t body_size) {
  out->Put("POST ").Put(resource).Put(" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ");
  out->Number(static_cast<int64_t>(body_size)).Put("\r\nConnection: close\r\n\r\n");
}

HttpAnswer::State HttpAnswer::Bad(const char* why) {
  at_ = At::kBad;
  why_ = why;
  return State::kBad;
}

HttpAnswer::State HttpAnswer::Now() const {
  return at_ == At::kDone ? State::kDone : at_ == At::kBad ? State::kBad : State::kMore;
}

HttpAnswer::State HttpAnswer::Take(size_t count) {
  if (at_ == At::kDone || at_ == At::kBad) return Now();
  const size_t from = size_;
  size_ += count;
  switch (at_) {
    case At::kHead:
      Head();
      break;
    case At::kSized:
    case At::kToEnd:
      break;
    default:
      Chunked(from);
      break;
  }
  if (at_ == At::kSized && size_ - body_ >= left_) {
    // More than was announced is not looked at.
    size_ = body_ + left_;
    at_ = At::kDone;
  }
  if (at_ != At::kDone && at_ != At::kBad && size_ == place_.size()) return Bad("the answer is too long");
  return Now();
}

HttpAnswer::State HttpAnswer::End() {
  if (at_ == At::kToEnd) at_ = At::kDone;
  if (Now() == State::kMore) return Bad("the connection ended in the middle of the answer");
  return Now();
}

void HttpAnswer::Head() {
  for (;;) {
    const std::string_view all(place_.data(), size_);
    const size_t end = all.find("\r\n\r\n", scanned_);
    if (end == all.npos ? size_ > kMaxHead : end > kMaxHead) {
      Bad("the head of the answer is too long");
      return;
    }
    if (end == all.npos) {
      scanned_ = size_ < 3 ? 0 : size_ - 3;
      return;
    }
    std::string_view lines = all.substr(0, end);
    for (bool first = true; first || !lines.empty(); first = false) {
      const size_t line = lines.find("\r\n");
      if (!(first ? StatusLine(lines.substr(0, line)) : Header(lines.substr(0, line)))) return;
      lines = line == lines.npos ? std::string_view() : lines.substr(line + 2);
    }
    if (status_ >= 200) {
      BodyBegins(end + 4);
      return;
    }
    if (++interims_ > kMaxInterims) {
      Bad("the answer does not come for interim answers");
      return;
    }
    // The real answer takes the place of the interim one.
    size_ -= end + 4;
    memmove(place_.data(), place_.data() + end + 4, size_);
    scanned_ = 0;
    content_type_ = warning_ = {};
    has_length_ = chunked_ = false;
  }
}

bool HttpAnswer::StatusLine(std::string_view line) {
  size_t status;
  if (line.size() < 12 || !line.starts_with("HTTP/1.") || line[8] != ' ' || (line.size() > 12 && line[12] != ' ') ||
      !Decimal(line.substr(9, 3), &status) || status < 100) {
    Bad("the answer is not HTTP/1.1");
    return false;
  }
  status_ = static_cast<int>(status);
  return true;
}

bool HttpAnswer::Header(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == line.npos || !IsToken(line.substr(0, colon)) || line.find('\0') != line.npos) {
    Bad("a header of the answer is malformed");
    return false;
  }
  const std::string_view name = line.substr(0, colon), value = Trim(line.substr(colon + 1));
  if (IsName(name, "content-type")) {
    content_type_ = Trim(value.substr(0, value.find(';')));
  } else if (IsName(name, "x-loden-warning")) {
    warning_ = value;
  } else if (IsName(name, "content-length")) {
    if (has_length_ || !Decimal(value, &left_)) {
      Bad("the answer's Content-Length is malformed");
      return false;
    }
    has_length_ = true;
  } else if (IsName(name, "transfer-encoding")) {
    if (chunked_ || !IsName(value, "chunked")) {
      Bad("the answer's Transfer-Encoding is unknown");
      return false;
    }
    chunked_ = true;
  }
  return true;
}

void HttpAnswer::BodyBegins(size_t body) {
  body_ = body;
  if (chunked_ && has_length_) {
    // Two lengths: whichever is right, somebody lies.
    Bad("the answer has both Content-Length and Transfer-Encoding");
  } else if (status_ == 204 || status_ == 304) {
    size_ = body_;
    at_ = At::kDone;
  } else if (chunked_) {
    at_ = At::kSizeLine;
    left_ = 0;
    Chunked(body_);
  } else if (!has_length_) {
    at_ = At::kToEnd;
  } else if (left_ > place_.size() - body_) {
    Bad("the answer is too long");
  } else {
    at_ = At::kSized;
  }
}

void HttpAnswer::Chunked(size_t from) {
  size_t kept = from;
  size_t i = from;
  while (i < size_ && at_ != At::kDone && at_ != At::kBad) {
    if (at_ == At::kChunk) {
      const size_t whole = size_ - i < left_ ? size_ - i : left_;
      memmove(place_.data() + kept, place_.data() + i, whole);
      kept += whole;
      i += whole;
      left_ -= whole;
      if (left_ == 0) at_ = At::kChunkEnd;
      continue;
    }
    ChunkByte(place_[i++]);
  }
  size_ = kept;
}

// A byte of what is between chunks and behind the last.
void HttpAnswer::ChunkByte(char c) {
  if (++line_ > kMaxHead) {
    Bad("the answer's chunks are malformed");
    return;
  }
  const bool line_ends = after_cr_ && c == '\n';
  if (after_cr_ != line_ends) {
    Bad("the answer's chunks are malformed");
    return;
  }
  after_cr_ = c == '\r';
  switch (at_) {
    case At::kChunkEnd:
      if (line_ends) {
        at_ = At::kSizeLine;
        line_ = 0;
      } else if (!after_cr_) {
        Bad("the answer's chunks are malformed");
      }
      return;
    case At::kSizeLine:
      if (line_ends) {
        if (digits_ == 0) {
          Bad("the answer's chunks are malformed");
          return;
        }
        at_ = left_ > 0 ? At::kChunk : At::kTrailer;
        line_ = digits_ = 0;
        in_extension_ = false;
        trailer_line_ = 0;
      } else if (!after_cr_ && !in_extension_) {
        const int digit = HexDigit(c);
        if (digit >= 0) {
          if (++digits_ > kMaxDigits) Bad("the answer's chunks are malformed");
          left_ = left_ << 4 | static_cast<size_t>(digit);
        } else {
          in_extension_ = true;
          if (c != ';' && c != ' ' && c != '\t') Bad("the answer's chunks are malformed");
        }
      }
      return;
    default:  // kTrailer: its lines are passed over, up to an empty one; line_ counts all of them
      if (!line_ends) {
        if (!after_cr_) ++trailer_line_;
      } else if (trailer_line_ == 0) {
        at_ = At::kDone;
      } else {
        trailer_line_ = 0;
      }
  }
}

}  // namespace loden::cni

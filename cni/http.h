// One request and one answer of HTTP/1.1 (RFC 9112), without I/O.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "text.h"

namespace loden::cni {

// The head of a POST of JSON, after which the connection is to end.
void PutRequestHead(Text* out, std::string_view resource, size_t body_size);

// Reads an answer as it comes in: in one piece or byte by byte, all of it in the place it is given. Nothing it is sent makes
// it read or write elsewhere, or work longer than the bytes are many.
class HttpAnswer {
 public:
  // All of the status line and the headers, and of what comes behind chunks.
  static constexpr size_t kMaxHead = 32 * 1024;

  // Interim answers (1xx) before the real one.
  static constexpr int kMaxInterims = 8;

  enum class State { kMore, kDone, kBad };

  // What does not fit the place with its head is refused.
  explicit HttpAnswer(std::span<char> place) : place_(place) {}

  // Where the next bytes go; never empty before the answer is done or bad.
  std::span<char> Room() const { return place_.subspan(size_); }
  // `count` bytes came there.
  State Take(size_t count);
  // The connection has ended.
  State End();

  // When it is kBad.
  const char* why() const { return why_; }
  // When it is kDone. Views into the place.
  int status() const { return status_; }
  // Without parameters, as it was sent.
  std::string_view content_type() const { return content_type_; }
  std::string_view warning() const { return warning_; }
  std::string_view body() const { return {place_.data() + body_, size_ - body_}; }

 private:
  enum class At { kHead, kSized, kToEnd, kSizeLine, kChunk, kChunkEnd, kTrailer, kDone, kBad };

  State Bad(const char* why);
  State Now() const;
  void Head();
  bool StatusLine(std::string_view line);
  bool Header(std::string_view line);
  void BodyBegins(size_t body);
  // Decoded in place: what is framing goes, so that what is kept is the body and nothing else.
  void Chunked(size_t from);
  void ChunkByte(char c);

  const std::span<char> place_;
  size_t size_ = 0;     // bytes of it that are in use
  size_t body_ = 0;     // where the body begins
  size_t scanned_ = 0;  // where the search for the head's end goes on
  At at_ = At::kHead;
  const char* why_ = nullptr;

  int status_ = 0;
  std::string_view content_type_;
  std::string_view warning_;
  int interims_ = 0;
  bool has_length_ = false;
  bool chunked_ = false;
  size_t left_ = 0;  // bytes of the body, or of this chunk, that are to come
  size_t line_ = 0;  // bytes of this line of framing, or of all behind the last chunk
  size_t digits_ = 0;
  size_t trailer_line_ = 0;
  bool in_extension_ = false;
  bool after_cr_ = false;
};

}  // namespace loden::cni

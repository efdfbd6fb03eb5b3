#include "output.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "contract.h"
#include "deadline.h"
#include "json_string.h"

namespace loden::cni {
namespace {

constexpr std::string_view kVersions[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};

// Milliseconds in which a pipe that does not block must be emptied.
constexpr int kTaking = 10'000;

bool Write(int fd, std::string_view text) {
  const Deadline deadline(kTaking);
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put > 0) text.remove_prefix(static_cast<size_t>(put));
    if (put >= 0 || errno == EINTR) continue;
    pollfd room{fd, POLLOUT, 0};
    if (errno != EAGAIN || deadline.past() || (poll(&room, 1, deadline.left()) < 0 && errno != EINTR)) return false;
  }
  return true;
}

}  // namespace

void PutError(Text* out, std::string_view version, Code code, std::string_view msg, std::string_view details) {
  out->Put("{\"cniVersion\":");
  PutJsonString(out, version);
  out->Put(",\"code\":").Number(static_cast<int>(code)).Put(",\"msg\":");
  PutJsonString(out, msg);
  if (!details.empty()) {
    out->Put(",\"details\":");
    PutJsonString(out, details);
  }
  out->Put('}');
}

int Fail(std::string_view version, Code code, std::string_view msg, std::string_view details) {
  static TextOf<256 * 1024> text;
  text.Cut(0);
  PutError(&text, version, code, msg, details);
  if (text.full()) {
    text.Cut(0);
    PutError(&text, version, code, "the error is too long to be told", "");
  }
  text.Put('\n');
  return Print(text.view(), 1);
}

int Print(std::string_view text, int exit) { return Write(STDOUT_FILENO, text) ? exit : 1; }

void Warn(std::string_view text) {
  TextOf<8 * 1024> line;
  for (const char c : text.substr(0, 8000)) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) line.Put(c);
  }
  line.Put('\n');
  Write(STDERR_FILENO, line.view());
}

int PrintAbout() {
  TextOf<512> text;
  text.Put("CNI loden plugin v").Put(kVersion).Put("\nCNI protocol versions supported: ");
  for (const std::string_view version : kVersions) {
    if (version != kVersions[0]) text.Put(", ");
    text.Put(version);
  }
  text.Put('\n');
  Write(STDERR_FILENO, text.view());
  return 0;
}

int PrintVersions(std::string_view version) {
  TextOf<512> text;
  text.Put("{\"cniVersion\":");
  PutJsonString(&text, version);
  text.Put(",\"supportedVersions\":[");
  for (const std::string_view each : kVersions) {
    if (each != kVersions[0]) text.Put(',');
    PutJsonString(&text, each);
  }
  text.Put("]}\n");
  return Print(text.view(), 0);
}

}  // namespace loden::cni

#include "names.h"

namespace loden::cni {
namespace {

// Bytes of an interface's name, without the closing zero (linux/if.h, IFNAMSIZ).
constexpr size_t kIfnameBytes = 15;

// White space beyond ASCII, as Go's unicode.IsSpace has it, in UTF-8.
constexpr std::string_view kSpaces[] = {
    "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
    "\u2007", "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

bool IsContainerId(std::string_view id) {
  for (const char c : id) {
    if (!IsLetterOrDigit(c) && c != '_' && c != '.' && c != '-') return false;
  }
  return !id.empty() && IsLetterOrDigit(id[0]);
}

const char* IfnameFault(std::string_view name) {
  if (name.empty()) return "interface name is empty";
  if (name.size() > kIfnameBytes) return "interface name is too long";
  if (name == "." || name == "..") return "interface name is . or ..";
  bool bad = name.find_first_of("/: \t\n\v\f\r") != name.npos;
  for (const std::string_view space : kSpaces) bad = bad || name.find(space) != name.npos;
  if (bad) return "interface name contains / or : or whitespace characters";
  for (const char c : name) {
    if ((c >= 0 && c < ' ') || c == 0x7f) return "interface name contains control or format characters";
  }
  if (name == "all") return "interface name is all, which stands for all interfaces in /proc/sys/net";
  if (name == "default") return "interface name is default, which stands for all interfaces in /proc/sys/net";
  if (name.find('%') != name.npos) return "interface name contains %, for which the kernel would put a number";
  return nullptr;
}

}  // namespace loden::cni

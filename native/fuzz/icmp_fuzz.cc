// Answers to hostile packets: of bounded length, right in every field, and none where there must be none.
//
// Input: flags (1-2: which error, 4: the IP header is made right, 8: the source's family is the other one, 16: there is
// no source), MTU (2 bytes), our address (16 bytes), the offender.
#include <algorithm>

#include "check.h"
#include "core/icmp.h"
#include "packets.h"
#include "world.h"

namespace loden::fuzz {
namespace {

using core::Address;
using core::IcmpError;

bool IsOneHost(const Address& a) {
  static constexpr uint8_t kNothing[16] = {};
  if (a.family == 6) return a.bytes[0] != 255 && !(std::equal(a.bytes, a.bytes + 15, kNothing) && a.bytes[15] < 2);
  return !(a.bytes[0] == 127 || (a.bytes[0] >= 224 && a.bytes[0] < 240) || std::equal(a.bytes, a.bytes + 4, kNothing) ||
           std::all_of(a.bytes, a.bytes + 4, [](uint8_t b) { return b == 255; }));
}

struct Expectation {
  uint8_t type, code;
  uint32_t rest;
};

Expectation ExpectedOf(IcmpError error, bool v4, uint32_t mtu) {
  switch (error) {
    case IcmpError::kNetUnreachable:
      return {static_cast<uint8_t>(v4 ? 3 : 1), 0, 0};
    case IcmpError::kTimeExceeded:
      return {static_cast<uint8_t>(v4 ? 11 : 3), 0, 0};
    case IcmpError::kTooBig:
      break;
  }
  return {static_cast<uint8_t>(v4 ? 3 : 2), static_cast<uint8_t>(v4 ? 4 : 0), mtu};
}

// Whether RFC 1812 4.3.2.7 or RFC 4443 2.4 (e) forbid an answer, as far as the IP header tells.
bool Forbidden(IcmpError error, const Bytes& offender, const core::Inner& inner) {
  if (!IsOneHost(SourceOf(offender.data())) || !IsOneHost(DestinationOf(offender.data()))) return true;
  if (inner.version == 6) {
    // Behind a fragment header, or at once.
    const bool fragment = offender[6] == 44;
    if (fragment && (Get(offender, 42, 2) & 0xfff8) != 0) return true;
    const size_t at = fragment ? 48 : 40;
    return offender[fragment ? 40 : 6] == 58 && (offender.size() == at || offender[at] < 128 || offender[at] == 137);
  }
  const uint32_t header = (offender[0] & 15) * 4u;
  if (Get(offender, 6, 2) & 0x1fff) return true;
  if (error == IcmpError::kTooBig && !(offender[6] & 0x40)) return true;
  if (offender[9] != 1) return false;
  if (offender.size() == header) return true;
  const uint8_t type = offender[header];
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

int Run(Input in) {
  const uint8_t flags = in.U8();
  const auto error = static_cast<IcmpError>(flags % 4 % 3);
  const uint32_t mtu = in.U16();
  const Bytes own = in.Take(16);
  Bytes offender = in.Take(in.left());
  if (flags & 4) MendIp(&offender);
  core::Inner inner;
  if (core::ParseInner(offender.data(), offender.size(), &inner) != core::Drop::kNone) return 0;
  const bool v4 = inner.version == 4;
  Address source;
  source.family = flags & 16 ? 0 : (flags & 8) ? 10 - inner.version : inner.version;
  const size_t width = source.family == 0 ? 0 : source.family == 4 ? 4 : 16;
  std::copy_n(own.begin(), std::min(own.size(), width), source.bytes);

  const auto out = std::make_unique<uint8_t[]>(core::kMaxIcmp);
  const size_t length = core::BuildIcmpError(error, source, offender.data(), inner, mtu, out.get());
  FUZZ_CHECK(length <= (v4 ? 576u : 1280u));
  const bool forbidden = source.family != inner.version || Forbidden(error, offender, inner);
  if (length == 0) {
    // IPv6 extension headers may hide what forbids it.
    const bool plain = v4 || inner.upper_offset == 40;
    FUZZ_CHECK(forbidden || !plain);
    return 0;
  }
  FUZZ_CHECK(!forbidden);

  const Bytes answer(out.get(), out.get() + length);
  core::Inner parsed;
  FUZZ_CHECK(core::ParseInner(answer.data(), answer.size(), &parsed) == core::Drop::kNone);
  const uint32_t header = v4 ? 20 : 40;
  FUZZ_CHECK(parsed.version == inner.version && parsed.protocol == (v4 ? 1 : 58) && parsed.ip_length == header);
  FUZZ_CHECK(SourceOf(answer.data()) == source && DestinationOf(answer.data()) == SourceOf(offender.data()));
  FUZZ_CHECK(IpChecksumHolds(answer));
  const uint32_t upper = static_cast<uint32_t>(length) - header;
  const uint16_t pseudo = v4 ? 0 : SumOfWords(answer, 8, 40, 58 + upper);
  FUZZ_CHECK(SumOfWords(answer, header, static_cast<uint32_t>(length), pseudo) == 0xffff);
  const Expectation expected = ExpectedOf(error, v4, mtu);
  FUZZ_CHECK(answer[header] == expected.type && answer[header + 1] == expected.code);
  FUZZ_CHECK(Get(answer, header + 4, 4) == expected.rest);
  const size_t quoted = length - header - 8;
  FUZZ_CHECK(quoted == std::min<size_t>(offender.size(), (v4 ? 576u : 1280u) - header - 8));
  FUZZ_CHECK(std::equal(answer.begin() + header + 8, answer.end(), offender.begin()));

  // No answer to an answer.
  for (const uint32_t kind : {0u, 1u, 2u}) {
    FUZZ_CHECK(core::BuildIcmpError(static_cast<IcmpError>(kind), source, answer.data(), parsed, 1280, out.get()) == 0);
  }
  return 0;
}

}  // namespace
}  // namespace loden::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return loden::fuzz::Run({data, size}); }

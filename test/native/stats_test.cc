#include "core/stats_region.h"

#include <doctest/doctest.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace loden::core;

struct Fd {
  explicit Fd(int number) : fd(number) {}
  ~Fd() {
    if (fd >= 0) close(fd);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int fd;
};

int NewFile() { return memfd_create("stats", MFD_CLOEXEC | MFD_ALLOW_SEALING); }

off_t SizeOf(int fd) {
  struct stat s{};
  CHECK(fstat(fd, &s) == 0);
  return s.st_size;
}

// KB of memory or disk that the file takes.
long Blocks(int fd) {
  struct stat s{};
  CHECK(fstat(fd, &s) == 0);
  return s.st_blocks / 2;
}

std::vector<uint64_t> Totals(const StatsRegion& region) {
  std::vector<uint64_t> totals(kTotalCount, 77);
  region.Totals(totals.data());
  return totals;
}

bool AllZero(const StatsRegion& region) {
  if (Totals(region) != std::vector<uint64_t>(kTotalCount)) return false;
  for (uint32_t slot = 0; slot < kMaxSlots; slot++) {
    const PeerTotals p = region.Peer(slot);
    if ((p.out_packets | p.out_bytes | p.in_packets | p.in_bytes) != 0) return false;
  }
  return true;
}

// A file of this layout in which something has been counted.
void CountSome(int fd) {
  const auto region = StatsRegion::Map(fd);
  CHECK(region->note() == nullptr);
  CHECK(region->Reserve(2, 10));
  region->worker(1)->in_bytes.Add(5);
  region->peers(1)[9].in_packets.Add(6);
}

// A tmpfs of `size` that is mounted nowhere and goes with its last descriptor. -1 where that is not allowed.
int SmallFileSystem(const char* size) {
  const Fd context(fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (context.fd < 0 || fsconfig(context.fd, FSCONFIG_SET_STRING, "size", size, 0) != 0 ||
      fsconfig(context.fd, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return -1;
  }
  return fsmount(context.fd, FSMOUNT_CLOEXEC, 0);
}

// Takes what is left of a file system.
void FillUp(int directory) {
  const Fd file(openat(directory, "filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::vector<char> block(4096, 1);
  while (write(file.fd, block.data(), block.size()) > 0) {
  }
  CHECK(errno == ENOSPC);
}

}  // namespace

TEST_CASE("stats: names are those of the counters, in their order") {
  WorkerCounters counters;
  counters.out_packets.Add(1);
  counters.send_retries.Add(2);
  counters.out_drops[static_cast<int>(Drop::kTtl)].Add(3);
  counters.in_drops[kDropCount - 1].Add(4);
  const auto* all = reinterpret_cast<const Counter*>(&counters);
  CHECK(std::string(kCounterNames[0].name) == "out_packets");
  CHECK(all[0].Get() == 1);
  int retries = -1;
  for (int i = 0; i < kCounterCount; i++) {
    if (std::string(kCounterNames[i].name) == "send_retries") retries = i;
  }
  REQUIRE(retries >= 0);
  CHECK(all[retries].Get() == 2);
  CHECK(all[kCounterCount + static_cast<int>(Drop::kTtl)].Get() == 3);
  CHECK(all[kTotalCount - 1].Get() == 4);
  CHECK(std::size(kDropNames) == kDropCount);
  for (int i = 0; i < kDropCount; i++) CHECK(std::string(kDropNames[i].name) == DropName(static_cast<Drop>(i)));
}

TEST_CASE("stats: sums over workers, in memory and in a file") {
  for (const bool in_file : {false, true}) {
    const Fd file(in_file ? NewFile() : -1);
    const auto region = StatsRegion::Map(file.fd);
    CHECK(region->note() == nullptr);
    CHECK(AllZero(*region));
    CHECK(region->Reserve(kMaxWorkers, kMaxSlots));
    for (int w = 0; w < kMaxWorkers; w++) {
      auto* counters = reinterpret_cast<Counter*>(region->worker(w));
      for (int i = 0; i < kTotalCount; i++) counters[i].Add(static_cast<uint64_t>(1000 * w + i));
      for (const uint32_t slot : {0u, 1u, kMaxSlots - 1}) {
        PeerCounters& p = region->peers(w)[slot];
        p.out_packets.Add(slot + 1);
        p.out_bytes.Add(slot + 2);
        p.in_packets.Add(slot + 3);
        p.in_bytes.Add(uint64_t{1} << (w + 40));
      }
    }
    const std::vector<uint64_t> totals = Totals(*region);
    for (int i = 0; i < kTotalCount; i++) CHECK(totals[i] == static_cast<uint64_t>(1000 * 120 + 16 * i));
    for (const uint32_t slot : {0u, 1u, kMaxSlots - 1}) {
      const PeerTotals p = region->Peer(slot);
      CHECK(p.out_packets == 16ull * (slot + 1));
      CHECK(p.out_bytes == 16ull * (slot + 2));
      CHECK(p.in_packets == 16ull * (slot + 3));
      CHECK(p.in_bytes == uint64_t{65535} << 40);
    }
    CHECK(region->Peer(2).out_packets == 0);
    CHECK(region->Peer(kMaxSlots).out_packets == 0);
    CHECK(region->Peer(UINT32_MAX).in_bytes == 0);
    CHECK(region->worker(-1) == nullptr);
    CHECK(region->worker(kMaxWorkers) == nullptr);
    CHECK(region->peers(-1) == nullptr);
    CHECK(region->peers(kMaxWorkers) == nullptr);
  }
}

TEST_CASE("stats: no two workers write to one cache line") {
  const auto region = StatsRegion::Map(-1);
  for (int w = 1; w < kMaxWorkers; w++) {
    const auto end = reinterpret_cast<uintptr_t>(region->worker(w - 1) + 1) - 1;
    CHECK(end / 64 < reinterpret_cast<uintptr_t>(region->worker(w)) / 64);
    CHECK(reinterpret_cast<uintptr_t>(region->peers(w)) - reinterpret_cast<uintptr_t>(region->peers(w - 1)) >=
          kMaxSlots * sizeof(PeerCounters));
  }
}

TEST_CASE("stats: a file goes on counting, and every process that maps it sees that") {
  const Fd file(NewFile());
  CountSome(file.fd);
  const auto first = StatsRegion::Map(file.fd), second = StatsRegion::Map(file.fd);
  CHECK(first->worker(1)->in_bytes.Get() == 5);
  CHECK(first->Peer(9).in_packets == 6);
  CHECK(second->Reserve(2, 10));
  second->worker(1)->in_bytes.Add(1);
  second->peers(1)[9].in_packets.Add(1);
  CHECK(first->worker(1)->in_bytes.Get() == 6);
  CHECK(first->Peer(9).in_packets == 7);
}

TEST_CASE("stats: of fewer workers than there were, the others still count") {
  const Fd file(NewFile());
  CountSome(file.fd);
  const auto region = StatsRegion::Map(file.fd);
  CHECK(region->Reserve(1, 3));
  region->peers(0)[2].in_packets.Add(1);
  CHECK(region->Peer(9).in_packets == 6);
  CHECK(region->Peer(2).in_packets == 1);
}

TEST_CASE("stats: the file is sparse") {
  const Fd file(NewFile());
  const auto region = StatsRegion::Map(file.fd);
  CHECK(SizeOf(file.fd) > 16 * 65536 * 32);
  CHECK(Blocks(file.fd) <= 64);
  CHECK(region->Reserve(2, 1000));
  CHECK(Blocks(file.fd) <= 64 + 2 * 64);
  CHECK(AllZero(*region));
  CHECK(Blocks(file.fd) <= 64 + 2 * 64);  // reading gives no pages to what was never reserved
}

TEST_CASE("stats: a file that is none of this layout starts at zero") {
  const Fd model(NewFile());
  CountSome(model.fd);
  const off_t size = SizeOf(model.fd);
  std::mt19937 random(7);
  const auto starts_at_zero = [&](const char* what, auto change) {
    INFO(what);
    const Fd file(NewFile());
    CountSome(file.fd);
    change(file.fd);
    const off_t before = SizeOf(file.fd);
    for (int again = 0; again < 2; again++) {
      const auto region = StatsRegion::Map(file.fd);
      CHECK(region->note() == nullptr);
      CHECK(SizeOf(file.fd) == std::max(before, size));
      if (again == 0) {
        CHECK(AllZero(*region));
        CHECK(region->Reserve(kMaxWorkers, 8000));
        CHECK(AllZero(*region));
        region->peers(15)[7999].in_bytes.Add(3);
      }
      CHECK(region->Peer(7999).in_bytes == 3);
    }
  };
  starts_at_zero("empty", [](int fd) { CHECK(ftruncate(fd, 0) == 0); });
  for (const off_t length : {off_t{1}, off_t{40}, off_t{4096}, off_t{70000}, size - 1}) {
    starts_at_zero("short", [&](int fd) { CHECK(ftruncate(fd, length) == 0); });
  }
  for (off_t at = 0; at < 40; at += at < 8 ? 1 : 4) {
    starts_at_zero("one byte of the header", [&](int fd) {
      uint8_t byte = 0;
      CHECK(pread(fd, &byte, 1, at) == 1);
      byte = static_cast<uint8_t>(byte ^ (1 + random() % 255));
      CHECK(pwrite(fd, &byte, 1, at) == 1);
    });
  }
  starts_at_zero("somebody else's", [&](int fd) {
    std::vector<uint8_t> noise(300'000);
    for (uint8_t& b : noise) b = static_cast<uint8_t>(random());
    CHECK(pwrite(fd, noise.data(), noise.size(), 0) == static_cast<ssize_t>(noise.size()));
    CHECK(ftruncate(fd, 2 * size) == 0);
  });
}

TEST_CASE("stats: starting a file anew leaves who has it mapped alive") {
  const Fd file(NewFile());
  const auto old = StatsRegion::Map(file.fd);
  CHECK(old->Reserve(16, kMaxSlots));
  old->worker(0)->out_bytes.Add(1);
  CHECK(pwrite(file.fd, "another", 7, 0) == 7);
  const auto anew = StatsRegion::Map(file.fd);
  CHECK(anew->note() == nullptr);
  CHECK(AllZero(*anew));
  old->worker(15)->out_bytes.Add(1);
  for (uint32_t slot = 0; slot < kMaxSlots; slot++) old->peers(15)[slot].out_packets.Add(1);
  CHECK(old->Peer(kMaxSlots - 1).out_packets == 1);
}

TEST_CASE("stats: whatever the file says of what is reserved is read within bounds") {
  const Fd file(NewFile());
  CountSome(file.fd);
  const std::vector<uint32_t> reserved(16, UINT32_MAX);
  CHECK(pwrite(file.fd, reserved.data(), 64, 40) == 64);
  // Believed, that would be 2 TB: the memory of all processes, were the file not kept from growing.
  REQUIRE(fcntl(file.fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
  const auto region = StatsRegion::Map(file.fd);
  CHECK(region->note() == nullptr);
  CHECK(region->Peer(9).in_packets == 6);
  CHECK(region->Peer(kMaxSlots - 1).in_packets == 0);
  CHECK(region->Peer(kMaxSlots).in_packets == 0);
}

TEST_CASE("stats: what is no file leaves the counters in memory, and says so") {
  const auto refused = [](int fd) {
    const auto region = StatsRegion::Map(fd);
    const std::string note = region->note() == nullptr ? "" : region->note();
    CHECK(AllZero(*region));
    CHECK(region->Reserve(kMaxWorkers, kMaxSlots));
    region->worker(15)->in_bytes.Add(1);
    region->peers(15)[kMaxSlots - 1].in_bytes.Add(1);
    CHECK(region->Peer(kMaxSlots - 1).in_bytes == 1);
    return note;
  };
  int pipe_ends[2] = {-1, -1};
  REQUIRE(pipe2(pipe_ends, O_CLOEXEC) == 0);
  const Fd in(pipe_ends[0]), out(pipe_ends[1]), directory(open("/", O_RDONLY | O_CLOEXEC)), null(open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(refused(out.fd) == "the counters' file is no regular file");
  CHECK(refused(directory.fd) == "the counters' file is no regular file");
  CHECK(refused(null.fd) == "the counters' file is no regular file");
  CHECK(refused(9999) == "the counters' file is not open");
  const Fd program(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  CHECK(refused(program.fd) == "the counters' file cannot be emptied");
  const Fd file(NewFile());
  CountSome(file.fd);
  const Fd readable(open(("/proc/self/fd/" + std::to_string(file.fd)).c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(readable.fd >= 0);
  CHECK(refused(readable.fd) == "there is no room for the counters' file");
}

TEST_CASE("stats: a full file system stops no worker") {
  const Fd directory(SmallFileSystem("256k"));
  if (directory.fd < 0) {
    MESSAGE("left out: may not make a tmpfs: ", strerror(errno));
    return;
  }
  const Fd file(openat(directory.fd, "stats", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(file.fd >= 0);
  {
    const auto region = StatsRegion::Map(file.fd);
    CHECK(region->note() == nullptr);
    CHECK(region->Reserve(2, 100));
    region->peers(0)[99].in_bytes.Add(7);
    region->peers(1)[99].in_bytes.Add(8);
    FillUp(directory.fd);
    CHECK(!region->Reserve(2, kMaxSlots));
    CHECK(std::string(region->note()) == "there is no room for the peers' counters in their file");
    CHECK(region->note_errno() == ENOSPC);
    for (uint32_t slot = 0; slot < kMaxSlots; slot++) region->peers(1)[slot].in_bytes.Add(1);
    CHECK(region->Peer(99).in_bytes == 16);
    CHECK(region->Peer(kMaxSlots - 1).in_bytes == 1);
    region->worker(15)->in_bytes.Add(1);
  }
  // What the file had before stays; what it claims to have and has not is not touched.
  const std::vector<uint32_t> reserved(16, kMaxSlots);
  CHECK(pwrite(file.fd, reserved.data(), 64, 40) == 64);
  const auto region = StatsRegion::Map(file.fd);
  CHECK(region->worker(15)->in_bytes.Get() == 1);
  CHECK(region->note_errno() == ENOSPC);
  for (uint32_t slot = 0; slot < kMaxSlots; slot++) region->peers(1)[slot].in_bytes.Add(1);
  CHECK(region->Peer(kMaxSlots - 1).in_bytes == 1);

  const Fd another(openat(directory.fd, "another", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const auto nowhere = StatsRegion::Map(another.fd);
  REQUIRE(nowhere->note() != nullptr);
  CHECK(std::string(nowhere->note()) == "there is no room for the counters' file");
  nowhere->worker(0)->in_bytes.Add(1);
}

#include "stats_region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace loden::core {

namespace {

constexpr size_t kPage = 4096;
constexpr uint32_t kLayoutVersion = 1;
constexpr size_t kWorkersOffset = kPage;
// Two workers' counters are never in one cache line, nor in neighbours that are fetched together.
constexpr size_t kWorkerStride = (sizeof(WorkerCounters) + 255) / 256 * 256;
// Whole pages even where a page has 64 KB, as on some arm64 systems: each worker's part is mapped by itself when it must be.
constexpr size_t kPart = 65536;
constexpr size_t kWorkersEnd = kWorkersOffset + kMaxWorkers * kWorkerStride;
constexpr size_t kPeersOffset = (kWorkersEnd + kPart - 1) / kPart * kPart;
constexpr size_t kPeersSize = kMaxSlots * sizeof(PeerCounters);
constexpr size_t kSize = kPeersOffset + kMaxWorkers * kPeersSize;
static_assert(kPeersSize % kPart == 0);

struct Layout {
  char magic[8] = {'L', 'o', 'd', 'e', 'n', 'S', 'T', '1'};
  uint32_t version = kLayoutVersion;
  uint32_t counters = kCounterCount;
  uint32_t drops = kDropCount;
  uint32_t workers = kMaxWorkers;
  uint32_t slots = kMaxSlots;
  uint32_t worker_stride = kWorkerStride;
  uint32_t workers_offset = kWorkersOffset;
  uint32_t peers_offset = kPeersOffset;
};
static_assert(sizeof(Layout) == 8 + 8 * 4);

struct Header {
  Layout layout;
  std::atomic<uint32_t> reserved[kMaxWorkers];
};
static_assert(sizeof(Header) <= kWorkersOffset && std::atomic<uint32_t>::is_always_lock_free);

Header* HeaderOf(uint8_t* base) { return reinterpret_cast<Header*>(base); }

size_t PeersOffset(int worker) { return kPeersOffset + static_cast<size_t>(worker) * kPeersSize; }

// Blocks of the file, so that writing to them cannot fail. 0 or errno. A file system that cannot do it in advance has to be believed.
int Fill(int fd, size_t offset, size_t length) {
  for (;;) {
    if (fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0) return 0;
    if (errno == EOPNOTSUPP) return 0;
    if (errno != EINTR) return errno;
  }
}

}  // namespace

std::unique_ptr<StatsRegion> StatsRegion::Map(int fd) {
  std::unique_ptr<StatsRegion> region(new StatsRegion);
  if (fd >= 0 && region->MapFile(fd)) return region;
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) abort();  // as new does
  region->base_ = static_cast<uint8_t*>(memory);
  // Reading a page that was never written costs nothing here.
  std::fill_n(region->reserved_, kMaxWorkers, kMaxSlots);
  return region;
}

StatsRegion::~StatsRegion() {
  if (base_ != nullptr) munmap(base_, kSize);
  if (fd_ >= 0) close(fd_);
}

bool StatsRegion::Refuse(const char* note, int error) {
  note_ = note;
  note_errno_ = error;
  return false;
}

bool StatsRegion::MapFile(int fd) {
  struct stat file{};
  if (fstat(fd, &file) != 0) return Refuse("the counters' file is not open", errno);
  if (!S_ISREG(file.st_mode)) return Refuse("the counters' file is no regular file", 0);

  const Layout wanted;
  Layout found;
  const bool kept = static_cast<uint64_t>(file.st_size) >= kSize && pread(fd, &found, sizeof found, 0) == sizeof found &&
                    memcmp(&found, &wanted, sizeof found) == 0;
  if (!kept && file.st_size > 0) {
    // Zeros without making it shorter, as far as that goes.
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, file.st_size) != 0 && ftruncate(fd, 0) != 0) {
      return Refuse("the counters' file cannot be emptied", errno);
    }
  }
  if (fstat(fd, &file) != 0 || (static_cast<uint64_t>(file.st_size) < kSize && ftruncate(fd, kSize) != 0)) {
    return Refuse("the counters' file cannot be made large enough", errno);
  }
  if (const int error = Fill(fd, 0, kWorkersEnd); error != 0) return Refuse("there is no room for the counters' file", error);

  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return Refuse("the counters' file cannot be mapped", errno);
  fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (fd_ < 0) {
    const int error = errno;
    munmap(memory, kSize);
    return Refuse("the counters' file cannot be kept open", error);
  }
  base_ = static_cast<uint8_t*>(memory);
  if (!kept) memcpy(base_, &wanted, sizeof wanted);
  // What an earlier process had reserved is read again; whether it has memory is not believed.
  for (int w = 0; w < kMaxWorkers; w++) {
    const uint32_t slots = HeaderOf(base_)->reserved[w].load(std::memory_order_relaxed);
    if (slots > 0 && !Allocate(w, slots)) Detach(w);
  }
  return true;
}

bool StatsRegion::Allocate(int worker, uint32_t slots) {
  slots = std::min(slots, kMaxSlots);
  if (reserved_[worker] >= slots) return true;
  const int error = Fill(fd_, PeersOffset(worker), slots * sizeof(PeerCounters));
  if (error != 0) return Refuse("there is no room for the peers' counters in their file", error);
  reserved_[worker] = slots;
  HeaderOf(base_)->reserved[worker].store(slots, std::memory_order_relaxed);
  return true;
}

// Puts memory of our own in the place of a worker's part of the file, in one step, so that the worker may be running. What it counts between the
// copy and that is lost.
void StatsRegion::Detach(int worker) {
  void* memory = mmap(nullptr, kPeersSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) abort();
  auto* to = static_cast<PeerCounters*>(memory);
  const PeerCounters* from = peers(worker);
  for (uint32_t i = 0; i < reserved_[worker]; i++) {
    to[i].out_packets.Add(from[i].out_packets.Get());
    to[i].out_bytes.Add(from[i].out_bytes.Get());
    to[i].in_packets.Add(from[i].in_packets.Get());
    to[i].in_bytes.Add(from[i].in_bytes.Get());
  }
  if (mremap(memory, kPeersSize, kPeersSize, MREMAP_MAYMOVE | MREMAP_FIXED, peers(worker)) == MAP_FAILED) abort();
  reserved_[worker] = kMaxSlots;
}

bool StatsRegion::Reserve(int workers, uint32_t slots) {
  bool all = true;
  for (int w = 0; w < std::min(workers, kMaxWorkers); w++) {
    // A worker counts as one that was, even if there is no peer yet.
    if (Allocate(w, std::max(slots, 1u))) continue;
    Detach(w);
    all = false;
  }
  return all;
}

WorkerCounters* StatsRegion::worker(int index) const {
  if (index < 0 || index >= kMaxWorkers) return nullptr;
  return reinterpret_cast<WorkerCounters*>(base_ + kWorkersOffset + static_cast<size_t>(index) * kWorkerStride);
}

PeerCounters* StatsRegion::peers(int index) const {
  if (index < 0 || index >= kMaxWorkers) return nullptr;
  return reinterpret_cast<PeerCounters*>(base_ + PeersOffset(index));
}

void StatsRegion::Totals(uint64_t* out) const {
  std::fill_n(out, kTotalCount, 0);
  for (int w = 0; w < kMaxWorkers; w++) {
    const auto* counters = reinterpret_cast<const Counter*>(worker(w));
    for (int i = 0; i < kTotalCount; i++) out[i] += counters[i].Get();
  }
}

PeerTotals StatsRegion::Peer(uint32_t slot) const {
  PeerTotals totals;
  for (int w = 0; w < kMaxWorkers; w++) {
    if (slot >= reserved_[w]) continue;
    const PeerCounters& p = peers(w)[slot];
    totals.out_packets += p.out_packets.Get();
    totals.out_bytes += p.out_bytes.Get();
    totals.in_packets += p.in_packets.Get();
    totals.in_bytes += p.in_bytes.Get();
  }
  return totals;
}

}  // namespace loden::core

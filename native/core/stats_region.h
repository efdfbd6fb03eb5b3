// Where the counters are: a file that all processes may map, and that outlives them; or memory of our own.
//
// The file, all little- or all big-endian as the host is:
//   0     header: magic "LodenST1" (8), then u32 each: layout version, counters, drops, workers (kMaxWorkers), slots (kMaxSlots),
//         bytes from one worker's counters to the next's, bytes from the file's start to the workers' counters, to the peers';
//         then u32 for each worker: slots of its peers' counters that have memory, 0 for a worker that never was
//   4096  WorkerCounters of each worker
//   then  PeerCounters[kMaxSlots] of each worker, whole pages; sparse
// All but the header are u64 that only ever grow. A peer's total is the sum over the workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "stats.h"

namespace loden::core {

inline constexpr int kMaxWorkers = 16;

struct PeerTotals {
  uint64_t out_packets = 0, out_bytes = 0, in_packets = 0, in_bytes = 0;
};

// One thread calls this; workers write through the pointers they were given.
class StatsRegion {
 public:
  // Maps a file (the descriptor stays the caller's), which is made large enough; what it holds is kept if its header is this
  // layout's, else it is started at zero. With -1, or where the file cannot be used, the counters are in memory; then note() says
  // why. Never nullptr.
  //
  // Nobody else may shorten the file: touching a page beyond its end is a SIGBUS. It is ours alone to write, in a directory of
  // root's; and this class does not shorten it itself, since a process that is being taken over may have it mapped. A page
  // that a full file system cannot give is a SIGBUS too; so no page is touched before it has been allocated.
  static std::unique_ptr<StatsRegion> Map(int fd);
  ~StatsRegion();
  StatsRegion(const StatsRegion&) = delete;
  StatsRegion& operator=(const StatsRegion&) = delete;

  // Why the counters are not in the file, or nullptr; with the errno, or 0.
  const char* note() const { return note_; }
  int note_errno() const { return note_errno_; }

  // Memory for the peers' counters with slots below `slots`, of the workers below `workers`: to be called before these are written
  // to. Workers may be running. False if the file system has none: such a worker's are in memory of our own from now on (note()),
  // and may be written to all the same.
  bool Reserve(int workers, uint32_t slots);

  // Of worker `index` below kMaxWorkers; peers: kMaxSlots of them, to be used as far as Reserve says.
  WorkerCounters* worker(int index) const;
  PeerCounters* peers(int index) const;

  // Sums over all workers there ever were, kTotalCount of them, in the order of WorkerCounters.
  void Totals(uint64_t* out) const;
  PeerTotals Peer(uint32_t slot) const;

 private:
  StatsRegion() = default;
  bool MapFile(int fd);
  bool Refuse(const char* note, int error);
  bool Allocate(int worker, uint32_t slots);
  void Detach(int worker);

  uint8_t* base_ = nullptr;
  int fd_ = -1;                            // ours; -1: memory
  uint32_t reserved_[kMaxWorkers] = {};    // slots that may be touched
  const char* note_ = nullptr;
  int note_errno_ = 0;
};

}  // namespace loden::core

// The table in force, read by workers while another thread replaces it: quiescent-state reclamation. Readers never wait
// and never write to a cache line that another thread writes; the writer never waits for readers.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "table.h"

namespace loden::core {

class TableSwap {
 public:
  explicit TableSwap(int readers);
  // No reader may be inside.
  ~TableSwap();
  TableSwap(const TableSwap&) = delete;
  TableSwap& operator=(const TableSwap&) = delete;

  // The table in force, valid until Leave. Never nullptr: an empty table is in force before the first Publish.
  // Each reader has its own number below `readers` and one thread. Not to be entered twice. Costs one ordered store: enter once for
  // a batch, and leave before sleeping, or every table replaced meanwhile is kept.
  const Table* Enter(int reader);
  void Leave(int reader);

  // Puts a table in force. One thread at a time. Frees the former ones that no reader can still see.
  void Publish(std::unique_ptr<const Table> table);
  // Frees what Publish had to keep and no reader sees any more. In the thread of Publish, whenever it is convenient.
  void Reclaim();
  // Tables kept because a reader may still see them; same thread.
  size_t retired() const { return retired_.size(); }

 private:
  // A reader's own cache line: two of them, as processors fetch pairs.
  struct alignas(128) Slot {
    std::atomic<uint64_t> epoch{0};  // in which it entered; 0: it sees no table
  };
  struct Retired {
    std::unique_ptr<const Table> table;
    uint64_t epoch;  // the last in which it was in force
  };

  std::vector<Slot> slots_;
  // Written by the writer alone.
  alignas(128) std::atomic<const Table*> current_;
  std::atomic<uint64_t> epoch_{1};
  std::vector<Retired> retired_;
};

}  // namespace loden::core

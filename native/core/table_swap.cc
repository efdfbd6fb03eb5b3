#include "table_swap.h"

#include <algorithm>
#include <utility>

namespace loden::core {

// Why a table that is freed was seen by nobody. In the one order of all seq_cst operations, a reader writes its slot and then reads
// current_; the writer replaces current_ and then reads the slots. A reader that still got the old table read current_ before that,
// so the writer sees what it wrote to its slot: an epoch not after the old table's last, since epoch_ moves on only after
// current_ has been replaced, and a reader that saw it moved sees the new table too. The reader's release store when it leaves (or enters again)
// and the writer's reading of it put all its reads before the free.

TableSwap::TableSwap(int readers) : slots_(static_cast<size_t>(readers)), current_(Table::Empty().release()) {}

TableSwap::~TableSwap() { delete current_.load(std::memory_order_relaxed); }

const Table* TableSwap::Enter(int reader) {
  const uint64_t epoch = epoch_.load(std::memory_order_acquire);
  slots_[static_cast<size_t>(reader)].epoch.store(epoch, std::memory_order_seq_cst);
  return current_.load(std::memory_order_seq_cst);
}

void TableSwap::Leave(int reader) { slots_[static_cast<size_t>(reader)].epoch.store(0, std::memory_order_release); }

void TableSwap::Publish(std::unique_ptr<const Table> table) {
  std::unique_ptr<const Table> old(current_.exchange(table.release(), std::memory_order_seq_cst));
  const uint64_t last = epoch_.load(std::memory_order_relaxed);
  epoch_.store(last + 1, std::memory_order_release);
  retired_.push_back({std::move(old), last});
  Reclaim();
}

void TableSwap::Reclaim() {
  uint64_t oldest = UINT64_MAX;
  for (const Slot& slot : slots_) {
    const uint64_t epoch = slot.epoch.load(std::memory_order_seq_cst);
    if (epoch != 0) oldest = std::min(oldest, epoch);
  }
  std::erase_if(retired_, [oldest](const Retired& r) { return r.epoch < oldest; });
}

}  // namespace loden::core

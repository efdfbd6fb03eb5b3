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
  ~TableSwap();
  TableSwap(const TableSwap&) = delete;
  TableSwap& operator=(const TableSwap&) = delete;

  // The table in force, valid until Leave. Never nullptr: an empty table is in force before the first Publish.
  // Each reader has its own number below `readers` and one thread.
  const Table* Enter(int reader);
  void Leave(int reader);

  // Puts a table in force. One thread at a time. Frees the former ones that no reader can still see.
  void Publish(std::unique_ptr<const Table> table);
  // Tables kept because a reader may still see them. For tests.
  size_t retired() const;

 private:
  // The implementer's choice.
};

}  // namespace loden::core

// Keeps the memory of dropped results. What for: result_memory.hpp.
#include "result_memory.hpp"

#include <memory>
#include <mutex>
#include <new>

#include "huge_pages.hpp"

namespace midas_bindings {

namespace {

struct Block {
  void* data;
  std::size_t size;
};

class Pool {
 public:
  Block take(std::size_t size) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (auto block = idle_.begin(); block != idle_.end(); ++block) {
        if (block->size < size || block->size > size + size / 4) continue;
        const Block found = *block;
        idle_.erase(block);
        total_ -= found.size;
        return found;
      }
    }
    try {
      return {midas::allocate_huge(size), size};
    } catch (const std::bad_alloc&) {
      shrink_to(0);
      return {midas::allocate_huge(size), size};
    }
  }

  void give_back(const Block& block) noexcept {
    if (block.data == nullptr) return;
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      idle_.push_back(block);
      total_ += block.size;
    } catch (...) {
      midas::free_huge(block.data);
      return;
    }
    shrink_to(MOST_IDLE_MEMORY);
  }

 private:
  // Frees what has been idle longest.
  void shrink_to(std::size_t most) {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (total_ > most) {
      total_ -= idle_.front().size;
      midas::free_huge(idle_.front().data);
      idle_.erase(idle_.begin());
    }
  }

  std::mutex mutex_;
  std::vector<Block> idle_;
  std::size_t total_ = 0;
};

// Never destroyed: arrays may outlive this module.
Pool& pool() {
  static Pool* const only = new Pool;
  return *only;
}

}  // namespace

ResultMemory take_result_memory(std::size_t size) {
  const auto give_back = [](Block* taken) {
    pool().give_back(*taken);
    delete taken;
  };
  std::unique_ptr<Block, void (*)(Block*)> block(new Block{nullptr, 0}, give_back);
  *block = pool().take(size);
  void* const data = block->data;
  py::capsule owner(block.get(), [](void* taken) {
    const std::unique_ptr<Block> own(static_cast<Block*>(taken));
    pool().give_back(*own);
  });
  block.release();  // the capsule's now
  return {data, std::move(owner)};
}

}  // namespace midas_bindings

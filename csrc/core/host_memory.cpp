#include "host_memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <deque>
#include <mutex>
#include <new>
#include <unordered_map>

namespace anamorph {
namespace {

constexpr size_t HUGE_PAGE = size_t(2) << 20, KEPT_BYTES = size_t(1) << 30, KEPT_BLOCKS = 8;

struct Block {
    void* start;
    size_t bytes;
};

void* map(size_t bytes) {
    // Mapped larger and trimmed, to begin where huge pages do: each saves 511 faults.
    char* raw = static_cast<char*>(mmap(nullptr, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (raw == MAP_FAILED) throw std::bad_alloc();
    char* start = raw + (HUGE_PAGE - reinterpret_cast<uintptr_t>(raw) % HUGE_PAGE) % HUGE_PAGE;
    if (start > raw) munmap(raw, size_t(start - raw));
    if (start < raw + HUGE_PAGE) munmap(start + bytes, size_t(raw + HUGE_PAGE - start));
    madvise(start, bytes, MADV_HUGEPAGE);
    return start;
}

struct Memory {
    std::mutex lock;
    std::deque<Block> kept;  // the longest kept first
    size_t kept_bytes = 0;
    std::unordered_map<void*, size_t> out;

    void* take(size_t bytes) {
        bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        std::lock_guard<std::mutex> g(lock);
        for (auto b = kept.rbegin(); b != kept.rend(); ++b) {  // the last given is the warmest
            if (b->bytes < bytes || b->bytes > bytes + bytes / 4) continue;
            Block found = *b;
            kept.erase(std::next(b).base());
            kept_bytes -= found.bytes;
            out.emplace(found.start, found.bytes);
            return found.start;
        }
        void* start = map(bytes);
        out.emplace(start, bytes);
        return start;
    }
    void give(void* start) {
        std::lock_guard<std::mutex> g(lock);
        auto found = out.find(start);
        if (found == out.end()) return;
        kept.push_back({start, found->second});
        kept_bytes += found->second;
        out.erase(found);
        while (kept.size() > KEPT_BLOCKS || kept_bytes > KEPT_BYTES) {
            munmap(kept.front().start, kept.front().bytes);
            kept_bytes -= kept.front().bytes;
            kept.pop_front();
        }
    }
};

// Never destroyed: tensors may outlive static destructors. Around a fork the lock is held, so that the child finds it whole.
Memory& memory() {
    static Memory& m = *[] {
        static Memory* made = new Memory;
        pthread_atfork([] { made->lock.lock(); }, [] { made->lock.unlock(); }, [] { made->lock.unlock(); });
        return made;
    }();
    return m;
}

}  // namespace

void* take_memory(size_t bytes) { return memory().take(bytes); }
void give_memory(void* block) { memory().give(block); }

}  // namespace anamorph

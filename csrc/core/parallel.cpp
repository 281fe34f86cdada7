// A pool of its own: OpenMP's hangs in a process forked after first use, and DataLoader workers are such processes.
#include "parallel.h"

#include <pthread.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace anamorph {

std::atomic<int64_t> launches{0};

namespace {

struct Pool {
    std::mutex turn;  // one job at a time; a caller who finds it taken works alone
    std::mutex lock;
    std::condition_variable wake, done;
    std::vector<std::thread> threads;
    const std::function<void(int64_t)>* job = nullptr;
    std::atomic<int64_t> next{0};
    int64_t count = 0;
    int wanted = 0, running = 0;
    uint64_t generation = 0;
    std::exception_ptr error;

    void work() {
        for (;;) {
            int64_t i = next.fetch_add(1, std::memory_order_relaxed);
            if (i >= count) return;
            try {
                (*job)(i);
            } catch (...) {
                std::lock_guard<std::mutex> g(lock);
                if (!error) error = std::current_exception();
                next.store(count);
            }
        }
    }
    void helper(int id) {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> g(lock);
        for (;;) {
            wake.wait(g, [&] { return generation != seen; });
            seen = generation;
            if (id >= wanted) continue;
            g.unlock();
            work();
            g.lock();
            if (--running == 0) done.notify_one();
        }
    }
    void run(int64_t n, int workers, const std::function<void(int64_t)>& f) {
        std::unique_lock<std::mutex> g(lock);
        int helpers = workers - 1;
        while (int(threads.size()) < helpers) {
            int id = int(threads.size());
            threads.emplace_back([this, id] { helper(id); });
        }
        job = &f;
        count = n;
        next.store(0);
        error = nullptr;
        wanted = running = helpers;
        ++generation;
        g.unlock();
        wake.notify_all();
        work();
        g.lock();
        done.wait(g, [&] { return running == 0; });
        job = nullptr;
        if (error) std::rethrow_exception(error);
    }
};

// Never destroyed: helpers may outlive static destructors. A forked child has no helpers, so it starts a new pool.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
    Pool* p = pool.load();
    if (!p) {
        static const bool hooked = [] {
            pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); });
            return true;
        }();
        (void)hooked;
        Pool* fresh = new Pool;
        if (pool.compare_exchange_strong(p, fresh)) p = fresh;
        else delete fresh;
    }
    return *p;
}

}  // namespace

void parallel_run(int64_t n, int threads, const std::function<void(int64_t)>& f) {
    Pool& p = the_pool();
    std::unique_lock<std::mutex> turn(p.turn, std::try_to_lock);
    if (!turn.owns_lock()) {
        for (int64_t i = 0; i < n; ++i) f(i);
        return;
    }
    p.run(n, threads < n ? threads : int(n), f);
}

}  // namespace anamorph

// parallel_for(n, threads, f): f(0) .. f(n-1) on the calling thread and helpers, in no order; and the count of launches.
// The first exception thrown by f is thrown again here.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>

namespace anamorph {

void parallel_run(int64_t n, int threads, const std::function<void(int64_t)>& f);
extern std::atomic<int64_t> launches;  // one for each parallel_for and each CUDA kernel

// For so little work (values that are touched) waking a thread costs more than it brings.
inline int threads_for(int64_t work, int threads) { return work < 32768 ? 1 : threads; }

template <class F> void parallel_for(int64_t n, int threads, F&& f) {
    launches.fetch_add(1, std::memory_order_relaxed);
    if (threads <= 1 || n <= 1) {
        for (int64_t i = 0; i < n; ++i) f(i);
        return;
    }
    parallel_run(n, threads, std::function<void(int64_t)>(std::ref(f)));
}

}  // namespace anamorph

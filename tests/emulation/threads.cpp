// The thread pool and the kept memory with callers that no interpreter's lock keeps apart: a program for ThreadSanitizer.
#include <unistd.h>

#include <sys/wait.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../../csrc/core/host_memory.h"
#include "../../csrc/core/parallel.h"

using namespace anamorph;

namespace {

std::atomic<int> wrong{0};
void need(bool good, const char* what) {
    if (!good) std::fprintf(stderr, "%s\n", what), ++wrong;
}

template <class F> void at_once(int callers, F f) {
    std::vector<std::thread> all;
    for (int i = 0; i < callers; ++i) all.emplace_back(f, i);
    for (std::thread& t : all) t.join();
}

// Every index once, seen by the caller, whoever else calls; and an error is thrown once all have stopped.
void use_pool(int caller) {
    for (int round = 0; round < 200; ++round) {
        std::vector<int> count(size_t(1 + (caller * 37 + round) % 90), 0);
        parallel_for(int64_t(count.size()), 1 + round % 5, [&](int64_t i) { ++count[size_t(i)]; });
        for (int c : count) need(c == 1, "an index was not run once");
        bool thrown = false;
        try {
            parallel_for(20, 3, [&](int64_t i) {
                if (i % 5 == round % 5) throw std::runtime_error("on purpose");
            });
        } catch (const std::runtime_error&) { thrown = true; }
        need(thrown, "an error was lost");
    }
}

// Blocks are their taker's alone, of the size asked for, and may be given by another thread.
void use_memory(int caller) {
    std::vector<char*> mine;
    for (int round = 0; round < 60; ++round) {
        size_t bytes = (size_t(1) << 20) * size_t(1 + (round * 7 + caller) % 5);
        char* block = static_cast<char*>(take_memory(bytes));
        block[0] = block[bytes - 1] = char(caller);
        mine.push_back(block);
        if (mine.size() == 3) {
            need(mine[0][0] == char(caller), "a block had two owners");
            std::thread([&] { give_memory(mine[0]); }).join();
            mine.erase(mine.begin());
        }
    }
    for (char* block : mine) give_memory(block);
}

}  // namespace

int main() {
    at_once(4, use_pool);
    at_once(4, use_memory);
    pid_t child = fork();  // which has no helpers, and starts its own
    if (child == 0) {
        use_pool(0);
        use_memory(0);
        _exit(wrong != 0);
    }
    int status = 1;
    need(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a forked process failed");
    std::printf("pool and memory: %d wrong\n", wrong.load());
    return wrong != 0;
}

// What the watch asks of the scheduler.
#pragma once
#include <string>

namespace emulated {

extern int current_thread;                               // of the running block, x fastest; -1: no kernel runs
std::string thread_name(int thread);                     // "thread (3, 0, 0)"
[[noreturn]] void fail_thread(const std::string& what);  // ends the launch: the running thread did that

}  // namespace emulated

#include "simd_level.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "errors.h"

namespace anamorph {
namespace {

const char* const names[] = {"base", "avx2", "avx512"};

SimdLevel best() {
#if defined(AM_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return SimdLevel::base;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return SimdLevel::avx512;
    return SimdLevel::avx2;
#else
    return SimdLevel::base;
#endif
}

// The number of that name, or -1.
int number_of(const char* name) {
    for (int i = 0; i < int(sizeof names / sizeof *names); ++i)
        if (!std::strcmp(name, names[i])) return i;
    return -1;
}

SimdLevel chosen(const char* name) {
    if (!name || !*name) return best();
    int wanted = number_of(name);
    if (wanted < 0) fail<ArgumentError>("ANAMORPH_SIMD: expected base, avx2 or avx512, given ", name);
    return wanted < int(best()) ? SimdLevel(wanted) : best();
}

std::atomic<SimdLevel>& current() {
    static std::atomic<SimdLevel> level{chosen(std::getenv("ANAMORPH_SIMD"))};
    return level;
}

}  // namespace

SimdLevel simd_level() { return current().load(std::memory_order_relaxed); }
const char* simd_name() { return names[int(simd_level())]; }
bool use_simd(const char* name) {
    int wanted = number_of(name);
    if (wanted < 0 || wanted > int(best())) return false;
    current() = SimdLevel(wanted);
    return true;
}

}  // namespace anamorph

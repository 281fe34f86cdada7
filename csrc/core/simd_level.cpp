#include "simd_level.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

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

// The level of that name, or `otherwise` where there is none or the machine does not have it.
SimdLevel named(const char* name, SimdLevel otherwise) {
    for (int i = 0; name && i <= int(best()); ++i)
        if (!std::strcmp(name, names[i])) return SimdLevel(i);
    return otherwise;
}

std::atomic<SimdLevel>& current() {
    static std::atomic<SimdLevel> level{named(std::getenv("ANAMORPH_SIMD"), best())};
    return level;
}

}  // namespace

SimdLevel simd_level() { return current().load(std::memory_order_relaxed); }
const char* simd_name() { return names[int(simd_level())]; }
bool use_simd(const char* name) {
    current() = named(name, simd_level());
    return !std::strcmp(name, simd_name());
}

}  // namespace anamorph

#include "simd_level.h"

#include <cstdlib>
#include <cstring>

namespace anamorph {
namespace {
SimdLevel find() {
#if defined(AM_X86)
    __builtin_cpu_init();
    SimdLevel best = SimdLevel::base;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = SimdLevel::avx2;
    if (best == SimdLevel::avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        best = SimdLevel::avx512;
    if (const char* wish = std::getenv("ANAMORPH_SIMD")) {
        if (!std::strcmp(wish, "base")) return SimdLevel::base;
        if (!std::strcmp(wish, "avx2") && best != SimdLevel::base) return SimdLevel::avx2;
    }
    return best;
#else
    return SimdLevel::base;
#endif
}
}  // namespace

SimdLevel simd_level() {
    static const SimdLevel level = find();
    return level;
}
const char* simd_name() {
    switch (simd_level()) {
        case SimdLevel::avx512: return "avx512";
        case SimdLevel::avx2: return "avx2";
        default: return "baseline";
    }
}
}  // namespace anamorph

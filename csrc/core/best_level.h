// AM_BEST(task): a task of a kernels.h at the best SIMD level of this machine. AM_AT_LEVELS(declaration) declares it at all of them.
#pragma once
#include "simd_level.h"

#if defined(AM_X86)
#define AM_AT_LEVELS(...) \
    namespace base {      \
    __VA_ARGS__           \
    }                     \
    namespace avx2 {      \
    __VA_ARGS__           \
    }                     \
    namespace avx512 {    \
    __VA_ARGS__           \
    }
#define AM_BEST(task) \
    (simd_level() == SimdLevel::avx512 ? avx512::task : simd_level() == SimdLevel::avx2 ? avx2::task : base::task)
#else
#define AM_AT_LEVELS(...) \
    namespace base {      \
    __VA_ARGS__           \
    }
#define AM_BEST(task) base::task
#endif

// Words that both the C++ and the CUDA compiler read.
#pragma once

#if defined(__CUDACC__)
#define AM_HD __host__ __device__ __forceinline__
#define AM_D __device__ __forceinline__
#define AM_CALLED inline __host__ __device__ __noinline__
#else
#define AM_HD inline __attribute__((always_inline))
#define AM_CALLED AM_HD
#endif
// AM_CALLED: of numbers alone, and needed in many places of a kernel that few threads run. Such a kernel waits for its own
// instructions, so one copy that is called is better than many. A CPU has no reason to.

// Before a loop of constant length over a small array: unrolled, the array lies in registers.
#if defined(__CUDACC__)
#define AM_UNROLL _Pragma("unroll")
#define AM_UNROLL_BY(n) _Pragma(AM_TEXT(unroll(n)))
#define AM_TEXT(x) #x
#else
#define AM_UNROLL
#define AM_UNROLL_BY(n)
#endif

// The kernels' headers are compiled once for each SIMD level. Each level has a namespace of its own: the linker
// would otherwise keep one copy of an inline function for all, and a baseline machine could meet AVX-512 code.
#ifndef AM_LEVEL
#define AM_LEVEL base
#endif

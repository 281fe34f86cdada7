// The CUDA language and runtime for a host compiler: what a .cu file finds when it is compiled into tests/emulation's module.
// The build defines __CUDACC__ and __CUDA_ARCH__ for these files, so that they and their headers take a device's ways.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

// Shared variables and kernels carry a tag in their mangled names. By it the runtime finds a kernel's shared variables, their
// places and sizes, in this module's own symbol table; section attributes would say the same, but GCC forgets them in templates.
#define __shared__ static __attribute__((abi_tag("shared")))
#define __global__ __attribute__((abi_tag("kernel")))
#define __host__
#define __device__
#define __constant__
#define __managed__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__  // not an attribute: the standard library writes __attribute__((__noinline__))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __maxnreg__(n)
#define __grid_constant__
#define __CUDA_ALIGN__(n) __align__(n)

#include "emulated/vectors.h"
#include "emulated/api.h"
#include "emulated/threads.h"
#include "emulated/warp.h"
#include "emulated/atomics.h"
#include "emulated/arithmetic.h"

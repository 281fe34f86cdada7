// The avx512 build of kernels.h: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL avx512
#include "kernels.h"

// The avx2 build of kernels.h: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL avx2
#include "kernels.h"

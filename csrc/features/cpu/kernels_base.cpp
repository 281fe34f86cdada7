// The base build of kernels.h: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL base
#include "kernels.h"

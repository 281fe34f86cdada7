// The avx2 build of carry.h on a CPU: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL avx2
#include "carry_rows.h"

// The base build of carry.h on a CPU: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL base
#include "carry_rows.h"

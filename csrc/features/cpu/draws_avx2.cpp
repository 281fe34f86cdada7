// The avx2 build of draw_rows.h: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL avx2
#include "draw_rows.h"

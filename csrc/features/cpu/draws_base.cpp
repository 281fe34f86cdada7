// The base build of draw_rows.h: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL base
#include "draw_rows.h"

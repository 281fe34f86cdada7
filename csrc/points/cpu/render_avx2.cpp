// The avx2 build of render_rows.h: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL avx2
#include "render_rows.h"

// The avx512 build of the CPU renderer: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL avx512
#include "render_rows.h"

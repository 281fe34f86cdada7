// The base build of render_rows.h: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL base
#include "render_rows.h"

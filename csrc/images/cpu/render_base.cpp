// The base build of the CPU renderer: CMakeLists.txt gives this file its instruction set.
#define AM_LEVEL base
#include "render_rows.h"

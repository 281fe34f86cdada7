#include "../../csrc/core/launch.h"
#include <pybind11/pybind11.h>
void bind_kernels(pybind11::module_&) {}

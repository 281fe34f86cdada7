// The submodule `points`, a binding function for each of its parts. All its functions take their arguments by name.
#pragma once
#include <pybind11/pybind11.h>

namespace anamorph {
void bind_assign(pybind11::module_& m);
void bind_clouds(pybind11::module_& m);
void bind_deform(pybind11::module_& m);
void bind_mix(pybind11::module_& m);
void bind_neighbours(pybind11::module_& m);
}  // namespace anamorph

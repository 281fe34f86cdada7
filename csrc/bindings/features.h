// The submodule `features`, a binding function for each of its parts. All its functions take their arguments by name.
#pragma once
#include <pybind11/pybind11.h>

namespace anamorph {
void bind_feature_graphs(pybind11::module_& m);
void bind_feature_maps(pybind11::module_& m);
void bind_feature_vectors(pybind11::module_& m);
}  // namespace anamorph

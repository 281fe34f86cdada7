// One binding function for each family of ops; module.cpp calls them.
#pragma once
#include <pybind11/pybind11.h>

namespace anamorph {
void bind_core(pybind11::module_& m);
void bind_features(pybind11::module_& m);
void bind_images(pybind11::module_& m);
void bind_mosaic(pybind11::module_& m);
void bind_paste(pybind11::module_& m);
void bind_pictures(pybind11::module_& m);
void bind_points(pybind11::module_& m);
}  // namespace anamorph

// One binding function for each family of ops; module.cpp calls them.
#pragma once
#include <pybind11/pybind11.h>

namespace anamorph {
void bind_core(pybind11::module_& m);
void bind_images(pybind11::module_& m);
void bind_pictures(pybind11::module_& m);

#if defined(AM_CUDA)
int swap_device(int device);  // makes it current, returns the one before
bool cuda_usable();           // a driver and a device are here
#endif
}  // namespace anamorph

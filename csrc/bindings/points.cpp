#include "points.h"

#include "family.h"

namespace anamorph {

void bind_points(pybind11::module_& m) {
    pybind11::module_ points = m.def_submodule("points");
    bind_assign(points);
    bind_clouds(points);
    bind_deform(points);
    bind_mix(points);
    bind_neighbours(points);
}

}  // namespace anamorph

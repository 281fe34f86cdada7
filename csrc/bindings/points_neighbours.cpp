// Point clouds: neighbourhoods.
#include "points.h"

#include "on_cuda.h"

namespace anamorph {

void bind_neighbours(py::module_& m) { (void)m; }

}  // namespace anamorph

// Point clouds: deformation and masks.
#include "points.h"

#include "on_cuda.h"

namespace anamorph {

void bind_deform(py::module_& m) { (void)m; }

}  // namespace anamorph

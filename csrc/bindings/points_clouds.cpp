// Point clouds: recipes of point transforms.
#include "points.h"

#include "on_cuda.h"

namespace anamorph {

void bind_clouds(py::module_& m) { (void)m; }

}  // namespace anamorph

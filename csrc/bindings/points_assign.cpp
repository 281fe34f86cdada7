// Point clouds: assignment and mixing.
#include "points.h"

#include "on_cuda.h"

namespace anamorph {

void bind_assign(py::module_& m) { (void)m; }

}  // namespace anamorph

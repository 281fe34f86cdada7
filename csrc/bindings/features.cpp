#include "features.h"

#include "family.h"

namespace anamorph {

void bind_features(pybind11::module_& m) {
    pybind11::module_ features = m.def_submodule("features");
    bind_feature_graphs(features);
    bind_feature_maps(features);
    bind_feature_vectors(features);
}

}  // namespace anamorph

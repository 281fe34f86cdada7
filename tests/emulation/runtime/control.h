// What the tests set, and what the runtime's parts tell each other about errors.
#pragma once
#include <cstdint>

#include "../include/emulated/api.h"

namespace emulated {

void set_seed(uint64_t seed);              // of the launches that follow
cudaError_t set_error(cudaError_t error);  // what cudaGetLastError will say, unless it is success; returns it

}  // namespace emulated

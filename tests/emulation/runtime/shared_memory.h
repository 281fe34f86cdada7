// Where a kernel's shared memory lies. Each __shared__ variable is a static one of this module, found in the module's symbol
// table by the tags that cuda_runtime.h puts into names; the dynamic part is one block for all kernels.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulated {

struct Variable {
    char* start;
    size_t bytes;
    std::string name;
};

// A kernel's own variables, and those of functions that are no kernels, which it may call.
const std::vector<Variable>& shared_variables(const void* kernel);

struct Range {
    uintptr_t begin, end;
};
Range module_memory();  // code, constants and variables of this module

}  // namespace emulated

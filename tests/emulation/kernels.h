// Kernels for the tests of the emulation, by name: all take what they read, what they write, and two numbers.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

void run_kernel(const std::string& name, std::vector<unsigned> grid, std::vector<unsigned> block, size_t shared, const void* in,
                void* out, int a, int b);

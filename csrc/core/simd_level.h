// Which instruction set the CPU kernels use: the best this machine has, or ANAMORPH_SIMD=base|avx2|avx512 if it has that.
#pragma once

namespace anamorph {
enum class SimdLevel { base, avx2, avx512 };
SimdLevel simd_level();
const char* simd_name();
}  // namespace anamorph

// Which instruction set the CPU kernels use: the best this machine has, or no better than ANAMORPH_SIMD=base|avx2|avx512 says.
// Another name there is an ArgumentError at the first question.
#pragma once

namespace anamorph {
enum class SimdLevel { base, avx2, avx512 };
SimdLevel simd_level();
const char* simd_name();          // "base", "avx2" or "avx512"
bool use_simd(const char* name);  // from now on; false where the machine does not have it
}  // namespace anamorph

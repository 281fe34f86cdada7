// Vector types with a device's sizes and alignments, and dim3. The makers must be inlined: a struct that a call returns into memory
// is a store that the compiler's instrumentation does not see.
#pragma once

#define EMULATED_INLINE inline __attribute__((always_inline))

#define EMULATED_VECTORS(base, name, two, four)                                          \
    struct name##1 { base x; };                                                          \
    struct alignas(two) name##2 { base x, y; };                                          \
    struct name##3 { base x, y, z; };                                                    \
    struct alignas(four) name##4 { base x, y, z, w; };                                   \
    EMULATED_INLINE name##1 make_##name##1(base x) { return {x}; }                       \
    EMULATED_INLINE name##2 make_##name##2(base x, base y) { return {x, y}; }            \
    EMULATED_INLINE name##3 make_##name##3(base x, base y, base z) { return {x, y, z}; } \
    EMULATED_INLINE name##4 make_##name##4(base x, base y, base z, base w) { return {x, y, z, w}; }
EMULATED_VECTORS(signed char, char, 2, 4)
EMULATED_VECTORS(unsigned char, uchar, 2, 4)
EMULATED_VECTORS(short, short, 4, 8)
EMULATED_VECTORS(unsigned short, ushort, 4, 8)
EMULATED_VECTORS(int, int, 8, 16)
EMULATED_VECTORS(unsigned, uint, 8, 16)
EMULATED_VECTORS(long, long, 16, 16)
EMULATED_VECTORS(unsigned long, ulong, 16, 16)
EMULATED_VECTORS(long long, longlong, 16, 16)
EMULATED_VECTORS(unsigned long long, ulonglong, 16, 16)
EMULATED_VECTORS(float, float, 8, 16)
EMULATED_VECTORS(double, double, 16, 16)
#undef EMULATED_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
    constexpr operator uint3() const { return {x, y, z}; }
};

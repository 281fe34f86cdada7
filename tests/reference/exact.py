"""The sampler's functions by the same IEEE operations, in Python floats (which are IEEE doubles and never contracted)."""

import math
import struct


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def from_bits(u):
    return struct.unpack("<d", struct.pack("<Q", u))[0]


def floor(x):
    return float(math.floor(x))


def round_even(x):
    return float(round(x))


def sqrt(x):
    if not x > 0:
        return 0.0
    y = from_bits((bits(x) >> 1) + 0x1FF7A3BEA91D9B1B)
    for _ in range(5):
        y = 0.5 * (y + x / y)
    return y


def exp(x):
    x = min(x, 700.0)
    if x < -700:
        return 0.0
    k = floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    s = 1.0
    for i in range(14, 0, -1):
        s = 1.0 + s * r / float(i)
    return s * from_bits((int(k) + 1023) << 52)


def log(x):
    u = bits(x)
    e = (u >> 52) - 1023
    m = from_bits((u & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000)
    if m > 1.4142135623730951:
        m, e = m * 0.5, e + 1
    z = (m - 1.0) / (m + 1.0)
    z2, s = z * z, 0.0
    for i in range(21, 0, -2):
        s = s * z2 + 1.0 / float(i)
    return 2.0 * z * s + float(e) * 0.69314718055994530942


def sincos_deg(deg):
    q = floor(deg / 90.0 + 0.5)
    r = (deg - q * 90.0) * 0.017453292519943295769
    r2, s, c = r * r, 1.0, 1.0
    for i in range(9, 0, -1):
        s = 1.0 - s * r2 / float((2 * i) * (2 * i + 1))
        c = 1.0 - c * r2 / float((2 * i - 1) * (2 * i))
    s = s * r
    n = int(q - 4.0 * floor(q / 4.0))
    return [(s, c), (c, -s), (-s, -c), (-c, s)][n]

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
    return math.sqrt(x) if x > 0 else 0.0


def polynomial(x, terms):
    """Neighbours first: (a + b x) + (c + d x) x^2 ..."""
    while len(terms) > 1:
        alone = terms[-1:] if len(terms) % 2 else []
        terms = [a + b * x for a, b in zip(terms[::2], terms[1::2])] + alone
        x = x * x
    return terms[0]


def exp(x):
    x = min(x, 700.0)
    if x < -700:
        return 0.0
    k = floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    return (1.0 + r * polynomial(r, [1.0 / math.factorial(i) for i in range(1, 14)])) * from_bits((int(k) + 1023) << 52)


def log(x):
    u = bits(x)
    e = (u >> 52) - 1023
    m = from_bits((u & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000)
    if m > 1.4142135623730951:
        m, e = m * 0.5, e + 1
    z = (m - 1.0) / (m + 1.0)
    s = 1.0 + z * z * polynomial(z * z, [1.0 / i for i in range(3, 22, 2)])
    return 2.0 * z * s + float(e) * 0.69314718055994530942


def sincos_deg(deg):
    q = floor(deg * (1.0 / 90.0) + 0.5)
    r = (deg - q * 90.0) * 0.017453292519943295769
    r2 = r * r
    s = r + r * (r2 * polynomial(r2, [(-1) ** i / math.factorial(2 * i + 1) for i in range(1, 9)]))
    c = 1.0 + r2 * polynomial(r2, [(-1) ** i / math.factorial(2 * i) for i in range(1, 9)])
    return [(s, c), (c, -s), (-s, -c), (-c, s)][int(q) % 4]

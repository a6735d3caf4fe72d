"""Random numbers of training, from their definitions (docs/formats.md), in Python's integers."""

import numpy as np


def philox(c, key):
    c, key = [int(x) for x in c], [int(x) for x in key]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ key[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def draw_uniform(name, seed, scale, shape):
    """A weight from #lm.drawn<uniform, scale, seed>."""
    stream = 0xCBF29CE484222325
    for byte in name.encode():
        stream = ((stream ^ byte) * 0x100000001B3) & (2**64 - 1)
    count, words = int(np.prod(shape)), []
    for block in range((count + 3) // 4):
        words += philox((block, 0, stream & 0xFFFFFFFF, stream >> 32), (seed & 0xFFFFFFFF, seed >> 32))
    values = [(2 * ((word + 0.5) * 2.0**-32) - 1) * scale for word in words[:count]]
    return np.array(values, np.float32).reshape(shape)

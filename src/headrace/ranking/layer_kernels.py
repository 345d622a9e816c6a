"""The layers of the network on plain arrays, for few rows at a time: what PyTorch's layers of the same names compute.

Shapes: R rows, I and O widths, D width.
"""

from __future__ import annotations

import numpy as np

from headrace.core.compiled import exponential, fused, inlined
from headrace.data.log import Floats

_EPSILON = np.float32(1e-5)


@inlined
def _erf(x: np.float32) -> np.float32:
    """Return the error function, right to 1e-6 (Abramowitz and Stegun 1964, 7.1.26)."""
    size = abs(x)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * size)
    p = np.float32(1.061405429)
    p = p * t - np.float32(1.453152027)
    p = p * t + np.float32(1.421413741)
    p = p * t - np.float32(0.284496736)
    p = p * t + np.float32(0.254829592)
    above = np.float32(1) - p * t * exponential(-size * size)
    return above if x >= 0 else -above


@fused
def linear(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Return x (R, I) @ weight (I, O) + bias (O,)."""
    out = np.empty((x.shape[0], weight.shape[1]), np.float32)
    whole = x.shape[0] - x.shape[0] % 4
    for row in range(0, whole, 4):
        _linear_of_four(x[row : row + 4], weight, bias, out[row : row + 4])
    for row in range(whole, x.shape[0]):
        _linear_of_one(x[row], weight, bias, out[row])
    return out


@fused
def _linear_of_one(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    size, whole = out.shape[0], x.shape[0] - x.shape[0] % 4
    for o in range(size):
        out[o] = bias[o]
    for i in range(0, whole, 4):
        w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        for o in range(size):
            out[o] += x0 * w0[o] + x1 * w1[o] + x2 * w2[o] + x3 * w3[o]
    for i in range(whole, x.shape[0]):
        for o in range(size):
            out[o] += x[i] * weight[i, o]


@fused
def _linear_of_four(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """Read each weight once for four rows."""
    size, whole = out.shape[1], x.shape[1] - x.shape[1] % 4
    a, b, c, d = out[0], out[1], out[2], out[3]
    for o in range(size):
        a[o] = bias[o]
        b[o] = bias[o]
        c[o] = bias[o]
        d[o] = bias[o]
    for i in range(0, whole, 4):
        w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        a0, a1, a2, a3 = x[0, i], x[0, i + 1], x[0, i + 2], x[0, i + 3]
        b0, b1, b2, b3 = x[1, i], x[1, i + 1], x[1, i + 2], x[1, i + 3]
        c0, c1, c2, c3 = x[2, i], x[2, i + 1], x[2, i + 2], x[2, i + 3]
        d0, d1, d2, d3 = x[3, i], x[3, i + 1], x[3, i + 2], x[3, i + 3]
        for o in range(size):
            a[o] += a0 * w0[o] + a1 * w1[o] + a2 * w2[o] + a3 * w3[o]
            b[o] += b0 * w0[o] + b1 * w1[o] + b2 * w2[o] + b3 * w3[o]
            c[o] += c0 * w0[o] + c1 * w1[o] + c2 * w2[o] + c3 * w3[o]
            d[o] += d0 * w0[o] + d1 * w1[o] + d2 * w2[o] + d3 * w3[o]
    for i in range(whole, x.shape[1]):
        for o in range(size):
            a[o] += x[0, i] * weight[i, o]
            b[o] += x[1, i] * weight[i, o]
            c[o] += x[2, i] * weight[i, o]
            d[o] += x[3, i] * weight[i, o]


@fused
def layer_norm(x: Floats, affine: Floats) -> Floats:
    """Return the rows of x (R, D) with mean 0 and deviation 1, times `affine[0]` plus `affine[1]` (2, D)."""
    out = np.empty_like(x)
    width = np.float32(x.shape[1])
    for row in range(x.shape[0]):
        total = np.float32(0)
        for d in range(x.shape[1]):
            total += x[row, d]
        mean = total / width
        square = np.float32(0)
        for d in range(x.shape[1]):
            square += (x[row, d] - mean) ** 2
        factor = np.float32(1) / np.sqrt(square / width + _EPSILON)
        for d in range(x.shape[1]):
            out[row, d] = (x[row, d] - mean) * factor * affine[0, d] + affine[1, d]
    return out


@fused
def add_gated(x: Floats, gates: Floats, added: Floats) -> None:
    """Add sigmoid(gates) * added to x, all (R, D)."""
    for row in range(x.shape[0]):
        for d in range(x.shape[1]):
            x[row, d] += added[row, d] / (np.float32(1) + exponential(-gates[row, d]))


@fused
def gelu(x: Floats) -> None:
    """Replace x (R, O) by x times the share of a normal distribution below x."""
    for row in range(x.shape[0]):
        for o in range(x.shape[1]):
            v = x[row, o]
            x[row, o] = np.float32(0.5) * v * (np.float32(1) + _erf(v * np.float32(0.70710678)))

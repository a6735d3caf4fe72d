#!/usr/bin/env python3
"""Fits the polynomials of lib/CodeGen/CPU/VectorMath.cpp (needs mpmath).

Each is a weighted least-squares fit at Chebyshev nodes, reweighted towards
minimax (Lawson's iteration); coefficients are printed lowest power first.
"""
import mpmath as mp

mp.mp.dps = 40


def fit(name, target, weight, lo, hi, degree, iterations=25):
    """Minimises max |weight(x) * (target(x) - p(x))| on [lo, hi]."""
    n = 12 * (degree + 1)
    lo, hi = mp.mpf(lo), mp.mpf(hi)
    xs = [(lo + hi) / 2 + (hi - lo) / 2 * mp.cos(mp.pi * (i + 0.5) / n) for i in range(n)]
    ys = [target(x) for x in xs]
    ws = [weight(x) for x in xs]
    lawson = [mp.mpf(1) / n] * n
    scale = max(abs(lo), abs(hi))
    best = None
    for _ in range(iterations):
        a = mp.matrix(n, degree + 1)
        b = mp.matrix(n, 1)
        for i, x in enumerate(xs):
            s = mp.sqrt(lawson[i]) * ws[i]
            b[i] = s * ys[i]
            for j in range(degree + 1):
                a[i, j] = s * (x / scale) ** j
        c = mp.lu_solve(a, b)
        errors = [abs(w * (y - mp.polyval(list(c)[::-1], x / scale))) for x, y, w in zip(xs, ys, ws)]
        if best is None or max(errors) < best[0]:
            best = (max(errors), [c[j] / scale**j for j in range(degree + 1)])
        lawson = [l * (e + mp.mpf("1e-40")) for l, e in zip(lawson, errors)]
        total = sum(lawson)
        lawson = [l / total for l in lawson]
    print(f"{name}: error {mp.nstr(best[0], 3)}")
    print("  " + ", ".join(mp.nstr(c, 17) for c in best[1]))


half = mp.log(2) / 2 * mp.mpf("1.01")


def tail(f, series, power):
    """(f(x) - series(x)) / x^power, by Taylor expansion where it cancels."""
    def g(x):
        with mp.workdps(80):
            return (f(x) - series(x)) / x**power
    return g


# exp(r) = 1 + r + r^2 P(r)
fit("exp f32", tail(mp.exp, lambda r: 1 + r, 2), lambda r: r * r, -half, half, 4)
# expm1: the same form, weighted for relative error of expm1
fit("expm1 f32", tail(mp.exp, lambda r: 1 + r, 2), lambda r: r * r / abs(mp.expm1(r)), -half, half, 5)
fit("exp f64", tail(mp.exp, lambda r: 1 + r, 2), lambda r: r * r, -half, half, 7)
# log(1+f) = f - f^2/2 + f^3 P(f)
fit("log f32", tail(mp.log1p, lambda f: f - f * f / 2, 3), lambda f: f**3 / mp.log1p(f),
    mp.sqrt(mp.mpf(1) / 2) - 1, mp.sqrt(2) - 1, 8)
# log((1+s)/(1-s)) = 2s + s^3 P(s^2)
fit("log f64", lambda z: (2 * mp.atanh(mp.sqrt(z)) - 2 * mp.sqrt(z)) / mp.sqrt(z) ** 3,
    lambda z: z, mp.mpf("1e-12"), (mp.mpf("0.1716")) ** 2, 5)
# erf(x) = x P(x^2), |x| < 0.921875
fit("erf small", lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z), lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
    mp.mpf("1e-12"), mp.mpf("0.85"), 5)
# erf(x) = 1 - exp(-Q(x)), 0.921875 <= x < 3.92
fit("erf large", lambda x: -mp.log(mp.erfc(x)), lambda x: mp.erfc(x), mp.mpf("0.9"), mp.mpf("3.95"), 6)
# sin(r) = r + r^3 P(r^2), cos(r) = 1 - r^2/2 + r^4 P(r^2), |r| <= pi/4, in f64
q = (mp.pi / 4 * mp.mpf("1.01")) ** 2
fit("sin f64", lambda z: tail(mp.sin, lambda r: r, 3)(mp.sqrt(z)), lambda z: z, mp.mpf("1e-12"), q, 4)
fit("cos f64", lambda z: tail(mp.cos, lambda r: 1 - r * r / 2, 4)(mp.sqrt(z)), lambda z: z * z, mp.mpf("1e-12"), q, 4)
#atan(x) = x + x ^ 3 P(x ^ 2), | x | <= 1
fit("atan f32", lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda z: z * mp.sqrt(z) / mp.atan(mp.sqrt(z)),
    mp.mpf("1e-12"), 1, 8)
# Phi(-a) = 2^(a Q(a) - 1), the normal distribution's tail, for GELU; 2^r = P(r), |r| <= 1/2
tail_of_normal = lambda a: mp.erfc(a / mp.sqrt(2)) / 2
fit("gelu f32", lambda a: (mp.log(tail_of_normal(a), 2) + 1) / a, lambda a: a * tail_of_normal(a),
    mp.mpf("1e-12"), mp.mpf("5.6"), 7)
fit("exp2 f32", lambda r: mp.mpf(2) ** r, lambda r: mp.mpf(2) ** -r, mp.mpf("-0.501"), mp.mpf("0.501"), 6)

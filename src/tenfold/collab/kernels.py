"""Compiled loops over plain arrays, for the methods that fit ratings. The only file that imports numba.

Every kernel runs on one thread, releases the GIL and draws no random number: the caller passes the draws. The
result depends on the arguments only, never on the number of threads.

Gibbs sampling keeps factors in blocks of four, (blocks, rows, 4), and works on *lines* of sixteen numbers:
the symmetric 4 x 4 Gram matrix G of four factors of one row, by its diagonals, and the vector E, the gradient
of those factors. A line fills one cache line, and one vector of the widest processors.

    0: G00 G11 G22 G33    4: G01 G12 G23 G30    8: G02 G13 G02 G13    12: E0 E1 E2 E3
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numba import njit
from numba.core import config as numba_config

#: Numbers in a line.
LINE = 16

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: numba sets the attributes of this module from the environment.
config: Any = numba_config

#: The message if compiled code cannot be kept.
NOT_KEPT = (
    "compiled loops cannot be kept, so each process compiles them anew: no folder for them can be written; "
    "set TENFOLD_CACHE to a folder"
)
_OPTIONS: dict[str, Any] = {"fastmath": True, "nogil": True, "error_model": "numpy"}
_kept = True
_compiling = threading.Lock()


def notes() -> list[str]:
    """A message if this process had to compile what could not be kept."""
    return [] if _kept else [NOT_KEPT]


def _cache_folder() -> str | None:
    """The folder for compiled code: "" if numba shall choose, None for no folder.

    numba tries its own variable, the folder of this file, then the user's cache folder. If this file's folder
    is read-only, `TENFOLD_CACHE` comes before the last. For a user without a home directory numba would make,
    and trust, a cache in the current folder: there the answer is None.
    """
    own = os.path.join(os.path.dirname(__file__), "__pycache__")
    if config.CACHE_DIR or os.access(own if os.path.isdir(own) else os.path.dirname(own), os.W_OK):
        return ""
    given = os.environ.get("TENFOLD_CACHE")
    if given:
        return os.path.join(os.path.abspath(given), "kernels")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~")
    return "" if os.path.isabs(home) else None


def _compile(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, compiled on its first call or loaded from the cache."""
    global _kept
    folder = _cache_folder() if _kept else None
    before = config.CACHE_DIR
    config.CACHE_DIR = folder or before
    try:
        if folder is not None:
            compiled: Any = njit(cache=True, **_OPTIONS)(function)
            compiled._cache.save_overload = _tolerant(compiled._cache.save_overload)
            return compiled
    except (RuntimeError, OSError):  # numba found no writable folder
        pass
    finally:
        config.CACHE_DIR = before
    _kept = False
    return njit(**_OPTIONS)(function)


def _tolerant(save: Callable[..., object]) -> Callable[..., None]:
    """`save`, but a full disk is not an error."""

    def save_if_possible(*arguments: object) -> None:
        with suppress(OSError):
            save(*arguments)

    return save_if_possible


def _kernel(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, compiled on its first call with SLP vectorization instead of loop vectorization.

    A loop over ratings looks up rows of tables: vectorized over its iterations, it would gather them number
    by number. numba's two switches are global; they change only while a kernel compiles.
    """
    compiled = _compile(function)

    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        if getattr(compiled, "signatures", True):
            return compiled(*arguments, **named)
        with _compiling:
            before = config.SLP_VECTORIZE, config.LOOP_VECTORIZE
            config.SLP_VECTORIZE, config.LOOP_VECTORIZE = 1, 0
            try:
                return compiled(*arguments, **named)
            finally:
                config.SLP_VECTORIZE, config.LOOP_VECTORIZE = before

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    return call


# --- Gibbs sampling: passes over the ratings ------------------------------------------------------------


@_kernel
def residuals(start, item, target, mean, user_bias, item_bias, user_factors, item_factors, error):
    """error = target - mean - b_u - c_i - p_u . q_i for every rating. start (users + 1,) cuts by user."""
    for u in range(len(start) - 1):
        base = mean + user_bias[u]
        for k in range(start[u], start[u + 1]):
            error[k] = target[k] - base - item_bias[item[k]]
        for b in range(len(user_factors)):
            p = user_factors[b, u]
            p0, p1, p2, p3 = p[0], p[1], p[2], p[3]
            for k in range(start[u], start[u + 1]):
                i = item[k]
                q = item_factors[b]
                error[k] -= p0 * q[i, 0] + p1 * q[i, 1] + p2 * q[i, 2] + p3 * q[i, 3]


@_kernel
def moments_by_user(start, item, error, left, right, weight, sums):
    """Subtract left_u . right_i from the errors; then sums[:, u] = sums of w_i, w_i e and w_i e e."""
    for u in range(len(start) - 1):
        p0, p1, p2, p3 = left[u, 0], left[u, 1], left[u, 2], left[u, 3]
        s0 = s1 = s2 = np.float32(0)
        for k in range(start[u], start[u + 1]):
            i = item[k]
            x = error[k] - (p0 * right[i, 0] + p1 * right[i, 1] + p2 * right[i, 2] + p3 * right[i, 3])
            error[k] = x
            w = weight[i]
            s0 += w
            s1 += w * x
            s2 += w * x * x
        sums[0, u], sums[1, u], sums[2, u] = s0, s1, s2


@_kernel
def moments_by_item(start, item, error, steps, weight, sums):
    """Subtract steps_u from the errors; then sums[:, i] = sums of w_u, w_u e and w_u e e."""
    sums[:] = np.float32(0)
    for u in range(len(start) - 1):
        d, w = steps[u], weight[u]
        for k in range(start[u], start[u + 1]):
            i = item[k]
            x = error[k] - d
            error[k] = x
            sums[0, i] += w
            sums[1, i] += w * x
            sums[2, i] += w * x * x


@_kernel
def build_lines(factors, weight, lines):
    """The line of each row: w p p^T and w p, for its four factors p and its weight w."""
    for r in range(len(factors)):
        p0, p1, p2, p3 = factors[r, 0], factors[r, 1], factors[r, 2], factors[r, 3]
        w0, w1, w2, w3 = weight[r] * p0, weight[r] * p1, weight[r] * p2, weight[r] * p3
        line = lines[r]
        line[0], line[1], line[2], line[3] = w0 * p0, w1 * p1, w2 * p2, w3 * p3
        line[4], line[5], line[6], line[7] = w0 * p1, w1 * p2, w2 * p3, w3 * p0
        line[8], line[9], line[10], line[11] = w0 * p2, w1 * p3, w2 * p0, w3 * p1
        line[12], line[13], line[14], line[15] = w0, w1, w2, w3


@_kernel
def sum_by_user(start, item, error, left, right, lines, sums):
    """Subtract left_u . right_i from the errors; then sum the lines of each user's items (E x error)."""
    for u in range(len(start) - 1):
        p0, p1, p2, p3 = left[u, 0], left[u, 1], left[u, 2], left[u, 3]
        # Sixteen names and not an array, so that they stay in registers over the loop.
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = sa = sb = sc = sd = se = sf = np.float32(0)
        for k in range(start[u], start[u + 1]):
            i = item[k]
            x = error[k] - (p0 * right[i, 0] + p1 * right[i, 1] + p2 * right[i, 2] + p3 * right[i, 3])
            error[k] = x
            t = lines[i]
            s0 += t[0]
            s1 += t[1]
            s2 += t[2]
            s3 += t[3]
            s4 += t[4]
            s5 += t[5]
            s6 += t[6]
            s7 += t[7]
            s8 += t[8]
            s9 += t[9]
            sa += t[10]
            sb += t[11]
            sc += t[12] * x
            sd += t[13] * x
            se += t[14] * x
            sf += t[15] * x
        t = sums[u]
        t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7] = s0, s1, s2, s3, s4, s5, s6, s7
        t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15] = s8, s9, sa, sb, sc, sd, se, sf


@_kernel
def sum_by_item(start, item, error, left, right, lines, sums):
    """Subtract left_u . right_i from the errors; then sum the lines of each item's users (E x error)."""
    sums[:] = np.float32(0)
    for u in range(len(start) - 1):
        p0, p1, p2, p3 = left[u, 0], left[u, 1], left[u, 2], left[u, 3]
        t = lines[u]
        t0, t1, t2, t3, t4, t5, t6, t7 = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
        t8, t9, ta, tb, tc, td, te, tf = t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15]
        for k in range(start[u], start[u + 1]):
            i = item[k]
            x = error[k] - (p0 * right[i, 0] + p1 * right[i, 1] + p2 * right[i, 2] + p3 * right[i, 3])
            error[k] = x
            s = sums[i]
            # All loads before all stores, so that they join into one vector.
            s0, s1, s2, s3 = s[0] + t0, s[1] + t1, s[2] + t2, s[3] + t3
            s4, s5, s6, s7 = s[4] + t4, s[5] + t5, s[6] + t6, s[7] + t7
            s8, s9, sa, sb = s[8] + t8, s[9] + t9, s[10] + ta, s[11] + tb
            sc, sd, se, sf = s[12] + tc * x, s[13] + td * x, s[14] + te * x, s[15] + tf * x
            s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7] = s0, s1, s2, s3, s4, s5, s6, s7
            s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15] = s8, s9, sa, sb, sc, sd, se, sf


# --- Gibbs sampling: draws ------------------------------------------------------------------------------


@_compile
def _draw(line, values, mean, precision, noise, step):
    """Draw four coefficients one after the other, each given the others, and subtract the steps from E.

    Coefficient k has the prior N(mean_k, 1 / precision_k), and from the ratings the precision G_kk and the
    gradient E_k: its conditional is N(value + (E_k - precision_k (value - mean_k)) / p, 1 / p) with
    p = G_kk + precision_k.
    """
    e0, e1, e2, e3 = line[12], line[13], line[14], line[15]
    g01, g12, g23, g30, g02, g13 = line[4], line[5], line[6], line[7], line[8], line[9]
    p = line[0] + precision[0]
    d0 = (e0 - precision[0] * (values[0] - mean[0])) / p + noise[0] / np.sqrt(p)
    e1, e2, e3 = e1 - d0 * g01, e2 - d0 * g02, e3 - d0 * g30
    p = line[1] + precision[1]
    d1 = (e1 - precision[1] * (values[1] - mean[1])) / p + noise[1] / np.sqrt(p)
    e2, e3 = e2 - d1 * g12, e3 - d1 * g13
    p = line[2] + precision[2]
    d2 = (e2 - precision[2] * (values[2] - mean[2])) / p + noise[2] / np.sqrt(p)
    e3 = e3 - d2 * g23
    p = line[3] + precision[3]
    d3 = (e3 - precision[3] * (values[3] - mean[3])) / p + noise[3] / np.sqrt(p)
    line[12] = e0 - line[0] * d0 - g01 * d1 - g02 * d2 - g30 * d3
    line[13] = e1 - line[1] * d1 - g12 * d2 - g13 * d3
    line[14] = e2 - line[2] * d2 - g23 * d3
    line[15] = e3 - line[3] * d3
    step[0], step[1], step[2], step[3] = d0, d1, d2, d3
    for k in range(4):
        values[k] += step[k]


@_compile
def _measure(values, group, moments):
    """Sums and sums of squares of each group's four columns, in double precision: moments (groups, 8)."""
    moments[:] = 0
    if len(moments) > 1:
        for r in range(len(values)):
            for k in range(4):
                moments[group[r], k] += values[r, k]
                moments[group[r], 4 + k] += values[r, k] * values[r, k]
        return
    t0 = t1 = t2 = t3 = s0 = s1 = s2 = s3 = 0.0
    for r in range(len(values)):
        v0, v1 = np.float64(values[r, 0]), np.float64(values[r, 1])
        v2, v3 = np.float64(values[r, 2]), np.float64(values[r, 3])
        t0 += v0
        t1 += v1
        t2 += v2
        t3 += v3
        s0 += v0 * v0
        s1 += v1 * v1
        s2 += v2 * v2
        s3 += v3 * v3
    m = moments[0]
    m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7] = t0, t1, t2, t3, s0, s1, s2, s3


@_kernel
def draw_rows(sums, weight, own, factors, steps, group, mean, precision, noise, moments):
    """Draw the own factors of every row from its line, which is multiplied by the row's weight first.

    moments (1, 8): sums and sums of squares of the own factors as drawn.
    """
    for r in range(len(own)):
        line = sums[r]
        for k in range(LINE):
            line[k] *= weight[r]
        _draw(line, own[r], mean[0], precision[0], noise[r], steps[r])
        for k in range(4):
            factors[r, k] += steps[r, k]
    _measure(own, group, moments)


@_kernel
def draw_features(start, rows, scale, lines, group, effects, steps, mean, precision, noise, moments):
    """Draw four factors of every feature, one feature after the other, from the lines of its rows.

    Feature j is in rows[start[j]:start[j + 1]], with the value scale_r. Afterwards lines hold G times the
    squared scale and E times the scale. steps (features, 4): how far each feature moved. moments (groups, 8):
    as in `draw_rows`.
    """
    for r in range(len(scale)):
        x = scale[r]
        for k in range(12):
            lines[r, k] *= x * x
        for k in range(12, LINE):
            lines[r, k] *= x
    total = np.empty(LINE, np.float32)
    for j in range(len(group)):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = sa = sb = sc = sd = se = sf = np.float32(0)
        for k in range(start[j], start[j + 1]):
            t = lines[rows[k]]
            s0 += t[0]
            s1 += t[1]
            s2 += t[2]
            s3 += t[3]
            s4 += t[4]
            s5 += t[5]
            s6 += t[6]
            s7 += t[7]
            s8 += t[8]
            s9 += t[9]
            sa += t[10]
            sb += t[11]
            sc += t[12]
            sd += t[13]
            se += t[14]
            sf += t[15]
        t = total
        t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7] = s0, s1, s2, s3, s4, s5, s6, s7
        t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15] = s8, s9, sa, sb, sc, sd, se, sf
        g = group[j]
        _draw(t, effects[j], mean[g], precision[g], noise[j], steps[j])
        d0, d1, d2, d3 = steps[j, 0], steps[j, 1], steps[j, 2], steps[j, 3]
        for k in range(start[j], start[j + 1]):
            t = lines[rows[k]]
            # E - G d, diagonal by diagonal.
            e0 = t[12] - t[0] * d0 - t[4] * d1 - t[8] * d2 - t[7] * d3
            e1 = t[13] - t[1] * d1 - t[5] * d2 - t[9] * d3 - t[4] * d0
            e2 = t[14] - t[2] * d2 - t[6] * d3 - t[10] * d0 - t[5] * d1
            e3 = t[15] - t[3] * d3 - t[7] * d0 - t[11] * d1 - t[6] * d2
            t[12], t[13], t[14], t[15] = e0, e1, e2, e3
    _measure(effects, group, moments)


@_kernel
def move_rows(start, features, scale, feature_steps, lines, factors, steps):
    """Move every row by the steps of its features, and divide the scale out of its line."""
    for r in range(len(scale)):
        d0 = d1 = d2 = d3 = np.float32(0)
        for k in range(start[r], start[r + 1]):
            s = feature_steps[features[k]]
            d0 += s[0]
            d1 += s[1]
            d2 += s[2]
            d3 += s[3]
        x = scale[r]
        y = np.float32(1) / x
        d = steps[r]
        d[0], d[1], d[2], d[3] = d[0] + x * d0, d[1] + x * d1, d[2] + x * d2, d[3] + x * d3
        d = factors[r]
        d[0], d[1], d[2], d[3] = d[0] + x * d0, d[1] + x * d1, d[2] + x * d2, d[3] + x * d3
        for k in range(12):
            lines[r, k] *= y * y
        for k in range(12, LINE):
            lines[r, k] *= y


@_kernel
def draw_feature_biases(
    start, rows, scale, weights, pulls, group, effects, mean, precision, noise, bias, steps
):
    """Draw the bias of every feature, as `draw_features` draws four factors.

    weights, pulls: for every row the precision and the gradient of its bias; the steps are subtracted from
    the latter. bias, steps: of the rows, updated.
    """
    for j in range(len(group)):
        weight = pull = np.float32(0)
        for k in range(start[j], start[j + 1]):
            r = rows[k]
            weight += scale[r] * scale[r] * weights[r]
            pull += scale[r] * pulls[r]
        prior = precision[group[j]]
        d = (pull - prior * (effects[j] - mean[group[j]])) / (weight + prior) + noise[j] / np.sqrt(
            weight + prior
        )
        effects[j] += d
        for k in range(start[j], start[j + 1]):
            r = rows[k]
            x = scale[r] * d
            pulls[r] -= x * weights[r]
            bias[r] += x
            steps[r] += x


@_kernel
def draw_spans(begin, user, item, error, steps, user_weight, item_weight, precision, shift, noise):
    """Subtract steps_i from the errors; then draw a shift for every span s, and subtract it, too.

    Span s holds the ratings begin[s] to begin[s + 1] of user[s].
    """
    for s in range(len(user)):
        weight = pull = np.float32(0)
        for k in range(begin[s], begin[s + 1]):
            x = error[k] - steps[item[k]]
            error[k] = x
            weight += item_weight[item[k]]
            pull += item_weight[item[k]] * x
        p = user_weight[user[s]] * weight + precision
        d = (user_weight[user[s]] * pull - precision * shift[s]) / p + noise[s] / np.sqrt(p)
        shift[s] += d
        for k in range(begin[s], begin[s + 1]):
            error[k] -= d


# --- stochastic gradients -------------------------------------------------------------------------------


@_compile
def sgd_order(start, columns, user_cut, item_part, together, next_free, order):
    """Order the ratings for `sgd_block`: by block, and in a block interleaved from `together` users.

    Block (a, b) holds the ratings of users user_cut[a] to user_cut[a + 1] of items of part b. next_free
    (parts, parts): where each block begins, and in the end where it ends. Consecutive ratings of one user
    would wait for each other; interleaved ones do not. A user's own ratings are taken in steps of about 0.618
    of their number, which mixes early and late items.
    """
    for a in range(len(user_cut) - 1):
        for first in range(user_cut[a], user_cut[a + 1], together):
            last = min(first + together, user_cut[a + 1])
            most = 0
            for u in range(first, last):
                most = max(most, start[u + 1] - start[u])
            for turn in range(most):
                for u in range(first, last):
                    count = start[u + 1] - start[u]
                    if turn < count:
                        step = max(int(0.618 * count), 1)
                        while _common(step, count) > 1:
                            step += 1
                        k = start[u] + (turn * step) % count
                        b = item_part[columns[k]]
                        order[next_free[a, b]] = k
                        next_free[a, b] += 1


@_compile
def _common(a, b):
    """Greatest common divisor."""
    while b:
        a, b = b, a % b
    return a


@_compile
def sgd_block(begin, end, user, item, target, users, items, mean, rate, decay, bounded, biased):
    """One pass of stochastic gradients over ratings begin to end.

    users, items (rows, width): factors, and the bias last. The loss of a rating is (target - y)^2 / 2 plus
    decay / 2 times the squares of its parameters, with y = mean + b + c + p . q; where bounded, 8 (target -
    sigmoid(y))^2, which is as steep in the middle, with targets from 0 to 1.
    """
    width = users.shape[1]
    last = width - 1
    unit = np.float32(1)
    keep = unit - rate * decay
    for k in range(begin, end):
        p, q = users[user[k]], items[item[k]]
        b, c = p[last], q[last]
        y = mean + b + c - b * c
        for j in range(width):
            y += p[j] * q[j]
        if bounded:
            x = unit / (unit + np.exp(-y))
            g = rate * np.float32(16) * (target[k] - x) * x * (unit - x)
        else:
            g = rate * (target[k] - y)
        for j in range(width):
            f = p[j]
            p[j] = keep * f + g * q[j]
            q[j] = keep * q[j] + g * f
        if biased:
            p[last] = keep * b + g
            q[last] = keep * c + g
        else:
            p[last] = q[last] = np.float32(0)


# --- the transposed pairs, and least squares -----------------------------------------------------------


@_kernel
def turn(start, columns, values, other_start, rows, turned):
    """The pairs (row, columns[k]) of `start`, sorted by column and then by row.

    other_start (columns + 1,), rows: outputs; turned: the values beside them, if there are values.
    """
    other_start[:] = 0
    for k in range(len(columns)):
        other_start[columns[k] + 1] += 1
    for c in range(1, len(other_start)):
        other_start[c] += other_start[c - 1]
    next_free = other_start[:-1].copy()
    for r in range(len(start) - 1):
        for k in range(start[r], start[r + 1]):
            c = columns[k]
            rows[next_free[c]] = r
            if len(values):
                turned[next_free[c]] = values[k]
            next_free[c] += 1


@_compile
def solve_rows(first, last, start, index, weight, pull, others, base, each, base_pull, solved, variance):
    """Weighted ridge regression of each row from `first` to `last` on the vectors of the other side.

    Row r solves A x = v with A = base + n_r each I + sum of w z z^T and v = base_pull + sum of pull z, over
    its n_r ratings start[r] to start[r + 1]; z = others[index[k]], w = weight[k], or 1 without weights.
    solved (rows, width) is x; variance (rows, width) the diagonal of A^-1, which is left out if it is
    (0, width).
    """
    width = others.shape[1]
    a = np.empty((width, width), np.float32)
    x = np.empty(width, np.float32)
    for r in range(first, last):
        a[:] = base
        x[:] = base_pull
        for c in range(width):
            a[c, c] += each * np.float32(start[r + 1] - start[r])
        for k in range(start[r], start[r + 1]):
            z = others[index[k]]
            w = weight[k] if len(weight) else np.float32(1)
            for c in range(width):
                wz = w * z[c]
                for d in range(width):
                    a[c, d] += wz * z[d]
            for c in range(width):
                x[c] += pull[k] * z[c]
        # Cholesky by columns of the lower triangle, as rows of the transposed: A = L L^T, a[c, d] = L_dc.
        for c in range(width):
            root = np.float32(1) / np.sqrt(a[c, c])
            for d in range(c, width):
                a[c, d] *= root
            for e in range(c + 1, width):
                f = a[c, e]
                for d in range(e, width):
                    a[e, d] -= f * a[c, d]
        for c in range(width):
            x[c] /= a[c, c]
            for d in range(c + 1, width):
                x[d] -= a[c, d] * x[c]
        for c in range(width - 1, -1, -1):
            s = x[c]
            for d in range(c + 1, width):
                s -= a[c, d] * x[d]
            x[c] = s / a[c, c]
        solved[r] = x
        if len(variance):
            # The diagonal of A^-1 is the squared length of the columns of L^-1.
            for c in range(width):
                x[:] = np.float32(0)
                x[c] = np.float32(1)
                s = np.float32(0)
                for d in range(c, width):
                    x[d] /= a[d, d]
                    s += x[d] * x[d]
                    for e in range(d + 1, width):
                        x[e] -= a[d, e] * x[d]
                variance[r, c] = s


# --- which items go together ----------------------------------------------------------------------------


@_compile
def add_pairs(start, item, value, gram):
    """Add value[k] value[l] to gram[item[k], item[l]] for the pairs k <= l of each row of `start`.

    Items rise within a row, so that the upper triangle of gram (items, items) is filled.
    """
    for r in range(len(start) - 1):
        for k in range(start[r], start[r + 1]):
            line, own = gram[item[k]], value[k]
            for other in range(k, start[r + 1]):
                line[item[other]] += own * value[other]


@_compile
def add_cross(begin, taken_start, taken_user, taken_value, start, place, value, together):
    """Add to together[k] the rows of the users who took item begin + k, times the item's value in each.

    taken_start, taken_user, taken_value: items in CSR form.  start, place, value: users likewise.
    together: (items at once, places).
    """
    for k in range(len(together)):
        line = together[k]
        for t in range(taken_start[begin + k], taken_start[begin + k + 1]):
            user, own = taken_user[t], taken_value[t]
            for e in range(start[user], start[user + 1]):
                line[place[e]] += own * value[e]


@_compile
def add_lines(index, value, table, total):
    """Add the lines index[k] of table, times value[k], to total (float64)."""
    for k in range(len(index)):
        line, own = table[index[k]], np.float64(value[k])
        for c in range(len(total)):
            total[c] += own * line[c]

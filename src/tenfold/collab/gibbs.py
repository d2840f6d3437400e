"""Bayesian factors by Gibbs sampling: no weight decay to tune, and a standard deviation per prediction.

Salakhutdinov and Mnih 2008, "Bayesian probabilistic matrix factorization using Markov chain Monte Carlo",
with the items each user rated, and the users who rated each item, as features (Koren 2008; "flipped" by
Rendle, Zhang and Koren 2019, "On the difficulty of evaluating baselines", section 4). The model is in
`chain`; this file chooses its size and runs the chains.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from tenfold.collab import kernels
from tenfold.collab.chain import Chain, Features, Observations, Spans
from tenfold.collab.posterior import RANK, Draws, build_model
from tenfold.collab.scale import Scale, check_choices, choose_factors, constant_model, measure, thread_pool
from tenfold.collab.times import choose_lengths, span_starts
from tenfold.errors import RatingsError, RecipeError
from tenfold.events import Listener, SweepEnded
from tenfold.values import FactorModel, Ratings, SideFeatures

__all__ = ["choose_burn_in", "choose_sweeps", "fit_gibbs"]

#: Chains, on any number of threads: the result does not depend on them.
CHAINS = 2
#: Draws kept whole, for variances and fold-in, and the memory they may take.
SAMPLES = 16
#: Pairs whose scores' variance over the draws is measured.
PROBES = 4096
SAMPLE_BYTES = 64 << 20


def choose_sweeps(ratings: int) -> int:
    """400 up to 760,000 ratings, then falling with their fifth root to no fewer than 200.

    On inner splits of MovieLens 100K (bench/results/ratings.md) 400 in place of 200 gain 0.0018 of RMSE, and
    800 in place of 400 gain 0.0003.
    """
    return int(np.clip(600 * (1e5 / max(ratings, 1)) ** 0.2, 200, 400))


def choose_burn_in(sweeps: int) -> int:
    """Sweeps of each chain before averaging: a quarter of its own, at most 50."""
    return min(50, sweeps // CHAINS // 4)


def fit_gibbs(
    ratings: Ratings,
    *,
    factors: int | None = None,
    sweeps: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    implicit: bool = True,
    use_time: bool = True,
    user_side: SideFeatures | None = None,
    item_side: SideFeatures | None = None,
    on_sweep: Listener | None = None,
) -> FactorModel:
    """Biases and factors of users and items, averaged over draws from their posterior.

    factors: while sampling, rounded up to a multiple of four (`choose_factors`). The model has 1.5 times as
        many, since the mean of many products needs them.
    sweeps: of all chains together (`choose_sweeps`).
    implicit: the items a user rated, and the users who rated an item, are features.
    use_time: a user's ratings within one span of time share a shift, if ratings have times.
    user_side, item_side: features of `ratings.users` and of `ratings.items`.
    on_sweep: called after every sweep, by one thread at a time, with the deviation of the newest errors.

    The same seed gives the same bytes, on any number of threads. Raises RecipeError for impossible choices,
    RatingsError for events and for an empty table.
    """
    if ratings.implicit:
        raise RatingsError("events are not ratings, and this method is for ratings", fix="choose method als")
    check_choices(factors=factors, sweeps=sweeps, threads=threads)
    scale, count = measure(ratings), len(ratings.ratings)
    sweeps = choose_sweeps(count) if sweeps is None else sweeps
    shares = [sweeps // CHAINS + (chain < sweeps % CHAINS) for chain in range(CHAINS)]
    burn_in = choose_burn_in(sweeps)
    blocks = -(-(choose_factors(count) if factors is None else factors) // 4)
    if scale.spread == 0:
        return constant_model(ratings, "gibbs", scale.center, RANK * blocks)
    data = _observe(ratings, scale, implicit, use_time, user_side, item_side)
    report = _Report(on_sweep, sweeps, scale.spread)
    chains = [
        (share, seq)
        for share, seq in zip(shares, np.random.SeedSequence(seed).spawn(CHAINS), strict=True)
        if share
    ]
    kept = _samples_kept(data, blocks)
    probes = _probes(data, np.random.SeedSequence(seed).spawn(CHAINS + 1)[-1])

    def run(share: int, seed_sequence: np.random.SeedSequence) -> Draws:
        draws = Draws(data, blocks, probes)
        return _run(Chain(data, blocks, seed_sequence), draws, share, burn_in, kept, report)

    with thread_pool(threads, CHAINS) as pool:
        try:
            draws = list(pool.map(run, *zip(*chains, strict=True)))
        except BaseException:
            report.stopped = True
            raise
        return build_model(ratings, data, draws, scale)


# --- observations ---------------------------------------------------------------------------------------


def _observe(
    ratings: Ratings,
    scale: Scale,
    implicit: bool,
    use_time: bool,
    user_side: SideFeatures | None,
    item_side: SideFeatures | None,
) -> Observations:
    """Standardized ratings and their features."""
    users, items = len(ratings.users), len(ratings.items)
    start = np.searchsorted(ratings.user_index, np.arange(users + 1))
    item, values, spans = ratings.item_index, ratings.ratings, []
    if use_time and ratings.times is not None:
        order = np.lexsort((ratings.times, ratings.user_index))
        times = ratings.times[order]
        for length in choose_lengths(ratings.user_index, times):
            begin = span_starts(ratings.user_index, times, length)
            part = np.floor(times[begin[:-1]] / length).astype(np.int64)
            spans.append(Spans(length, begin, ratings.user_index[begin[:-1]].astype(np.int64), part))
        if spans:
            item, values = item[order], values[order]
    target = scale.targets(values)
    by_user: list[Features] = []
    by_item: list[Features] = []
    if implicit:
        item_start, raters = _turned(start, item, items)
        by_user.append(_features(item_start, raters, start, item, np.zeros(items, np.uint32), 1, False))
        by_item.append(_features(start, item, item_start, raters, np.zeros(users, np.uint32), 1, False))
    for side, features, rows in ((user_side, by_user, users), (item_side, by_item, items)):
        if side is not None and len(side.names):
            features.append(_side_features(side, rows))
    return Observations(start, item, target, items, tuple(by_user), tuple(by_item), tuple(spans))


def _turned(
    start: NDArray[np.int64], columns: NDArray[np.uint32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """The same pairs, sorted by column: start (columns + 1,) and rows."""
    other_start, rows = np.empty(count + 1, np.int64), np.empty(len(columns), np.uint32)
    none = np.empty(0, np.float32)
    kernels.turn(start, columns, none, other_start, rows, none)
    return other_start, rows


def _features(
    start: NDArray[np.int64],
    rows: NDArray[np.uint32],
    row_start: NDArray[np.int64],
    features: NDArray[np.uint32],
    group: NDArray[np.uint32],
    groups: int,
    biased: bool,
) -> Features:
    scale = (1 / np.sqrt(np.maximum(np.diff(row_start), 1))).astype(np.float32)
    return Features(start, rows, row_start, features, scale, group, groups, biased)


def _side_features(side: SideFeatures, rows: int) -> Features:
    if len(side.start) != rows + 1:
        raise RecipeError(
            f"side features of {len(side.start) - 1} rows for {rows} rows", fix="encode them for the same ids"
        )
    row_start = side.start.astype(np.int64)
    start, having = _turned(row_start, side.feature, len(side.names))
    return _features(start, having, row_start, side.feature, side.group, len(side.columns), True)


# --- running chains -------------------------------------------------------------------------------------


class _Report:
    """Counts the sweeps of all chains, and calls `on_sweep`."""

    def __init__(self, on_sweep: Listener | None, sweeps: int, spread: float) -> None:
        self.on_sweep, self.sweeps, self.spread = on_sweep, sweeps, spread
        self.done, self.stopped = 0, False
        self._lock = threading.Lock()

    def count(self, chain: Chain) -> None:
        with self._lock:
            self.done += 1
            if self.on_sweep is not None:
                deviation = self.spread / np.sqrt(chain.alpha)
                self.on_sweep(SweepEnded(self.done, self.sweeps, f"error {deviation:.4f}"))


def _probes(data: Observations, seed: np.random.SeedSequence) -> NDArray[np.int64]:
    """(2, pairs) users and items, drawn apart, each as often as there are ratings of them."""
    rng = np.random.Generator(np.random.SFC64(seed))
    user, item = rng.integers(0, len(data.item), (2, PROBES))
    return np.stack([np.searchsorted(data.start, user, side="right") - 1, data.item[item].astype(np.int64)])


def _run(chain: Chain, draws: Draws, sweeps: int, burn_in: int, kept: int, report: _Report) -> Draws:
    whole = set(np.linspace(burn_in, sweeps - 1, kept).astype(int).tolist())
    for sweep in range(sweeps):
        if report.stopped:
            break
        chain.sweep()
        report.count(chain)
        if sweep >= burn_in:
            draws.add(chain, sweep in whole)
    return draws


def _samples_kept(data: Observations, blocks: int) -> int:
    """How many sweeps of each chain are kept whole: at least two, as memory allows."""
    size = (2 if data.rated is None else 4) * (data.users + data.items) * 16 * blocks
    return int(np.clip(SAMPLE_BYTES // size, 2 * CHAINS, SAMPLES)) // CHAINS

"""What theory says of the parts of `cluster.py`: queues, least recently used, two choices."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Popularity = NDArray[np.float64]
"""The share of each expert in the demand, the most wanted first; sums to 1."""


def zipf(experts: int, skew: float) -> Popularity:
    """Shares that fall with the rank to the power of `skew`; 0 is uniform."""
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -skew
    return weights / weights.sum()


def erlang_c(servers: int, load: float) -> float:
    """The probability that a customer of M/M/c waits; `load` is rate times service time, < c."""
    below = sum(load**k / math.factorial(k) for k in range(servers))
    full = load**servers / math.factorial(servers) * servers / (servers - load)
    return full / (below + full)


def wait_of_mmc(servers: int, rate: float, service_s: float) -> float:
    """Mean seconds before service in M/M/c, first come first served."""
    load = rate * service_s
    return erlang_c(servers, load) * service_s / (servers - load)


def wait_of_mg1(rate: float, service_s: float, service_square: float) -> float:
    """Mean seconds before service in M/G/1, from the service's first two moments (Pollaczek and
    Khinchine)."""
    return rate * service_square / (2 * (1 - rate * service_s))


def stay_of_two_choices(load: float) -> float:
    """Mean service times that a customer spends at M/M/1 servers, if each takes the shorter of two
    queues drawn at random and there are very many (Mitzenmacher; Vvedenskaya and others)."""
    return sum(load ** (2**k - 2) for k in range(1, 20))


def lru_hits(popularity: Popularity, places: int) -> float:
    """The share of requests that find their expert among the `places` used last (Che, Tung, Wang).

    An expert is there if it was asked for within the last T requests, where T is so that `places`
    experts are there on average.
    """
    if places >= len(popularity):
        return 1.0
    low, high = 0.0, float(len(popularity))
    while _resident(popularity, high) < places:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _resident(popularity, middle) < places else (low, middle)
    return float((popularity * -np.expm1(-popularity * high)).sum())


def best_hits(popularity: Popularity, places: int) -> float:
    """The same if the `places` most wanted are always there: no placement does better, as long as
    one request tells nothing of the next."""
    return float(popularity[:places].sum())


def _resident(popularity: Popularity, window: float) -> float:
    return float(-np.expm1(-popularity * window).sum())

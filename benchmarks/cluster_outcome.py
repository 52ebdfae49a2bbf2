"""A simulation's requests as figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from cluster_simulation import Run, hits

WINDOW_S = 5.0
PATIENCE_S = 5.0
"""A first token that takes longer is no answer to a person."""


@dataclass(frozen=True)
class Outcome:
    """Of the counted requests; shares are of 1, times in seconds."""

    rate: float
    found: dict[str, float]
    """Shares by where they found their expert: slot, memory, disk, store."""
    resident: float
    """Slot and memory together: the hit rate."""
    ttft_p50: float
    ttft_p99: float
    ttft_p999: float
    total_p99: float
    late: float
    """The share that waited more than `PATIENCE_S` for its first token."""
    hottest: float
    """What the most asked replica was sent ÷ its capacity; above 1 its queue grows for ever."""
    copies: float
    """Replicas that the most wanted expert was asked on."""
    store_mb_s: float
    store: float
    """Of what the store can send; above 1 its queue grows for ever."""
    store_wait_p99: float
    front: float
    """Of what the front's processes can do."""
    lost: int
    retried: int


def outcome(run: Run) -> Outcome:
    site, demand, requests = run.site, run.demand, run.requests
    begin, end = requests[0].arrived, requests[-1].arrived
    span = end - begin
    answered = [request for request in requests if not request.lost]
    first = np.array([request.first - request.arrived for request in answered])
    total = np.array([request.done - request.arrived for request in answered])
    sent = Counter(request.replica for request in requests)
    alone = site.costs.request_s(demand.prompt, demand.answer, site.room.seats)
    fetches = [(asked, began) for asked, began in run.fetches if begin <= asked <= end]
    moved = len(fetches) * site.package_mb / span
    found = hits(requests)
    return Outcome(
        rate=len(requests) / span,
        found=found,
        resident=found["slot"] + found["memory"],
        ttft_p50=_percentile(first, 50),
        ttft_p99=_percentile(first, 99),
        ttft_p999=_percentile(first, 99.9),
        total_p99=_percentile(total, 99),
        late=float((first > PATIENCE_S).mean()),
        hottest=max(sent.values()) * alone / span,
        copies=len({request.replica for request in requests if request.expert == 0}),
        store_mb_s=moved,
        store=moved / site.store_mb_s,
        store_wait_p99=_percentile(np.array([began - asked for asked, began in fetches]), 99),
        front=len(requests) / span * site.front_s(demand.answer) / site.fronts,
        lost=len(requests) - len(answered),
        retried=run.retried,
    )


def windows(run: Run) -> list[tuple[float, float, float]]:
    """For each `WINDOW_S` around a failure: seconds since then, p99 of the first token, MB/s."""
    times = np.array([request.arrived - run.failed_at for request in run.requests])
    first = np.array([request.first - request.arrived for request in run.requests])
    asked = np.array([asked - run.failed_at for asked, _ in run.fetches])
    rows = []
    for begin in np.arange(-30.0, 120.0, WINDOW_S):
        inside = first[(times >= begin) & (times < begin + WINDOW_S)]
        fetched = ((asked >= begin) & (asked < begin + WINDOW_S)).sum()
        if inside.size:
            row = (begin, _percentile(inside, 99), fetched * run.site.package_mb / WINDOW_S)
            rows.append(tuple(map(float, row)))
    return rows


def _percentile(values: np.ndarray, share: float) -> float:
    return float(np.nanpercentile(values, share)) if values.size else 0.0

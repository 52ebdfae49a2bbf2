"""P6: the time to the first token of an expert that is not in memory, or not in a slot.

Every timed request has a prompt of its own, and comes right after one for another expert, so that
what differs is where its expert is: in a slot (hot, twice: A/A), in memory (cpu), on disk (cold: it
was unloaded just before). There are two slots. A round's figure is the median of its requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from random import Random
from statistics import median

from rounds import Ratio, interleave
from serving_bench import Bench, progress
from serving_client import Ask, Client, Reply, random_ids
from serving_experts import names, packed
from serving_figures import Finding, Milliseconds, figure

TARGET = 1.10
REACTIVATION_MS = 10.0
LENGTH = 256
"""Prompt tokens of the figure: a schema and a question. Others are measured beside it."""
SHORT = 32
"""For what re-activation adds: the shorter the request, the less noise."""
SLOTS = 2
WHERE = {"hot": "hit", "hot again": "hit", "cpu": "cpu", "cold": "disk"}
"""What the server must say of itself."""


@contextmanager
def asking(bench: Bench) -> Iterator[Asking]:
    """A server with two slots and five experts, all of them verified."""
    experts = names(5)
    folder = bench.made("ttft")
    packed(bench, folder, experts)
    with (
        bench.hive(folder, "--max-slots", str(SLOTS), "--max-cpu-experts", "8") as server,
        Client(server.api) as client,
    ):
        asking = Asking(client, experts)
        for name in experts * 2:
            asking.ask(name, SHORT)
        yield asking


class Asking:
    """One request for an expert that is where it should be."""

    def __init__(self, client: Client, experts: list[str]) -> None:
        self._client = client
        self._hot, self._cold, self._cpu, *self._others = experts
        self._random = Random(0)
        self.loads: list[float] = []
        """Milliseconds each cold request waited for its expert, by the server's own account."""

    def ask(self, name: str, length: int) -> Reply:
        ask = Ask(name, random_ids(self._random, length), tokens=1)
        return self._client.ask(ask, stream=True)

    def timed(self, where: str, length: int, count: int) -> float:
        """Median seconds to the first token of `count` requests."""
        return median(self._once(where, length) for _ in range(count))

    def _once(self, where: str, length: int) -> float:
        name = {"cpu": self._cpu, "cold": self._cold}.get(where, self._hot)
        before = [self._others[0], self._hot]
        if where == "cpu":
            before = [self._cpu, *self._others]
        elif where == "cold":
            self._client.run(self._client.post(f"experts/{name}/unload"))
        for other in before:
            self.ask(other, SHORT)
        reply = self.ask(name, length)
        said, _, load = reply.headers["x-hive-residency"].partition("; load_ms=")
        assert said == WHERE[where], f"{where}: the server says {said}"
        if where == "cold":
            self.loads.append(float(load))
        return reply.first_s


def measure(bench: Bench) -> Finding:
    lengths = {SHORT: (5, 5), LENGTH: (5, 4)} | ({} if bench.quick else {1024: (3, 2)})
    raw: dict[str, list[float]] = {}
    with asking(bench) as server:
        for length, (rounds, count) in lengths.items():
            subjects: dict[str, Callable[[], float]] = {
                where: partial(server.timed, where, length, count) for where in WHERE
            }
            times = interleave(subjects, 2 if bench.quick else rounds, tell=_tell(length))
            raw |= {f"{where}, {length} tokens": values for where, values in times.items()}
        loads = server.loads
    return found(raw, loads, list(lengths))


def found(raw: dict[str, list[float]], loads: list[float], lengths: list[int]) -> Finding:
    """The figures, from seconds by subject and round."""

    def ratio(where: str, length: int) -> Ratio:
        return Ratio.of(raw[f"{where}, {length} tokens"], raw[f"hot, {length} tokens"])

    added = Milliseconds.added(raw[f"cpu, {SHORT} tokens"], raw[f"hot, {SHORT} tokens"])
    reactivation = asdict(added) | {
        "target": REACTIVATION_MS,
        "ok": added.ms < REACTIVATION_MS,
    }
    cold = figure(ratio("cold", LENGTH), TARGET, "at most", also=bool(reactivation["ok"]))
    others = {
        f"{where} ÷ hot, {length} tokens": asdict(ratio(where, length))
        for length in lengths
        for where in ("hot again", "cpu", "cold")
        if (where, length) != ("cold", LENGTH)
    }
    return Finding(
        {"P6": cold | {"reactivation_ms": reactivation, "prompt_tokens": LENGTH}},
        {"load_ms": asdict(Milliseconds.of([ms / 1000 for ms in loads])), "ratios": others},
        raw,
    )


def _tell(length: int) -> Callable[[str], None]:
    return lambda line: progress.print(f"P6, {length} tokens: {line}")

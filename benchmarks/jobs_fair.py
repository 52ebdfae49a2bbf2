"""Do agents get tokens by their weights, and does a spent budget stop one? On the real engine.

Three agents with weights 1, 2 and 4 each have a batch; their requests differ in length, so that
equal numbers of requests would not be equal tokens. Tokens are counted, by the server's own metric,
from when all three batches run until the first of them has nothing left to hand out. A fourth agent
may use so many tokens a day and asks for more.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import openai
import rich_click as click
from jobs_batches import LIMIT_S, Batches, metric, wait_until_running, write_batch
from serving import machine
from serving_bench import Bench, end_as_usual_on_sigterm, progress
from serving_client import Ask, random_chat

from hive_expert.adapters.base_model import DEFAULT, resolve_base

RESULTS = Path(__file__).parent / "results"

WEIGHTS = {"alice": 1, "bob": 2, "carol": 4}
ANSWERS = {"alice": 24, "bob": 6, "carol": 12}
"""Tokens of an answer."""
WORDS = {"alice": 6, "bob": 24, "carol": 12}
"""Of a question."""
SPENDER, BUDGET = "dave", 600
ADMIN = "admin"
"""Who is told of all agents."""
TOLERANCE = 0.1
PLACES = 12
"""Requests of batches in the engine: those there when the counting begins or ends are its error."""
SHARE_LEFT = 0.15
"""The counting ends while each agent still has this much of its batch ahead."""


@dataclass(frozen=True)
class Share:
    """What one agent got."""

    weight: int
    requests: int
    tokens: int
    share: float
    wanted: float

    @property
    def off(self) -> float:
        """How far its share is from what it should be, as a part of that."""
        return abs(self.share - self.wanted) / self.wanted


@click.command()
@click.option("--requests", type=click.IntRange(min=50), default=700, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, on the last line.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(requests: int, as_json: bool, output: Path) -> None:
    """Have agents with weights and a budget share a server; writes jobs_fair.json.

    ``--requests`` is the batch of the agent with the greatest weight; the others' are smaller in
    proportion to their share.

    \b
    Examples:
      python benchmarks/jobs_fair.py
      python benchmarks/jobs_fair.py --requests 4000 --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hive-jobs-") as folder:
        result = run(Bench(resolve_base(DEFAULT).directory, Path(folder), quick=False), requests)
    (output / "jobs_fair.json").write_text(json.dumps(result, indent=2) + "\n")
    progress.print_json(data=result)
    if as_json:
        print(json.dumps(result))


def run(bench: Bench, requests: int) -> dict[str, Any]:
    """Start the server, and look at weights and at the budget, one after the other."""
    keys, admin = bench.folder / "keys", bench.folder / "admin"
    agents = bench.folder / "agents.toml"
    names = (*WEIGHTS, SPENDER)
    keys.write_text("".join(f"{name} {key(name)}\n" for name in names))
    admin.write_text(f"{key(ADMIN)}\n")
    for file in (keys, admin):
        file.chmod(0o600)
    settings = [f"[agents.{name}]\nweight = {weight}\n" for name, weight in WEIGHTS.items()]
    agents.write_text("".join(settings) + f"[agents.{SPENDER}]\ntokens = {BUDGET}\n")
    options = ("--api-key-file", str(keys), "--admin-key-file", str(admin))
    with bench.hive(
        bench.made("none"),
        *options,
        "--agents",
        str(agents),
        "--max-job-requests",
        str(PLACES),
        jobs=True,
    ) as server:
        shares, seconds = weights(bench, server.url, requests)
        budget = spending(bench, server.url)
    worst = max(share.off for share in shares.values())
    return {
        "agents": {name: asdict(share) | {"off": share.off} for name, share in shares.items()},
        "seconds": seconds,
        "worst": worst,
        "tolerance": TOLERANCE,
        "ok": worst <= TOLERANCE and bool(budget["ok"]),
        "budget": budget,
        "machine": machine(),
    }


def weights(bench: Bench, url: str, requests: int) -> tuple[dict[str, Share], float]:
    """What each agent got while all had work, and for how many seconds that was."""
    batches, ids, sizes = {}, {}, {}
    for name, weight in WEIGHTS.items():
        # As many tokens for its weight as the others have for theirs.
        per_request = WORDS[name] * 2 + 30 + ANSWERS[name]
        heaviest = max(WEIGHTS, key=WEIGHTS.__getitem__)
        most = requests * (WORDS[heaviest] * 2 + 30 + ANSWERS[heaviest])
        sizes[name] = round(most * weight / WEIGHTS[heaviest] / per_request)
        batches[name] = Batches(url, key(name))
        random = Random(name)
        asks = [
            Ask(bench.base.name, random_chat(random, WORDS[name]), ANSWERS[name])
            for _ in range(sizes[name])
        ]
        ids[name] = batches[name].upload(write_batch(bench.folder / f"{name}.jsonl", asks))
    ids = {name: batches[name].make(file_id) for name, file_id in ids.items()}
    wait_until_running(url, PLACES, key("alice"))
    while any(counted(url, name)[0] == 0 for name in WEIGHTS):
        time.sleep(0.1)
    before, began = {name: counted(url, name) for name in WEIGHTS}, time.perf_counter()
    deadline = time.monotonic() + LIMIT_S
    while all(counted(url, name)[0] < (1 - SHARE_LEFT) * sizes[name] for name in WEIGHTS):
        assert time.monotonic() < deadline, "the batches take too long"
        time.sleep(0.2)
    after, seconds = {name: counted(url, name) for name in WEIGHTS}, time.perf_counter() - began
    for name, batch_id in ids.items():
        batches[name].client.cancel(batch_id)
        batches[name].ended(batch_id)
    got = {name: after[name][1] - before[name][1] for name in WEIGHTS}
    return {
        name: Share(
            weight,
            int(after[name][0] - before[name][0]),
            int(got[name]),
            got[name] / sum(got.values()),
            weight / sum(WEIGHTS.values()),
        )
        for name, weight in WEIGHTS.items()
    }, seconds


def spending(bench: Bench, url: str) -> dict[str, Any]:
    """What becomes of an agent's batch that would take more tokens than it has."""
    random, count = Random(SPENDER), 60
    asks = [Ask(bench.base.name, random_chat(random, 6), 24) for _ in range(count)]
    batches = Batches(url, key(SPENDER))
    path = write_batch(bench.folder / f"{SPENDER}.jsonl", asks)
    batch = batches.ended(batches.make(batches.upload(path)))
    errors = [line["error"] for line in batches.lines(batch["error_file_id"])]
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key(SPENDER), max_retries=0)
    try:
        client.chat.completions.create(
            model=bench.base.name, messages=[{"role": "user", "content": "hello"}], max_tokens=1
        )
        direct = "answered"
    except openai.RateLimitError as error:
        direct = f"{error.status_code}: {error.body['message']}"  # type: ignore[index]  # our own shape
    counts, used = batch["request_counts"], batch["usage"]["total_tokens"]
    return {
        "tokens allowed": BUDGET,
        "tokens used": used,
        "answered": counts["completed"],
        "refused": counts["failed"],
        "error": errors[0] if errors else None,
        "a direct request then": direct,
        "ok": counts["completed"] > 0
        and counts["completed"] + counts["failed"] == count
        and {error["code"] for error in errors} == {"budget_exceeded"}
        and direct.startswith("429"),
    }


def counted(url: str, name: str) -> tuple[float, float]:
    """Requests of an agent's batches that were answered, and their tokens."""
    requests = metric(url, "hive_job_requests_total", key(ADMIN), agent=name)
    return requests, metric(url, "hive_job_tokens_total", key(ADMIN), agent=name)


def key(name: str) -> str:
    return f"{name}-key-0123456789"


if __name__ == "__main__":
    main()

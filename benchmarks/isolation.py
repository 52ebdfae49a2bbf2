"""Can one tenant tell by the time to the first token what another has asked?

Two servers' worth of requests against one: an attacker guesses prompts, some of which a victim has
sent shortly before and some of which nobody has. His score for a guess is the time to the first
token, and the figure is the area under the ROC curve (AUC) of that score: 1 tells every prompt, 0.5
is a coin. Measured three ways, interleaved in random order:

- with keys of two tenants, so that each has a salt of its own in the prefix cache: what we serve;
- with one key for both, so that they share the cache: what there would be without the salt;
- both kinds of guesses never sent by anybody (A/A): the noise of this machine.

    python benchmarks/isolation.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from hive_expert.serving.local_server import LocalServer, local_server

VICTIM = "victim-key-0123456789"
ATTACKER = "attacker-key-0123456789"
BASE = "smollm2-135m"
WORDS = 120
"""Of a prompt: some 600 tokens, four blocks of the cache."""
RESAMPLES = 2000
TARGET = 0.55
"""Of the salted AUC, whose interval should also hold 0.5."""


@dataclass(frozen=True)
class Guess:
    """One prompt the attacker tries, and how long its first token took."""

    sent: bool
    """The victim has sent it."""
    seconds: float


def prompt(generator: random.Random) -> str:
    return " ".join(f"w{generator.randrange(10_000)}" for _ in range(WORDS))


def first_token_s(client: httpx.Client, server: LocalServer, key: str, text: str) -> float:
    """From sending a request to the first byte of its streamed answer's content."""
    body = {
        "model": BASE,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 1,
        "temperature": 0,
        "stream": True,
    }
    started = time.perf_counter()
    with client.stream(
        "POST",
        f"{server.api}/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {key}"},
    ) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if '"content":' in line and '"content":""' not in line:
                return time.perf_counter() - started
            if line == "data: [DONE]":
                break
    return time.perf_counter() - started


def guesses(
    client: httpx.Client,
    server: LocalServer,
    victim: str,
    attacker: str,
    count: int,
    generator: random.Random,
    *,
    send: bool = True,
) -> list[Guess]:
    """``count`` guesses of each kind in random order, each right after the victim's own request.

    With ``send`` off the victim sends other prompts than the attacker guesses.
    """
    found = []
    kinds = [True, False] * count
    generator.shuffle(kinds)
    for sent in kinds:
        text = prompt(generator)
        first_token_s(client, server, victim, text if sent and send else prompt(generator))
        found.append(Guess(sent, first_token_s(client, server, attacker, text)))
    return found


def auc(found: list[Guess]) -> float:
    """The probability that a sent prompt is answered sooner than one that was not; ties half."""
    sent = np.array([g.seconds for g in found if g.sent])
    unsent = np.array([g.seconds for g in found if not g.sent])
    less = (sent[:, None] < unsent[None, :]).mean()
    equal = (sent[:, None] == unsent[None, :]).mean()
    return float(less + equal / 2)


def interval(found: list[Guess], generator: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of the AUC."""
    sent = [g for g in found if g.sent]
    unsent = [g for g in found if not g.sent]
    drawn = [
        auc(
            [sent[i] for i in generator.integers(0, len(sent), len(sent))]
            + [unsent[i] for i in generator.integers(0, len(unsent), len(unsent))]
        )
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def measure(rounds: int, count: int, seed: int) -> dict[str, dict[str, object]]:
    """All three figures, in interleaved rounds of one server."""
    generator = random.Random(seed)
    found: dict[str, list[Guess]] = {"salted": [], "shared": [], "nobody": []}
    with tempfile.TemporaryDirectory() as folder:
        keys, experts = Path(folder) / "keys", Path(folder) / "experts"
        keys.write_text(f"victim {VICTIM}\nattacker {ATTACKER}\n")
        keys.chmod(0o600)
        experts.mkdir()
        with (
            local_server(
                experts, "--api-key-file", str(keys), "--kv-cache-gib", "2",
                log=Path(folder) / "serve.log",
            ) as server,
            httpx.Client(timeout=120) as client,
        ):  # fmt: skip
            for _ in range(4):
                first_token_s(client, server, ATTACKER, prompt(generator))
            for _ in range(rounds):
                order = list(found)
                generator.shuffle(order)
                for way in order:
                    victim = ATTACKER if way == "shared" else VICTIM
                    found[way] += guesses(
                        client, server, victim, ATTACKER, count, generator, send=way != "nobody"
                    )
    numbers = np.random.default_rng(seed)
    return {way: figure(way, told, numbers) for way, told in found.items()}


def figure(way: str, found: list[Guess], generator: np.random.Generator) -> dict[str, object]:
    low, high = interval(found, generator)
    times = {
        kind: round(1000 * float(np.median([g.seconds for g in found if g.sent is sent])), 1)
        for kind, sent in (("sent_ms", True), ("unsent_ms", False))
    }
    result: dict[str, object] = {"auc": auc(found), "low": low, "high": high, "guesses": len(found)}
    result |= times
    if way == "salted":
        result |= {"target": TARGET, "ok": auc(found) <= TARGET and low <= 0.5}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two minutes, wide intervals")
    parser.add_argument("--json", action="store_true", help="figures as the last line")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rounds, count = (2, 4) if options.quick else (8, 8)
    figures = measure(rounds, count, options.seed)
    print(f"{'':10}{'AUC':>8}{'95 % interval':>18}{'sent':>10}{'unsent':>10}", file=sys.stderr)
    for way, told in figures.items():
        print(
            f"{way:10}{told['auc']:8.3f}{told['low']:10.3f}…{told['high']:.3f}"
            f"{told['sent_ms']:>9} ms{told['unsent_ms']:>7} ms",
            file=sys.stderr,
        )
    results = Path(__file__).parent / "results"
    if not options.quick:
        (results / "isolation.json").write_text(json.dumps(figures, indent=2) + "\n")
    if options.json:
        print(json.dumps({"isolation": figures}))


if __name__ == "__main__":
    main()

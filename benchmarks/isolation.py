"""Can one tenant tell by the time to the first token what another has asked?

An attacker guesses prompts, some of which a victim has sent just before and some of which nobody
has. His score for a guess is the time to the first token, and the figure is the area under the ROC
curve (AUC) of that score: 1 tells every prompt, 0.5 is a coin. Measured three ways, in interleaved
rounds on one server:

- with keys of two tenants, so that each has a salt of its own in the prefix cache: what we serve;
- with one key for both, so that they share the cache: what there would be without the salt;
- with guesses that the victim never sends (A/A): the noise of this machine.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich_click as click
from isolation_report import plot, table
from isolation_statistics import Guess, summary
from rich.console import Console
from serving_bench import end_as_usual_on_sigterm
from serving_client import Ask, Client

from hive_expert.adapters.base_model import DEFAULT, resolve_base
from hive_expert.serving.local_server import local_server

RESULTS = Path(__file__).parent / "results"
VICTIM = {"authorization": "Bearer victim-key-0123456789"}
ATTACKER = {"authorization": "Bearer attacker-key-0123456789"}
KEYS = "victim victim-key-0123456789\nattacker attacker-key-0123456789\n"
WORDS = 30
"""Of a prompt: some 170 tokens, hardly more than the one block of 128 that is the least the cache
keeps."""
GUESSES = {"salted": 11, "shared": 3, "nobody": 5}
"""Of each kind in a round: most where a small difference would count."""

progress = Console(stderr=True)


class Attack:
    """A victim and an attacker on one server."""

    def __init__(self, client: Client, model: str, seed: int) -> None:
        self._client = client
        self._model = model
        self.random = random.Random(seed)

    def first_token_s(self, key: dict[str, str], text: str) -> float:
        """From sending a request to the first piece of its answer."""
        chat = ({"role": "user", "content": text},)
        return self._client.ask(Ask(self._model, chat, 1, headers=key), stream=True).first_s

    def prompt(self) -> str:
        return " ".join(f"w{self.random.randrange(10_000)}" for _ in range(WORDS))

    def guesses(self, victim: dict[str, str], count: int, *, send: bool = True) -> list[Guess]:
        """``count`` guesses of each kind in random order, each right after a victim's request.

        With ``send`` off the victim sends other prompts than the attacker guesses.
        """
        found = []
        kinds = [True, False] * count
        self.random.shuffle(kinds)
        for sent in kinds:
            text = self.prompt()
            self.first_token_s(victim, text if sent and send else self.prompt())
            found.append(Guess(sent, self.first_token_s(ATTACKER, text)))
        return found


def measure(rounds: int, seed: int) -> dict[str, list[Guess]]:
    """The guesses of the three ways."""
    base = resolve_base(DEFAULT).directory
    found: dict[str, list[Guess]] = {way: [] for way in GUESSES}
    with tempfile.TemporaryDirectory(prefix="hive-isolation-") as folder:
        keys, experts = Path(folder) / "keys", Path(folder) / "experts"
        keys.write_text(KEYS)
        keys.chmod(0o600)
        experts.mkdir()
        log = Path(folder) / "serve.log"
        options = ("--base", str(base), "--api-key-file", str(keys), "--kv-cache-gib", "2")
        with local_server(experts, *options, log=log) as server, Client(server.api) as client:
            attack = Attack(client, base.name, seed)
            attack.guesses(ATTACKER, 4)
            for number in range(rounds):
                order = list(found)
                attack.random.shuffle(order)
                for way in order:
                    progress.print(f"round {number + 1} of {rounds}: {way}")
                    victim = ATTACKER if way == "shared" else VICTIM
                    found[way] += attack.guesses(victim, GUESSES[way], send=way != "nobody")
    return found


def figures(found: dict[str, Sequence[Guess]], seed: int) -> dict[str, dict[str, object]]:
    """Of each way, in the order they are shown."""
    numbers = np.random.default_rng(seed)
    return {way: summary(guesses, numbers, held=way == "salted") for way, guesses in found.items()}


@click.command()
@click.option("--quick", is_flag=True, help="Two minutes, wide intervals.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, on the last line.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(quick: bool, as_json: bool, seed: int, output: Path) -> None:
    """Measure; writes isolation.json and isolation.png (quick: isolation_quick).

    \b
    Examples:
      python benchmarks/isolation.py --quick
      python benchmarks/isolation.py --json | tail -n 1
    """
    end_as_usual_on_sigterm()
    found = measure(3 if quick else 12, seed)
    result = figures(found, seed)
    output.mkdir(parents=True, exist_ok=True)
    name = "isolation_quick" if quick else "isolation"
    (output / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    plot(found, output / f"{name}.png")
    progress.print(table(result))
    if as_json:
        print(json.dumps({"isolation": result}))


if __name__ == "__main__":
    main()

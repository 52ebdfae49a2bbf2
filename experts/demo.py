"""`make demo`: from a fresh clone to answers, the way a user would do it.

Every step is a command a user has: import the base model, make a key and trust it, pack
and sign the shipped experts, start the server, ask through the openai client. All of it
lives in `.hive/` beside the repository's code (or in $HIVE_HOME), so a second run is quick.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import jsonschema
import openai
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hive_expert.decoding.cypher import parse_cypher
from hive_expert.decoding.validators import Check, validate
from hive_expert.errors import DecodingError
from hive_expert.serving.local_server import local_server
from hive_expert.training.cypher_structure import same_structure

ROOT = Path(__file__).parents[1]
HOME = Path(os.environ.get("HIVE_HOME", ROOT / ".hive"))
COMMANDS = Path(sys.executable).parent
BASE = "smollm2-135m"
EXPERTS = ("expert-sql", "expert-json", "expert-neo4j", "expert-typescript")

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "city": {"type": "string"},
    },
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}
COMPACT_SCHEMA = json.dumps(SCHEMA, separators=(",", ":"))

WRONG = (ValueError, sqlite3.Error, jsonschema.ValidationError, DecodingError)

console = Console()


@dataclass(frozen=True)
class Question:
    """What is asked of whom, and how the answer is checked."""

    model: str
    system: str | None
    user: str
    check: Callable[[str], str]
    """Returns what the check found; raises one of `WRONG`."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    text: str
    valid: bool
    verdict: str
    first_token_s: float
    tokens_per_s: float


def run_sql(text: str) -> str:
    """Execute the statement on a small table; says what it found."""
    database = sqlite3.connect(":memory:")
    database.executescript(
        "CREATE TABLE users (id INTEGER, name TEXT, age INTEGER);"
        "INSERT INTO users VALUES (1,'Ann',31),(2,'Bo',19),(3,'Cy',44),(4,'Di',25);"
    )
    rows = database.execute(text).fetchall()
    if sorted(row[-1] for row in rows) != [31, 44]:
        raise ValueError(f"executed, but found {rows}")
    return "executes, right rows"


def check_json(text: str) -> str:
    """Parse and validate under the schema of the prompt."""
    jsonschema.validate(json.loads(text), SCHEMA)
    return "valid under its schema"


def check_cypher(text: str) -> str:
    """Parse the query and compare it with the right one, whatever its variables are called."""
    right = "MATCH (m:Mill)-[:GRINDS]->(f:Flour) WHERE f.name = 'Teff' RETURN m.name"
    if not same_structure(parse_cypher(right), parse_cypher(text)):
        raise ValueError("parses, but asks something else")
    return "parses, right query"


def check_typescript(text: str) -> str:
    """Parse it and look for the function; running it would need Node."""
    if (reason := validate(Check("typescript", None, None), text)) is not None:
        raise ValueError(reason)
    if "function celsiusToFahrenheit(celsius: number): number" not in text:
        raise ValueError("parses, but is not the function")
    return "parses, right signature"


def check_paris(text: str) -> str:
    """The one thing a 135M base model surely knows."""
    if "Paris" not in text:
        raise ValueError("no Paris in it")
    return "right"


QUESTIONS = (
    Question(
        "expert-sql",
        "Dialect: sql\nSchema:\nusers(id, name, age)",
        "Find all users older than 25.",
        run_sql,
    ),
    Question(
        "expert-json",
        f"Dialect: json\nSchema:\n{COMPACT_SCHEMA}",
        "Anna Berg is 34 years old and lives in Oslo.",
        check_json,
    ),
    Question(
        "expert-neo4j",
        "Dialect: cypher\nSchema:\n"
        "(:Baker {name, wage})-[:BAKES]->(:Bread {name, weight, price})\n"
        "(:Bread {name, weight, price})-[:MADE_WITH {grams}]->(:Flour {name, protein})\n"
        "(:Mill {name, output})-[:GRINDS]->(:Flour {name, protein})",
        "Which mills grind Teff?",
        check_cypher,
    ),
    Question(
        "expert-typescript",
        "Dialect: typescript",
        "Please implement this function, which gives the Fahrenheit value of celsius degrees "
        "Celsius:\nfunction celsiusToFahrenheit(celsius: number): number",
        check_typescript,
    ),
    Question(BASE, None, "What is the capital of France?", check_paris),
)


def hive(name: str, *arguments: str | Path) -> str:
    """Run one of our commands in the demo's home; its standard output."""
    line = [str(COMMANDS / name), *map(str, arguments)]
    done = subprocess.run(line, env=environment(), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"`{name} {' '.join(map(str, arguments))}` failed")
    return done.stdout


def environment() -> dict[str, str]:
    return os.environ | {"HIVE_HOME": str(HOME)}


def prepare() -> Path:
    """Base model, key, trust, packages; returns the folder of packages."""
    console.print("[bold]1[/] base model")
    hive("hive", "model", "import", BASE)
    key = HOME / "config" / "keys" / "demo.pem"
    if not key.exists():
        console.print("[bold]2[/] a publisher's key, and trust in it")
        hive("hive-build", "keygen", "--name", "Demo publisher", "--output", key)
        hive("hive", "trust", "add", key.with_suffix(".pub.json"))
    console.print("[bold]3[/] packages, signed")
    packages = HOME / "experts"
    packages.mkdir(parents=True, exist_ok=True)
    for old in packages.glob("*.expert*"):
        old.unlink()
    for expert in EXPERTS:
        hive(
            "hive-build", "package", ROOT / "experts" / expert,
            "--model", BASE, "--key", key, "--output", packages,
        )  # fmt: skip
    return packages


def ask(client: openai.OpenAI, question: Question) -> Answer:
    """One streamed answer, timed and checked. Greedy, so that the demo repeats."""
    messages = [{"role": "user", "content": question.user}]
    if question.system:
        messages.insert(0, {"role": "system", "content": question.system})
    started = time.perf_counter()
    first = None
    pieces = []
    tokens = 0
    stream = client.chat.completions.create(
        model=question.model,
        messages=messages,  # type: ignore[arg-type]  # plain dicts are what clients write
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.perf_counter()
            pieces.append(chunk.choices[0].delta.content)
    ended = time.perf_counter()
    first = first or ended
    text = "".join(pieces)
    try:
        valid, verdict = True, question.check(text)
    except WRONG as error:
        valid, verdict = False, str(error).splitlines()[0]
    rate = (tokens - 1) / (ended - first) if tokens > 1 and ended > first else 0.0
    return Answer(text, valid, verdict, first - started, rate)


def show(answers: dict[Question, Answer]) -> None:
    title = f"one base model, {len(EXPERTS)} experts, one server"
    table = Table(title=title, show_lines=True)
    for column in ("model", "question", "answer", "check", "first token", "tokens/s"):
        table.add_column(column, overflow="fold")
    for question, answer in answers.items():
        table.add_row(
            question.model,
            Text(question.user),
            Text(answer.text),
            Text(answer.verdict, style="green" if answer.valid else "red"),
            f"{answer.first_token_s * 1000:.0f} ms",
            f"{answer.tokens_per_s:.0f}",
        )
    console.print(table)


@click.command()
@click.option("--serve", is_flag=True, help="Stay up instead of asking and stopping.")
@click.option("--pack-only", is_flag=True, help="Make the packages and stop.")
def main(serve: bool, pack_only: bool) -> None:
    """Show the whole thread once, on real parts."""
    packages = prepare()
    if pack_only:
        return
    if serve:
        line = [str(COMMANDS / "hive-serve"), "--experts-dir", str(packages), "--base", BASE]
        raise SystemExit(subprocess.call(line, env=environment()))
    console.print("[bold]4[/] the server")
    with local_server(packages, "--base", BASE, home=HOME) as server:
        client = openai.OpenAI(base_url=server.api, api_key="none")
        console.print("[bold]5[/] a question each")
        for question in QUESTIONS:  # the first request of an expert also loads it
            ask(client, question)
        answers = {question: ask(client, question) for question in QUESTIONS}
    show(answers)
    if not all(answer.valid for answer in answers.values()):
        raise click.ClickException("an answer did not pass its check")


if __name__ == "__main__":
    main()

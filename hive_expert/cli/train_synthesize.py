"""`hive-train synthesize`: examples from a model at an OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from hive_expert.cli.terminal import HiveCommand, console, note, print_json
from hive_expert.errors import Problem, TrainingError
from hive_expert.training.language import LANGUAGES

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

SYNTHESIZE_EXAMPLES = """
\b
Examples:
  hive-train synthesize --endpoint http://127.0.0.1:8000/v1 --model Qwen3-0.6B \\
      --prompt prompt.txt --count 500 --output datasets/raw/made.jsonl
  hive-train synthesize --endpoint https://example.org/v1 --model big --prompt prompt.txt \\
      --examples seeds.jsonl --language sql --count 2000 --max-tokens 2000000 \\
      --output datasets/raw/made.jsonl
"""


@click.command("synthesize", cls=HiveCommand, epilog=SYNTHESIZE_EXAMPLES)
@click.option(
    "--endpoint", required=True, help="OpenAI-compatible; its key is read from OPENAI_API_KEY."
)
@click.option("--model", required=True, help="The model to ask.")
@click.option(
    "--prompt", "prompt_file", required=True, type=FILE,
    help="Text to send; $number is the request's, $example a row of --examples.",
)  # fmt: skip
@click.option("--examples", "examples_file", type=FILE, help="JSONL rows that prompts show.")
@click.option(
    "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="JSONL to append to; a run goes on from what is there.",
)  # fmt: skip
@click.option("--count", required=True, type=click.IntRange(1), help="Rows wanted in the output.")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default="none",
    show_default=True,
    help="What answers must parse as.",
)
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 256))
@click.option("--max-requests", type=click.IntRange(1), help="Budget, of all runs together.")
@click.option("--max-tokens", type=click.IntRange(1), help="Budget, of all runs together.")
@click.option(
    "--answer-tokens", default=1024, show_default=True, type=click.IntRange(1),
    help="Longest answer to one request.",
)  # fmt: skip
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(0, 2))
@click.option(
    "--near", default=0.85, show_default=True, type=click.FloatRange(0, 1, min_open=True),
    help="Similarity from which a row repeats another.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the tally as JSON.")
def synthesize(
    endpoint: str,
    model: str,
    prompt_file: Path,
    examples_file: Path | None,
    output: Path,
    count: int,
    language: str,
    concurrency: int,
    max_requests: int | None,
    max_tokens: int | None,
    answer_tokens: int,
    temperature: float,
    near: float,
    as_json: bool,
) -> None:
    """Have a model write rows {"input", "instruction", "response"}, checked and compared.

    Rows are written as they come: after an interruption, the same command goes on, and what
    was spent counts. `hive-train prepare` makes training data of them. Exits with 1 if there are
    fewer than --count in the end.
    """
    from dataclasses import asdict

    from rich.progress import Progress

    from hive_expert.training import synthesize as synthesis

    # Of JSON a line, other ends of lines may be within.
    examples = examples_file.read_text(encoding="utf-8").split("\n") if examples_file else []
    order = synthesis.Order(
        endpoint=endpoint,
        model=model,
        prompt=prompt_file.read_text(encoding="utf-8"),
        count=count,
        examples=tuple(line for line in examples if line.strip()),
        language=language,  # type: ignore[arg-type]  # click's choice
        concurrency=concurrency,
        max_requests=max_requests,
        max_tokens=max_tokens,
        temperature=temperature,
        answer_tokens=answer_tokens,
        near=near,
    )
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("writing rows", total=count)
        tally = synthesis.synthesize(
            order, output, lambda now: bar.update(task, completed=now.rows)
        )
    if as_json:
        print_json(asdict(tally))
    else:
        note(f"{tally.rows} rows in {output}: {tally.ended}")
        note(f"{tally.requests} requests ({tally.failed_requests} failed), {tally.tokens} tokens")
        for reason, number in tally.refused.items():
            note(f"{number} left out: {reason}")
    if tally.rows < count:
        what = f"{tally.rows} of {count} rows: {tally.ended}"
        remedy = "they are kept; the same command with a larger budget goes on"
        raise TrainingError(Problem(str(output), what, remedy))

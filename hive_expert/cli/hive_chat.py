"""`hive chat`: talk to a running server in the terminal, or ask it once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from hive_expert.cli.server_options import printable, server_options
from hive_expert.cli.terminal import HiveCommand, print_json
from hive_expert.errors import Problem, UsageError

if TYPE_CHECKING:
    from hive_expert.cli.chat_session import ChatSession

EXAMPLES = """
\b
Examples:
  hive chat
  hive chat --experts expert-sql --system "Dialect: sql\\nSchema:\\nusers(id, name, age)"
  hive chat --prompt "What is the capital of France?"
  cat notes.txt | hive chat --experts expert-json --prompt - --temperature 0
"""


@click.command("chat", cls=HiveCommand, epilog=EXAMPLES)
@click.option("--prompt", help="Ask this once, print the answer alone, and end; - reads stdin.")
@click.option(
    "--experts",
    multiple=True,
    help="Who answers: a name, or several (repeat it, or a+b). `base` is the base model. "
    "Default: whoever the server's router chooses.",
)
@click.option("--system", default="", help="System message; \\n is a new line.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="Default: the expert's own.")
@click.option("--top-p", type=click.FloatRange(0, 1), help="Default: the expert's own.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option("--seed", type=int, help="For answers that can be had again.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="With --prompt: the answer and who gave it.")
def chat_command(
    prompt: str | None,
    experts: tuple[str, ...],
    system: str,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int | None,
    seed: int | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Chat with experts and their base model.

    Answers come as they are written; Ctrl-C stops an answer, Ctrl-D ends the program. /help lists
    what else can be typed.
    """
    from hive_expert.cli.chat_session import ChatSession, talk
    from hive_expert.client.client import HiveClient
    from hive_expert.client.conversation import Sampling
    from hive_expert.client.plain_http import DEFAULT_URL

    if as_json and prompt is None:
        raise UsageError(Problem("--json", "goes with --prompt"))
    session = ChatSession(
        HiveClient(url or DEFAULT_URL, api_key),
        model=chosen_model(experts),
        system=system.replace("\\n", "\n"),
        sampling=Sampling(temperature, top_p, max_tokens, seed),
    )
    if prompt is None:
        talk(session)
    else:
        _ask_once(session, sys.stdin.read() if prompt == "-" else prompt, as_json)


def chosen_model(experts: tuple[str, ...]) -> str:
    """The `model` for the names given by `--experts`."""
    from hive_expert.client.conversation import BASE, model_of

    names = [part for text in experts for part in text.replace(",", "+").split("+") if part]
    return BASE if names == ["base"] else model_of(names or None)


def _ask_once(session: ChatSession, prompt: str, as_json: bool) -> None:
    from hive_expert.cli.chat_session import tell_if_unbound

    if not as_json:
        with session.ask(prompt) as answer:
            for piece in answer:
                click.echo(printable(piece), nl=False)
        click.echo()
        tell_if_unbound(answer.answer)
        return
    with session.ask(prompt) as answer:
        for _ in answer:
            pass
    told = answer.answer
    print_json(
        {
            "output": told.output,
            "experts_used": list(told.experts_used),
            "route": told.route,
            "residency": told.origin.residency,
            "grammar": told.origin.grammar,
            "finish_reason": told.finish_reason,
            "latency_ms": round(told.latency_ms, 1),
            "usage": {
                "prompt_tokens": told.usage.prompt_tokens,
                "completion_tokens": told.usage.completion_tokens,
            },
        }
    )

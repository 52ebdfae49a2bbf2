"""The conversation behind `hive chat`: what was said, who answers, and the commands typed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import rich_click as click

from hive_expert import locations
from hive_expert.cli.hive_list import quality_in_words
from hive_expert.cli.server_options import one_line, printable
from hive_expert.cli.terminal import print_error
from hive_expert.client.answers import Answer
from hive_expert.client.client import AnswerStream, HiveClient
from hive_expert.client.conversation import (
    AUTO,
    BASE,
    Message,
    Sampling,
    bare_name,
    messages_of,
)
from hive_expert.errors import HiveError

PROMPT = "> "
HISTORY_LINES = 1000

HELP = """\
/experts [NAME …]    list the experts; with names, have those answer (auto, base)
/route [TEXT]        who would answer TEXT, or the last message, and why
/system [TEXT]       show or set the system message; /system - clears it
/temperature [T]     show or set; /temperature - leaves it to the expert
/history             what was said
/clear               forget what was said
/help                this
/quit                end (or Ctrl-D); Ctrl-C stops an answer"""


@dataclass
class ChatSession:
    """One conversation with a server."""

    client: HiveClient
    model: str = AUTO
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    history: list[Message] = field(default_factory=list)

    @contextmanager
    def ask(self, text: str) -> Iterator[AnswerStream]:
        """Ask, and remember what was said, also if the answer is stopped half-way.

        What the server refuses is not remembered: it would refuse the next message with it.
        """
        messages = messages_of(text, system=self.system, history=self.history)
        with self.client.stream(messages, self.model, self.sampling) as answer:
            try:
                yield answer
            finally:
                if answer.answer.output:
                    self.history += [
                        messages[-1],
                        {"role": "assistant", "content": answer.answer.output},
                    ]


def talk(session: ChatSession) -> None:
    """Read lines until the user has enough."""
    with _interruptible(), _line_history():
        served = _experts(session)
        click.echo(f"{len(served)} experts · /help for help", err=True)
        while True:
            try:
                line = input(PROMPT).strip()
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo("\n(Ctrl-D ends)", err=True)
                continue
            try:
                if line.startswith("/"):
                    if not _command(session, line):
                        return
                elif line:
                    _answer(session, line)
            except HiveError as error:
                print_error(error)
            except KeyboardInterrupt:
                click.echo("\n(stopped)", err=True)


def _answer(session: ChatSession, text: str) -> None:
    with _remembered_interrupts() as interrupted, session.ask(text) as answer:
        for piece in answer:
            if interrupted.is_set():
                raise KeyboardInterrupt
            click.echo(printable(piece), nl=False)
    click.echo()
    told = answer.answer
    who = ", ".join(told.origin.experts) or "base model"
    seconds = max(told.latency_ms / 1000, 1e-6)
    speed = told.usage.completion_tokens / seconds
    line = f"[{who} · {told.usage.completion_tokens} tokens, {speed:.0f}/s]"
    click.secho(printable(line), dim=True, err=True)
    tell_if_unbound(told)


def tell_if_unbound(told: Answer) -> None:
    """Say on stderr why an answer's prompt did not constrain it, where it should have."""
    if told.origin.unbound:
        click.secho(printable(f"not bound to its prompt: {told.origin.unbound}"), err=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises, also in a program that was started with the signal ignored, as a shell's
    scripts start what they put in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _remembered_interrupts() -> Iterator[threading.Event]:
    """Whether Ctrl-C was pressed: Python drops the exception where it comes out of a destructor."""
    pressed = threading.Event()

    def note(signal_number: int, frame: object) -> None:
        pressed.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _command(session: ChatSession, line: str) -> bool:
    """Do what a line that begins with `/` asks for; False ends the program."""
    name, _, rest = line[1:].partition(" ")
    if name in ("quit", "exit"):
        return False
    act = _COMMANDS.get(name)
    if act is None:
        click.echo(f"/{printable(name)} is unknown; /help lists the commands", err=True)
    else:
        act(session, rest.strip())
    return True


def _experts(session: ChatSession) -> list[dict[str, Any]]:
    listed = session.client.get("/v1/experts")["data"]
    return [entry for entry in listed if entry.get("state") != "unavailable"]


def _choose(session: ChatSession, rest: str) -> None:
    names = rest.replace(",", " ").replace("+", " ").split()
    if names:
        known = {str(entry["id"]) for entry in _experts(session)}
        unknown = [name for name in names if bare_name(name) not in known]
        if names not in ([AUTO], ["base"]) and unknown:
            click.echo(f"there is no {', '.join(unknown)}; /experts lists them", err=True)
            return
        session.model = BASE if names == ["base"] else "+".join(names)
        click.echo(f"answers come from: {session.model or 'the base model'}", err=True)
        return
    for entry in _experts(session):
        facts = (
            str(entry.get("residency")),
            entry.get("publisher") or "unsigned",
            quality_in_words(entry.get("quality"), entry.get("check")),
        )
        click.echo(f"{one_line(str(entry['id']))} {one_line(str(entry.get('version')))}")
        click.secho(f"  {' · '.join(one_line(fact) for fact in facts)}", dim=True)
        if entry.get("description"):
            click.secho(f"  {one_line(str(entry['description']), 100)}", dim=True)


def _route(session: ChatSession, rest: str) -> None:
    asked = list(session.history)
    if rest:
        asked.append({"role": "user", "content": rest})
    elif asked:
        asked.pop()
    else:
        click.echo("nothing was said yet: /route TEXT", err=True)
        return
    if session.system:
        asked.insert(0, {"role": "system", "content": session.system})
    told = session.client.post("/v1/route", {"messages": asked})
    click.echo(printable(told["model"] or "base model"))
    for reason in told["reasons"]:
        click.secho(f"  {one_line(reason, 200)}", dim=True)


def _set_system(session: ChatSession, rest: str) -> None:
    if rest:
        session.system = "" if rest == "-" else rest.replace("\\n", "\n")
    click.echo(printable(session.system) or "(no system message)")


def _set_temperature(session: ChatSession, rest: str) -> None:
    if rest:
        try:
            chosen = None if rest == "-" else float(rest)
        except ValueError:
            chosen = -1.0
        if chosen is not None and not 0 <= chosen <= 2:
            click.echo("a temperature is a number from 0 to 2", err=True)
            return
        session.sampling = replace(session.sampling, temperature=chosen)
    chosen = session.sampling.temperature
    click.echo("the expert's own" if chosen is None else f"{chosen:g}")


def _show_history(session: ChatSession, _rest: str) -> None:
    for message in session.history:
        click.echo(f"{message['role']}: {printable(message['content'])}")


def _clear(session: ChatSession, _rest: str) -> None:
    session.history.clear()
    click.echo("forgotten", err=True)


def _help(_session: ChatSession, _rest: str) -> None:
    click.echo(HELP)


_COMMANDS: dict[str, Callable[[ChatSession, str], None]] = {
    "experts": _choose,
    "route": _route,
    "system": _set_system,
    "temperature": _set_temperature,
    "history": _show_history,
    "clear": _clear,
    "help": _help,
}


@contextmanager
def _line_history() -> Iterator[None]:
    """Lines typed before, by arrow keys, also from earlier sessions."""
    import readline

    file = locations.data_dir() / "chat_history"
    file.parent.mkdir(parents=True, exist_ok=True)
    # The first time there is none, and without one chat works as well.
    with suppress(OSError):
        readline.read_history_file(file)
    try:
        yield
    finally:
        readline.set_history_length(HISTORY_LINES)
        try:
            readline.write_history_file(file)
            file.chmod(0o600)
        except OSError as error:
            click.echo(f"the lines typed are not kept: {error}", err=True)

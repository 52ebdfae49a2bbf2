"""Every command line we print or document parses: README, `--help` examples, `make` targets."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest
from click.core import iter_params_for_processing

from hive_expert.cli import build, hive, serve, train

ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, click.Command] = {
    "hive": hive.main,
    "hive-build": build.main,
    "hive-serve": serve.main,
    "hive-train": train.main,
}
DOCUMENTS = sorted(
    p for p in ROOT.rglob("README.md") if not {".venv", ".hive", "node_modules"} & set(p.parts)
)
HEAVY = ("torch", "vllm", "transformers", "numpy")


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """All commands below one, with the words that call them; groups leave themselves out."""
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from leaves(sub, (*path, name))
    else:
        yield " ".join(path), command


LEAVES = dict(leaf for name, root in COMMANDS.items() for leaf in leaves(root, (name,)))


def parse(line: str) -> None:
    """Walk to the command a line calls and let click read its arguments: names, types, choices, and
    that none is missing or left over. Only files that are named need not be there.

    Raises click.UsageError.
    """
    words = shlex.split(line, comments=True)
    words = list(takewhile(lambda word: word != ">", words))  # the rest is the shell's
    command = COMMANDS[words.pop(0)]
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{line!r}: no command {name!r}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    values, rest, order = command.make_parser(context).parse_args(words)
    # As click does it, which stops at the first problem: a file that is not there hides the others.
    for parameter in iter_params_for_processing(order, command.get_params(context)):
        try:
            parameter.handle_parse_result(context, values, rest)
        except click.BadParameter as error:
            if "does not exist" not in error.message:
                raise
    if rest and not isinstance(command, click.Group):
        raise click.UsageError(f"left over: {' '.join(rest)}")


@pytest.mark.parametrize(
    "line",
    [
        "hive-serve --port 8000",
        "hive-serve --experts-dir experts --port many",
        "hive-serve --experts-dir absent --trust sometimes",
        "hive-serve --experts-dir experts --no-such-option",
        "hive trust pin expert-sql 0.2.0 left-over",
        "hive-build new",
        "hive-build package Makefile/absent one-too-many",
    ],
)
def test_a_line_that_click_would_refuse_does_not_parse(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


def our_lines(text: str) -> list[str]:
    """Lines of a text that call one of our commands, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line.split(" ")[0] in COMMANDS]


def shell_blocks(document: Path) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_documents_parse(document: Path) -> None:
    for line in our_lines(shell_blocks(document)):
        parse(line)


def test_the_readme_documents_every_program() -> None:
    text = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert (
            re.search(rf"^{name} ", shell_blocks(ROOT / "README.md"), re.MULTILINE) or name in text
        )


OLD_NAMES = ("train", "validate", "package", "sign", "keygen", "install", "list", "chat", "update")
"""Commands of the first generation (SPEC section 2)."""


def test_the_readme_tells_what_became_of_the_old_commands() -> None:
    text = (ROOT / "README.md").read_text()
    _, _, table = text.partition("| `expert-cli` | now |\n|---|---|\n")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table.partition("\n\n")[0], re.MULTILINE)
    assert [old for old, _ in rows] == list(OLD_NAMES)
    for _, now in rows:
        parse(re.findall(r"`(.*?)`", now)[0])


def test_make_targets_in_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9]+):", makefile, re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"^make ([a-z0-9]+)", shell_blocks(document), re.MULTILINE))
        assert named <= targets, document


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_every_command_has_help_with_examples_that_parse(name: str) -> None:
    command = LEAVES[name]
    assert command.help, f"{name} has no help"
    examples = our_lines(command.epilog or "")
    assert examples, f"{name} has no examples"
    assert any(line.startswith(name) for line in examples)
    for line in examples:
        parse(line)


@pytest.mark.parametrize("name", sorted(LEAVES.keys() - {"hive-serve"}))
def test_every_command_that_prints_a_result_has_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in LEAVES[name].params)


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_every_option_is_explained(name: str) -> None:
    silent = [
        p.name
        for p in LEAVES[name].params
        if isinstance(p, click.Option) and not p.help and not p.show_default
    ]
    assert silent == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_starts_without_the_heavy_libraries(name: str) -> None:
    module = COMMANDS[name].callback.__module__  # type: ignore[union-attr]  # all have one
    code = (
        f"import sys, {module} as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        f"loaded = [n for n in {HEAVY!r} if n in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_program_is_its_module_as_well(name: str) -> None:
    module = COMMANDS[name].callback.__module__  # type: ignore[union-attr]  # all have one
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_wrong_usage_exits_with_2(name: str) -> None:
    program = Path(sys.executable).parent / name
    done = subprocess.run([program, "--no-such-option"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no-such-option" in done.stderr

"""hive chat in a real terminal (a pty), and for scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.e2e.conftest import Server, command
from tests.e2e.test_serving import SQL_MESSAGES, ask, running_requests

pytestmark = pytest.mark.e2e

SYSTEM = SQL_MESSAGES[0]["content"]
QUESTION = SQL_MESSAGES[1]["content"]
CAPITAL = "What is the capital of France?"
STORY = "Tell me a long story about a ship, with many chapters."
LIMIT_S = 90
HIVE = Path(sys.executable).parent / "hive"


@contextmanager
def terminal(server: Server, home: Path, *options: str) -> Iterator[pexpect.spawn]:
    """`hive chat` as a user has it before him."""
    environment = os.environ | {"HIVE_HOME": str(home), "TERM": "xterm", "NO_COLOR": "1"}
    child = pexpect.spawn(
        str(HIVE),
        ["chat", "--url", server.url, *options],
        env=environment,
        timeout=LIMIT_S,
        encoding="utf-8",
        dimensions=(40, 200),
    )
    try:
        child.expect("/help for help")
        child.expect("> ")
        yield child
    finally:
        child.close(force=True)


def typed(child: pexpect.spawn, line: str) -> None:
    """Type a line and wait until the terminal has echoed it."""
    child.send(line)
    child.expect_exact(line)
    child.send("\r")


def interrupt_at_the_prompt(child: pexpect.spawn) -> None:
    """Ctrl-C while nothing is typed. A signal that comes between readline's prompt and its waiting
    is told with the next one only."""
    for _ in range(10):
        time.sleep(0.5)
        child.sendintr()
        if child.expect_exact(["(Ctrl-D ends)", pexpect.TIMEOUT], timeout=9) == 0:
            return
    raise AssertionError("Ctrl-C at the prompt does nothing")


def test_an_answer_comes_with_who_gave_it(server: Server, tmp_path: Path) -> None:
    with terminal(server, tmp_path, "--temperature", "0", "--max-tokens", "32") as child:
        typed(child, CAPITAL)
        child.expect("Paris")
        child.expect(r"\[base model · \d+ tokens")
        child.expect("> ")
        typed(child, "/system " + SYSTEM.replace("\n", "\\n"))
        child.expect("users")
        child.expect("> ")
        typed(child, QUESTION)
        child.expect("SELECT")
        child.expect(r"\[expert-sql@")


def test_experts_can_be_chosen_and_routes_explained(server: Server, tmp_path: Path) -> None:
    with terminal(server, tmp_path, "--temperature", "0", "--max-tokens", "8") as child:
        typed(child, "/experts")
        child.expect("expert-json")
        child.expect("expert-sql")
        child.expect("> ")
        typed(child, "/route " + QUESTION + " Schema: users(id, name, age)")
        child.expect("expert-sql is right with probability")
        child.expect("> ")
        typed(child, "/experts expert-json")
        child.expect("answers come from: expert-json")
        child.expect("> ")
        typed(child, "Anna is 34.")
        child.expect(r"\[expert-json@")


def test_what_was_said_is_sent_along(server: Server, tmp_path: Path) -> None:
    with terminal(server, tmp_path, "--experts", "base", "--temperature", "0") as child:
        typed(child, "My name is Zacharias. Say hello.")
        child.expect(r"\[base model")
        child.expect("> ")
        typed(child, "What is my name?")
        child.expect(r"Zacharias[\s\S]*\[base model")
        child.expect("> ")
        typed(child, "/history")
        child.expect("user: My name is Zacharias")
        child.expect("assistant: ")
        child.expect("user: What is my name")
        child.expect("> ")


def test_ctrl_c_stops_the_answer_and_not_the_program(server: Server, tmp_path: Path) -> None:
    options = ("--experts", "base", "--temperature", "1", "--max-tokens", "1500")
    with terminal(server, tmp_path, *options) as child:
        typed(child, STORY)
        child.expect(r"\w+ \w+ \w+ \w+")
        child.sendintr()
        child.expect_exact("(stopped)")
        child.expect("> ")
        # In less time than the story would take to its own end.
        deadline = time.monotonic() + 15
        while running_requests(server) > 0:
            assert time.monotonic() < deadline, "the server goes on after Ctrl-C"
            time.sleep(0.2)
        typed(child, "/history")
        child.expect("user: Tell me a long story")
        child.expect("assistant: ")
        child.expect("> ")
        interrupt_at_the_prompt(child)
        child.expect("> ")
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_ctrl_c_works_where_the_shell_has_ignored_it(server: Server, tmp_path: Path) -> None:
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # The child inherits it, as from a script that runs in the background.
        with terminal(server, tmp_path) as child:
            signal.signal(signal.SIGINT, ignored)
            interrupt_at_the_prompt(child)
    finally:
        signal.signal(signal.SIGINT, ignored)


def test_lines_typed_before_come_back_with_the_arrow(server: Server, tmp_path: Path) -> None:
    with terminal(server, tmp_path) as child:
        typed(child, "/help")
        child.expect("/quit")
        child.expect("> ")
        typed(child, "/quit")
        child.expect(pexpect.EOF)
    with terminal(server, tmp_path) as child:
        child.send("\x1b[A\x1b[A\r")
        child.expect_exact("what was said")
    assert (tmp_path / "data" / "chat_history").stat().st_mode & 0o777 == 0o600


def test_an_error_of_the_server_does_not_end_the_program(server: Server, tmp_path: Path) -> None:
    with terminal(server, tmp_path, "--experts", "expert-absent") as child:
        typed(child, "Hello")
        child.expect("does not exist")
        child.expect("> ")
        typed(child, "/experts base")
        child.expect("the base model")


def test_one_answer_for_scripts_is_the_answer_alone(server: Server, tmp_path: Path) -> None:
    arguments = [HIVE, "chat", "--url", server.url, "--system", SYSTEM, "--prompt", QUESTION]
    done = subprocess.run(
        [*arguments, "--temperature", "0"],
        env=os.environ | {"HIVE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    named = ask(server, "expert-sql", temperature=0).choices[0].message.content
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{named}\n", "")


def test_the_prompt_may_come_from_stdin_and_the_answer_as_json(
    server: Server, tmp_path: Path
) -> None:
    done = subprocess.run(
        [HIVE, "chat", "--url", server.url, "--prompt", "-", "--json", "--max-tokens", "16"],
        env=os.environ | {"HIVE_HOME": str(tmp_path)},
        input=f"{CAPITAL}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["output"]
    assert told["experts_used"] == []
    assert told["route"].startswith("score=")
    assert told["usage"]["completion_tokens"] > 0


def test_hive_list_tells_where_the_weights_are(server: Server, publisher: Path) -> None:
    ask(server, "expert-sql", max_tokens=1)
    listed = json.loads(command("hive", "list", "--url", server.url, "--json", home=publisher))
    by_name = {entry["id"]: entry for entry in listed if entry["id"]}
    assert by_name["expert-sql"]["residency"] in ("memory", "slot", "cpu")
    assert by_name["expert-sql"]["publisher"] == "Test publisher"
    table = command("hive", "list", "--url", f"{server.url}/v1", home=publisher)
    assert "expert-sql" in table
    assert "not served: broken-unsigned.expert" in table


def test_hive_list_of_the_folder_agrees_with_the_server(server: Server, publisher: Path) -> None:
    served = json.loads(command("hive", "list", "--url", server.url, "--json", home=publisher))
    here = json.loads(
        command("hive", "list", "--experts-dir", publisher / "dir", "--json", home=publisher)
    )
    digests = {entry["id"]: entry["digest"] for entry in here if entry["state"] == "available"}
    for entry in served:
        if entry["state"] == "available":
            assert digests[entry["id"]] == entry["digest"]

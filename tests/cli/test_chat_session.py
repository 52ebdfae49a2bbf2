"""What hive chat remembers and its commands do; with a real server in tests/e2e/test_chat.py."""

from __future__ import annotations

from typing import Any

import pytest

from hive_expert.cli.chat_session import ChatSession, _command, tell_if_unbound
from hive_expert.cli.hive_chat import chosen_model
from hive_expert.client.answers import Answer, Origin, Usage
from hive_expert.client.client import HiveClient
from hive_expert.errors import HiveError


class Server(HiveClient):
    """Knows two experts and routes everything to the first."""

    def get(self, path: str) -> Any:
        assert path == "/v1/experts"
        return {
            "data": [
                {"id": "expert-a", "version": "1.0", "description": "first\x1b[2J"},
                {"id": "expert-b", "version": "2.0", "residency": "slot"},
                {"id": "expert-c", "state": "unavailable"},
            ]
        }

    def post(self, path: str, body: Any) -> Any:
        assert path == "/v1/route"
        self.asked = body["messages"]
        return {"model": "expert-a", "reasons": ["because"]}


@pytest.fixture
def session() -> ChatSession:
    return ChatSession(Server("http://127.0.0.1:1"))


def says(session: ChatSession, line: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert _command(session, line)
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_it_says_why_an_answer_is_not_bound_to_its_prompt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reason = "the prompt's schema: \x1b[2Jnested too deep"
    for grammar in ("prompt: its schema; known", f"none (prompt: {reason})"):
        tell_if_unbound(Answer("{}", Origin(("expert-a",), grammar=grammar), 1.0, Usage()))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("not bound to its prompt: the prompt's schema: ") == 1
    assert "\x1b" not in told.err


@pytest.mark.parametrize(
    ("experts", "model"),
    [
        ((), "auto"),
        (("base",), ""),
        (("expert-a",), "expert-a"),
        (("expert-a,expert-b:0.5",), "expert-a+expert-b:0.5"),
        (("expert-a", "expert-b"), "expert-a+expert-b"),
    ],
)
def test_experts_options_name_the_model(experts: tuple[str, ...], model: str) -> None:
    assert chosen_model(experts) == model


def test_experts_are_listed_and_chosen(
    session: ChatSession, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = says(session, "/experts", capsys)
    assert "expert-a 1.0" in listed
    assert "expert-c" not in listed
    assert "\x1b[2J" not in listed
    says(session, "/experts expert-a expert-b:0.3", capsys)
    assert session.model == "expert-a+expert-b:0.3"
    assert "there is no expert-z" in says(session, "/experts expert-z", capsys)
    assert session.model == "expert-a+expert-b:0.3"
    says(session, "/experts base", capsys)
    assert session.model == ""
    says(session, "/experts auto", capsys)
    assert session.model == "auto"


def test_route_explains_a_text_or_the_last_message(
    session: ChatSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing was said" in says(session, "/route", capsys)
    session.system = "Be brief"
    assert "because" in says(session, "/route who?", capsys)
    assert isinstance(session.client, Server)
    assert [m["content"] for m in session.client.asked] == ["Be brief", "who?"]
    session.history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    says(session, "/route", capsys)
    assert [m["content"] for m in session.client.asked] == ["Be brief", "a"]


def test_the_system_message_is_set_shown_and_cleared(
    session: ChatSession, capsys: pytest.CaptureFixture[str]
) -> None:
    says(session, r"/system Dialect: sql\nSchema:", capsys)
    assert session.system == "Dialect: sql\nSchema:"
    assert "Dialect: sql" in says(session, "/system", capsys)
    says(session, "/system -", capsys)
    assert session.system == ""


@pytest.mark.parametrize("value", ["3", "-1", "warm", "nan"])
def test_a_temperature_out_of_range_is_refused(
    session: ChatSession, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert "0 to 2" in says(session, f"/temperature {value}", capsys)
    assert session.sampling.temperature is None


def test_the_temperature_is_set_shown_and_left_to_the_expert(
    session: ChatSession, capsys: pytest.CaptureFixture[str]
) -> None:
    says(session, "/temperature 0.3", capsys)
    assert session.sampling.temperature == 0.3
    assert "the expert's own" in says(session, "/temperature -", capsys)


def test_history_is_shown_and_forgotten(
    session: ChatSession, capsys: pytest.CaptureFixture[str]
) -> None:
    session.history = [{"role": "user", "content": "hello\x1b[2J"}]
    assert "user: hello[2J" in says(session, "/history", capsys)
    says(session, "/clear", capsys)
    assert session.history == []


def test_help_names_every_command(session: ChatSession, capsys: pytest.CaptureFixture[str]) -> None:
    text = says(session, "/help", capsys)
    for name in ("experts", "route", "system", "temperature", "history", "clear", "quit"):
        assert f"/{name}" in text


def test_an_unknown_command_is_told_and_quit_ends(
    session: ChatSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "/nonsense is unknown" in says(session, "/nonsense", capsys)
    assert not _command(session, "/quit")


def test_what_was_refused_is_not_remembered(session: ChatSession) -> None:
    with pytest.raises(HiveError), session.ask("hello"):
        pass
    assert session.history == []

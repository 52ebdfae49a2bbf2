from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from hive_expert.decoding.binding import SchemaInPrompt
from hive_expert.decoding.contract import Contract
from hive_expert.errors import TrainingError, UnfinishedError, UsageError
from hive_expert.training.cases import TestCase, TestSuite
from hive_expert.training.evaluate import Answer, Contestant, Settings, evaluate
from tests.training.openai_server import openai_server

SUITE = TestSuite(
    "sql_execution",
    tuple(
        TestCase(
            id=str(number),
            category="count",
            messages=({"role": "user", "content": f"say {number}"},),
            expected=f"SELECT {number};",
            database="CREATE TABLE t (x);",
        )
        for number in range(6)
    ),
)
EXPERT = Contestant("expert-tiny", "grammar")
GRAMMAR = Contract(grammar='root ::= "x"')


def say(body: dict[str, Any]) -> str:
    return f"SELECT {body['messages'][-1]['content'].split()[1]};"


def test_answers_are_graded_in_the_order_of_the_cases() -> None:
    answered = []
    with openai_server(say) as server:
        results = evaluate(
            SUITE, [EXPERT], Settings(server.endpoint, None), lambda *_: answered.append(1)
        )
    graded = results[EXPERT]
    assert [g.case.id for g in graded] == ["0", "1", "2", "3", "4", "5"]
    assert all(g.score.correct and g.answer.tokens == 5 for g in graded)
    assert len(answered) == 6


@pytest.mark.parametrize(
    ("contestant", "header", "grammar"),
    [
        (Contestant("expert-tiny", "grammar"), None, None),
        (Contestant("expert-tiny", "plain-grammar"), None, 'root ::= "x"'),
        (Contestant("expert-tiny", "no-grammar"), "off", None),
        (Contestant("tiny", "grammar"), None, 'root ::= "x"'),
        (Contestant("tiny", "no-grammar"), None, None),
    ],
)
def test_how_a_variant_is_asked_for(
    contestant: Contestant, header: str | None, grammar: str | None
) -> None:
    with openai_server(say) as server:
        evaluate(SUITE, [contestant], Settings(server.endpoint, GRAMMAR, max_tokens=9))
    body, headers = server.requests[0]
    assert headers.get("x-hive-grammar") == header
    assert body.get("structured_outputs") == ({"grammar": grammar} if grammar else None)
    assert (body["model"], body["temperature"], body["max_tokens"]) == (contestant.model, 0, 9)


def test_a_base_is_bound_to_the_prompt_as_the_expert_is() -> None:
    messages = tuple(
        {"role": "user", "content": f'Schema: {{"type":"{kind}"}}'} for kind in ("object", "array")
    )
    cases = tuple(replace(SUITE.cases[i], messages=(messages[i],)) for i in range(2))
    with openai_server(lambda _: "SELECT 0;") as server:
        evaluate(
            replace(SUITE, cases=cases),
            [Contestant("tiny", "grammar")],
            Settings(server.endpoint, Contract(binding=SchemaInPrompt())),
        )
    sent = {body["structured_outputs"]["json"] for body, _ in server.requests}
    assert {json.loads(schema)["type"] for schema in sent} == {"object", "array"}


def test_a_plain_grammar_is_the_one_that_is_not_bound() -> None:
    contract = Contract(grammar='root ::= "x"', binding=SchemaInPrompt())
    with openai_server(lambda _: "SELECT 0;") as server:
        evaluate(SUITE, [Contestant("tiny", "plain-grammar")], Settings(server.endpoint, contract))
    sent = {body["structured_outputs"]["grammar"] for body, _ in server.requests}
    assert sent == {'root ::= "x"'}


@pytest.mark.parametrize("candidates", [3, 4])
def test_candidates_are_asked_for_until_one_is_valid(candidates: int) -> None:
    def reply(body: dict[str, Any]) -> str:
        return say(body) if body.get("seed") == 2 else "SELECT nothing FROM nowhere;"

    with openai_server(reply) as server:
        settings = Settings(server.endpoint, candidates=candidates)
        graded = evaluate(SUITE, [EXPERT], settings)[EXPERT]
    assert all(g.score.correct and g.answer.tokens == 15 for g in graded)
    sent = [(body["temperature"], body.get("seed")) for body, _ in server.requests]
    assert len(sent) == 3 * len(SUITE.cases)
    assert set(sent) == {(0.0, None), (0.7, 1), (0.7, 2)}


def test_the_first_answer_counts_where_none_is_valid() -> None:
    def reply(body: dict[str, Any]) -> str:
        return f"none of {body.get('seed', 'greedy')}"

    with openai_server(reply) as server:
        graded = evaluate(SUITE, [EXPERT], Settings(server.endpoint, candidates=2))[EXPERT]
    assert {g.answer.text for g in graded} == {"none of greedy"}


def test_a_candidate_that_fails_is_no_answer() -> None:
    def reply(body: dict[str, Any]) -> str | int:
        return 400 if "seed" in body else "none"

    with openai_server(reply) as server:
        graded = evaluate(SUITE, [EXPERT], Settings(server.endpoint, candidates=2))[EXPERT]
    assert {(g.answer.text, g.answer.error) for g in graded} == {("none", "")}


def test_a_failed_request_is_a_failure_with_its_reason() -> None:
    with openai_server(lambda body: 400 if "3" in say(body) else say(body)) as server:
        graded = evaluate(SUITE, [EXPERT], Settings(server.endpoint, None))[EXPERT]
    assert [g.score.correct for g in graded] == [True, True, True, False, True, True]
    assert graded[3].score.reason.startswith("request: BadRequestError")


def test_a_model_that_never_answers_is_an_error() -> None:
    with (
        openai_server(lambda _: 404) as server,
        pytest.raises(TrainingError, match=r"expert-tiny at .* no request succeeded: NotFound"),
    ):
        evaluate(SUITE, [EXPERT], Settings(server.endpoint, None))


@pytest.mark.parametrize(
    "contestant",
    [Contestant("tiny", "grammar"), Contestant("expert-tiny", "plain-grammar")],
)
def test_who_is_sent_a_grammar_needs_one(contestant: Contestant) -> None:
    with pytest.raises(UsageError, match="cannot be asked with a grammar"):
        evaluate(SUITE, [contestant], Settings("http://127.0.0.1:1", None))


def test_what_is_known_is_not_asked_again() -> None:
    known = {(EXPERT, "2"): Answer("SELECT 2;", "", 0.1, 5), (EXPERT, "3"): Answer("x", "", 0.1, 5)}
    asked = []
    with openai_server(say) as server:
        settings = Settings(server.endpoint)
        graded = evaluate(SUITE, [EXPERT], settings, lambda _, c, __: asked.append(c.id), known)
    assert sorted(asked) == ["0", "1", "4", "5"]
    assert [g.score.correct for g in graded[EXPERT]] == [True, True, True, False, True, True]


def test_when_the_time_is_up_what_was_answered_has_been_told() -> None:
    stop = threading.Event()
    answered = []
    with openai_server(lambda body: say(body) if "0" in say(body) else hanging(stop)) as server:
        settings = Settings(server.endpoint, concurrency=1, total_seconds=2.0)
        with pytest.raises(UnfinishedError, match="time was up"):
            evaluate(SUITE, [EXPERT], settings, lambda _, c, __: answered.append(c.id))
        stop.set()
    assert answered == ["0"]


def hanging(stop: threading.Event) -> int:
    stop.wait(60)
    return 503


@pytest.mark.parametrize(("status", "lost"), [(400, False), (404, False), (429, True), (503, True)])
def test_a_server_that_fails_is_told_from_a_request_that_is_refused(
    status: int, lost: bool
) -> None:
    with openai_server(lambda body: status if "3" in say(body) else say(body)) as server:
        graded = evaluate(SUITE, [EXPERT], Settings(server.endpoint))[EXPERT]
    assert [g.answer.lost for g in graded] == [False, False, False, lost, False, False]

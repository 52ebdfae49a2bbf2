"""Two shipped experts in one request."""

from __future__ import annotations

import openai
import pytest

from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e

MESSAGES = [
    {"role": "system", "content": "Dialect: sql\nSchema:\nusers(id, name, age)"},
    {"role": "user", "content": "Find all users older than 25."},
]


def ask(server: Server, model: str) -> tuple[str, str, str]:
    """The answer's text, its model, and who answered."""
    raw = server.client.chat.completions.with_raw_response.create(
        model=model,
        messages=MESSAGES,  # type: ignore[arg-type]  # plain dicts are accepted
        temperature=0,
        max_tokens=24,
        extra_headers={"x-hive-grammar": "off"},
    )
    answer = raw.parse()
    return answer.choices[0].message.content, answer.model, raw.headers["x-hive-experts"]


def test_weights_go_from_one_expert_to_the_other(server: Server) -> None:
    """Next to nothing of the second is the first alone."""
    alone = ask(server, "expert-sql")[0]
    text, model, experts = ask(server, "expert-json:0.001+expert-sql")
    assert text == alone
    assert model == "expert-json:0.001+expert-sql"
    assert ":0.001, expert-sql@" in experts
    assert ask(server, "expert-sql:0.001+expert-json:0.001")[0] != alone


def test_the_order_makes_no_difference(server: Server) -> None:
    left = ask(server, "expert-sql:0.6+expert-json:0.4")
    assert ask(server, "expert-json:0.4+expert-sql:0.6") == left


@pytest.mark.parametrize(
    ("model", "says"),
    [("expert-sql+expert-sql", "twice"), ("expert-sql:two+expert-json", "no weight")],
)
def test_what_cannot_be_composed_is_a_bad_request(server: Server, model: str, says: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, model)
    assert says in caught.value.message
    assert caught.value.param == "model"


def test_a_composition_with_an_unknown_expert_is_not_found(server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match="expert-sqll"):
        ask(server, "expert-sqll+expert-json")


def test_a_rank_that_no_slot_holds_is_cut_and_the_error_is_stated(server: Server) -> None:
    """The server runs with --cut-ranks: rank 8 and rank 12, in slots of 16."""

    def error(model: str) -> float:
        raw = server.client.chat.completions.with_raw_response.create(
            model=model,
            messages=MESSAGES,  # type: ignore[arg-type]  # plain dicts are accepted
            max_tokens=1,
        )
        return float(raw.headers.get("x-hive-truncation", 0))

    assert 0 < error("expert-sql+expert-tall") < 0.5
    assert error("expert-sql+expert-json") == 0

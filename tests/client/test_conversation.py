from __future__ import annotations

from typing import Any

import pytest

from hive_expert.client.conversation import Sampling, bare_name, messages_of, model_of
from hive_expert.errors import UsageError


@pytest.mark.parametrize(
    ("experts", "model"),
    [
        (None, "auto"),
        ([], ""),
        (["expert-a"], "expert-a"),
        (["expert-a:0.7", "expert-b"], "expert-a:0.7+expert-b"),
    ],
)
def test_experts_name_the_model(experts: Any, model: str) -> None:
    assert model_of(experts) == model


@pytest.mark.parametrize("experts", ["expert-a", [""], ["expert-a", ""]])
def test_what_is_no_list_of_names_is_refused(experts: Any) -> None:
    with pytest.raises(UsageError):
        model_of(experts)


def test_messages_are_system_history_and_what_is_asked() -> None:
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert messages_of("Ask", body="of this", system="Be brief", history=history) == [
        {"role": "system", "content": "Be brief"},
        *history,
        {"role": "user", "content": "Ask\n\nof this"},
    ]


def test_a_body_alone_is_enough_and_nothing_is_not() -> None:
    assert messages_of("", body="text") == [{"role": "user", "content": "text"}]
    with pytest.raises(UsageError, match="nothing is asked"):
        messages_of("", system="Be brief")


def test_only_chosen_values_are_sent() -> None:
    assert Sampling().as_fields() == {}
    assert Sampling(temperature=0.0, stop=(";",)).as_fields() == {"temperature": 0.0, "stop": [";"]}


@pytest.mark.parametrize("name", ["expert-a", "expert-a:0.5", "expert-a@1.0", "expert-a#ab:1"])
def test_bare_name(name: str) -> None:
    assert bare_name(name) == "expert-a"

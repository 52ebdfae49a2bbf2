"""What `model=auto` reads of a request, and who answers when the first choice cannot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hive_expert.catalog.catalog import Catalog, Expert, assemble
from hive_expert.catalog.inventory import Inventory
from hive_expert.catalog.residency import Resident
from hive_expert.decoding.contract import Contract
from hive_expert.engine.fake import FakeEngine
from hive_expert.errors import AgentError, CatalogError, Problem, RequestError
from hive_expert.manifest.model import Manifest
from hive_expert.router.route import Decision, Settings
from hive_expert.router.turns import Turn
from hive_expert.serving.agents import Agent, Agents
from hive_expert.serving.automatic import (
    MAX_HEADER,
    Router,
    answering_auto,
    explain,
    header_of,
    max_experts_of,
    turns_of_request,
)
from hive_expert.serving.state import Hive, ServeSettings, Target
from hive_expert.serving.supply import Supply
from tests.router.experts import CAPITAL, USERS, four_manifests

SQL = next(m for m in four_manifests() if m.name == "expert-sql")
TOO = SQL.model_copy(update={"name": "expert-sql-too"})
ASKED = [Turn("user", USERS)]


def expert(manifest: Manifest, folder: Path, *, digest: str, there: bool = True) -> Expert:
    adapter = folder / digest
    if there:
        adapter.mkdir(parents=True)
    return Expert(manifest, digest, adapter, Contract(), rank=8)


class Withdrawing(Inventory):
    """Has one expert, and takes it out when it is told to."""

    def __init__(self) -> None:
        """Without a directory."""

    def catalog(self, without: Collection[str] = ()) -> Catalog:
        return assemble(())

    def withdraw(self, expert: Expert, problems: tuple[Problem, ...]) -> None:
        """Nothing is left."""


def hive_of(*experts: Expert) -> Hive:
    nothing: Any = None
    settings = ServeSettings(nothing, nothing, ("tiny",))
    supply = Supply(nothing, Resident(FakeEngine()), assemble(experts))
    return Hive(settings, supply, engine_client=None)


async def answering(hive: Hive, turns: list[Turn], most: int = 1) -> tuple[Target, Decision]:
    async with answering_auto(hive, Router(Settings(most)), turns) as chosen:
        return chosen


@pytest.mark.parametrize(
    ("body", "turns"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, (Turn("user", "a"),)),
        ({"messages": []}, ()),
        ({"prompt": "a"}, (Turn("user", "a"),)),
        ({"prompt": ["a"]}, (Turn("user", "a"),)),
        ({"prompt": ""}, (Turn("user", ""),)),
        (
            {
                "prompt": "<|im_start|>system\nDialect: sql<|im_end|>\n"
                "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\n"
            },
            (Turn("system", "Dialect: sql"), Turn("user", "who?"), Turn("assistant", "")),
        ),
    ],
)
def test_a_conversation_is_read_from_messages_or_a_prompt(
    body: dict[str, Any], turns: tuple[Turn, ...]
) -> None:
    assert turns_of_request(body) == turns


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": [1, 2, 3]},
        {"prompt": ["a", "b"]},
        {"prompt": [[1, 2]]},
        {"prompt": None},
        {"messages": "hello"},
        {"messages": ["hello"]},
        {"messages": None},
    ],
)
def test_what_is_no_conversation_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        turns_of_request(body)


@pytest.mark.parametrize("value", [0, 11, "2", 1.5, True, [1]])
def test_max_experts_is_a_small_whole_number(value: Any) -> None:
    with pytest.raises(RequestError, match="max_experts"):
        max_experts_of({"max_experts": value})


def test_max_experts_may_be_left_out() -> None:
    assert max_experts_of({}) is max_experts_of({"max_experts": None}) is None
    assert max_experts_of({"max_experts": 3}) == 3


def decision(*reasons: str) -> Decision:
    return Decision((), 0.125, reasons, abstained=True)


def test_a_header_tells_score_and_reasons() -> None:
    assert header_of(decision("one", "two")) == "score=0.12; one; two"


@pytest.mark.parametrize(
    "reason", ["größer 谁 😀", "a\r\nset-cookie: x", "\x00\x7f\x85", "x" * 9999]
)
def test_a_header_holds_whatever_a_request_says(reason: str) -> None:
    header = header_of(decision(reason))
    assert header.isascii()
    assert header.isprintable()
    assert len(header) <= MAX_HEADER


async def test_the_chosen_expert_answers(tmp_path: Path) -> None:
    hive = hive_of(expert(SQL, tmp_path, digest="aa"))
    target, told = await answering(hive, ASKED)
    assert str(target) == f"expert-sql@{SQL.version}"
    assert told.model == "expert-sql"


async def test_the_base_answers_a_general_question(tmp_path: Path) -> None:
    hive = hive_of(expert(SQL, tmp_path, digest="aa"))
    target, told = await answering(hive, [Turn("user", CAPITAL)])
    assert (target.model, target.parts, told.abstained) == ("tiny", (), True)


async def test_the_base_answers_for_an_expert_that_cannot_be_loaded(tmp_path: Path) -> None:
    hive = hive_of(expert(SQL, tmp_path, digest="aa", there=False))
    target, told = await answering(hive, ASKED)
    assert (target.parts, told.abstained, told.experts) == ((), True, ())
    assert "expert-sql cannot answer" in told.reasons[-1]


async def test_the_base_answers_for_an_expert_whose_grammar_does_not_compile(
    tmp_path: Path,
) -> None:
    sql = expert(SQL, tmp_path, digest="aa")
    hive = hive_of(sql)
    hive.supply.inventory = Withdrawing()

    async def refuse(_: Expert) -> None:
        raise CatalogError(Problem("model", "its grammar does not compile"))

    hive.supply.attempt = refuse
    target, told = await answering(hive, ASKED)
    assert (target.parts, told.abstained) == ((), True)
    assert "its grammar does not compile" in told.reasons[-1]
    assert hive.catalog.versions == ()


async def test_the_base_answers_for_an_expert_that_the_sender_may_not_ask(tmp_path: Path) -> None:
    hive = hive_of(expert(SQL, tmp_path, digest="aa"))
    agents = Agents(Agent(experts=("base",)))
    permit = partial(agents.require_allowed, "alice")
    async with answering_auto(hive, Router(Settings()), ASKED, permit) as (target, told):
        assert (target.parts, told.abstained) == ((), True)
        assert "may not ask expert-sql" in told.reasons[-1]
    agents = Agents(Agent(experts=("expert-json",)))
    with pytest.raises(AgentError, match="base"):
        async with answering_auto(
            hive, Router(Settings()), ASKED, partial(agents.require_allowed, "alice")
        ):
            pass


async def test_one_answers_where_several_do_not_go_together(tmp_path: Path) -> None:
    experts = [expert(SQL, tmp_path, digest="aa"), expert(TOO, tmp_path, digest="bb")]
    prompted = [replace(e, virtual_tokens=4) for e in experts]
    target, told = await answering(hive_of(*prompted), ASKED, most=2)
    assert [part.expert.name for part in target.parts] == ["expert-sql"]
    assert "soft prompts" in told.reasons[-1]


async def test_of_equals_the_loaded_one_answers(tmp_path: Path) -> None:
    hive = hive_of(expert(SQL, tmp_path, digest="aa"), expert(TOO, tmp_path, digest="bb"))
    router = Router(Settings())
    assert (await router.decide(hive, ASKED)).model == "expert-sql"
    async with hive.answering("expert-sql-too"):
        pass
    assert (await router.decide(hive, ASKED)).model == "expert-sql-too"


async def test_a_new_catalog_is_routed_to_at_once(tmp_path: Path) -> None:
    hive, router = hive_of(), Router(Settings())
    assert (await router.decide(hive, ASKED)).abstained
    hive.supply.catalog = assemble([expert(SQL, tmp_path, digest="aa")])
    assert (await router.decide(hive, ASKED)).model == "expert-sql"
    hive.supply.catalog = Catalog()
    assert (await router.decide(hive, ASKED)).abstained


async def test_the_index_is_made_once_for_a_catalog(tmp_path: Path) -> None:
    hive, router = hive_of(expert(SQL, tmp_path, digest="aa")), Router(Settings())
    assert await router.index(hive.catalog) is await router.index(hive.catalog)


async def test_an_explanation_tells_what_does_not_go_together(tmp_path: Path) -> None:
    experts = [expert(SQL, tmp_path, digest="aa"), expert(TOO, tmp_path, digest="bb")]
    hive = hive_of(*(replace(e, virtual_tokens=4) for e in experts))
    told = await Router(Settings()).decide(hive, ASKED, max_experts=2)
    explained = explain(told, hive.catalog)
    assert explained["object"] == "route"
    assert explained["model"] == "expert-sql:0.5+expert-sql-too:0.5"
    assert explained["reasons"][-1].startswith("not together: ")

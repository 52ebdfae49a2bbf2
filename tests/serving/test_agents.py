"""What an agents file says is held, and what it cannot say is refused."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hive_expert.errors import AgentError, BudgetError, UsageError
from hive_expert.serving.agents import Agent, Agents, AgentsSource, PriorityClass, parse_agents
from hive_expert.serving.ledger import Ledger

FILE = """
[default]
weight = 2
[agents.crawler]
class = "agent"
batch_class = "agent"
tokens = 1000
period = "hour"
experts = ["expert-sql*", "base"]
"""


def parsed(text: str) -> Agents:
    return parse_agents(tomllib.loads(text), "agents.toml")


def test_a_file_says_what_each_agent_may_have() -> None:
    agents = parsed(FILE)
    assert agents.of("crawler") == Agent(
        PriorityClass.AGENT, PriorityClass.AGENT, 2, 1000, "hour", ("expert-sql*", "base")
    )
    assert agents.of("anyone") == agents.of(None) == Agent(weight=2)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[agent.x]\nweight = 1", "is no section"),
        ("[agents.x]\nwieght = 1", "did you mean weight"),
        ("[agents.x]\nweight = 0", "between 0.001 and 1000"),
        ("[agents.x]\nweight = true", "between 0.001 and 1000"),
        ("[agents.x]\nweight = nan", "between 0.001 and 1000"),
        ('[agents.x]\nclass = "urgent"', "one of interactive, agent, batch"),
        ('[agents.x]\nbatch_class = "interactive"', "one of agent, batch"),
        ("[agents.x]\ntokens = 1.5", "whole number"),
        ("[agents.x]\ntokens = -1", "whole number"),
        ('[agents.x]\nperiod = "week"', "one of hour, day, month"),
        ('[agents.x]\nexperts = "expert-sql"', "a list of names"),
        ("agents = 3", "is no table"),
        ("default = 3", "is no table"),
    ],
)
def test_what_it_cannot_say_is_refused(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parsed(text)


def test_a_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    source = AgentsSource(tmp_path / "agents.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        source.load()
    for weight in (2, 3):
        (tmp_path / "agents.toml").write_text(f"[agents.crawler]\nweight = {weight}\n")
        assert source.load().of("crawler").weight == weight
    assert AgentsSource().load() == Agents()


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parsed("[agents.x]\nweight = 0\nperiod = 'week'\n[agents.y]\nother = 1")
    assert len(caught.value.problems) == 3


def test_experts_that_are_not_allowed_are_refused_by_name() -> None:
    agents = parsed(FILE)
    agents.require_allowed("crawler", ["expert-sql", "base"])
    agents.require_allowed("anyone", ["expert-json"])
    with pytest.raises(AgentError, match="expert-json"):
        agents.require_allowed("crawler", ["expert-sql", "expert-json"])


def test_a_budget_ends_and_begins_anew() -> None:
    now = [datetime(2026, 1, 1, 10, tzinfo=UTC)]
    ledger = Ledger(parsed(FILE), clock=lambda: now[0])
    ledger.add("crawler", 999)
    ledger.require_left("crawler")
    ledger.add("crawler", 1)
    with pytest.raises(BudgetError, match="1,000 of its 1,000 tokens an hour"):
        ledger.require_left("crawler")
    ledger.require_left("anyone")
    now[0] = now[0].replace(hour=11)
    ledger.require_left("crawler")


@pytest.mark.parametrize(
    ("period", "now", "end"),
    [
        ("hour", "2026-01-01T23:59:30", "2026-01-02T00:00:00"),
        ("day", "2026-02-28T10:00:00", "2026-03-01T00:00:00"),
        ("month", "2026-01-31T10:00:00", "2026-02-01T00:00:00"),
        ("month", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_a_period_ends_when_the_next_one_begins(period: str, now: str, end: str) -> None:
    moment, over = (datetime.fromisoformat(f"{text}+00:00") for text in (now, end))
    agent = Agent(tokens=1, period=period)
    assert agent.period_end(moment) == over
    assert agent.period_at(over) != agent.period_at(over - timedelta(seconds=1))
    ledger = Ledger(Agents(agent), clock=lambda: moment)
    ledger.add("anyone", 1)
    with pytest.raises(BudgetError) as caught:
        ledger.require_left("anyone")
    assert caught.value.again_s == (over - moment).total_seconds()


def test_what_was_saved_counts_and_what_is_new_is_saved_once() -> None:
    now = datetime(2026, 1, 1, 10, tzinfo=UTC)
    ledger = Ledger(parsed(FILE), clock=lambda: now)
    ledger.restore({("crawler", "2026-01-01T10"): 600})
    ledger.add("crawler", 500)
    assert ledger.spent("crawler") == 1100
    assert ledger.take_unsaved() == {("crawler", "2026-01-01T10"): 500}
    assert not ledger.take_unsaved()


def test_what_could_not_be_saved_is_saved_later() -> None:
    ledger = Ledger()
    ledger.add("crawler", 5)
    taken = ledger.take_unsaved()
    ledger.add("crawler", 1)
    ledger.give_back(taken)
    assert sum(ledger.take_unsaved().values()) == ledger.spent("crawler") == 6


def test_other_agents_may_have_other_budgets_at_once() -> None:
    ledger = Ledger(parsed(FILE))
    ledger.add("crawler", 1000)
    with pytest.raises(BudgetError):
        ledger.require_left("crawler")
    ledger.agents = parsed(FILE.replace("1000", "2000"))
    ledger.require_left("crawler")

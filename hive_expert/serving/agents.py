"""Agents: who may ask for what, how urgently, and how much. SPEC section 14.

An agent is a tenant of the key files; its name stands there before its key. What the operator has
decided for each is in one TOML file (`hive-serve --agents`):

    [default]                   # everyone who is not named, and everyone where there are no keys
    weight = 1

    [agents.crawler]
    class = "agent"             # of its direct requests: interactive, agent or batch
    batch_class = "batch"       # of its batches: agent or batch
    weight = 4                  # its share of the engine beside other agents of the same class
    tokens = 2_000_000          # of prompts and answers, in each period
    period = "day"              # hour, day, month
    experts = ["expert-sql", "expert-json*", "base"]
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hive_expert.errors import AgentError, Problem, UsageError

BASE = "base"
"""How the base model is called in a list of allowed experts."""

NOBODY = ""
"""The agent of requests without a key, on a server that asks for none."""


class PriorityClass(IntEnum):
    """How urgent a request is. The value is its priority in vLLM: the lower, the sooner."""

    INTERACTIVE = 0
    AGENT = 10
    BATCH = 20

    @property
    def word(self) -> str:
        return self.name.lower()


PERIODS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
"""Period → how the one at hand is named, in UTC."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What one agent may have.

    Law: no request of an agent has a priority above its class, whatever the request says.
    """

    direct: PriorityClass = PriorityClass.INTERACTIVE
    """Of requests that a client waits for."""
    batches: PriorityClass = PriorityClass.BATCH
    weight: float = 1.0
    tokens: int | None = None
    """In each period; None: without end."""
    period: str = "day"
    experts: tuple[str, ...] | None = None
    """Patterns of names; None: all of them, and the base."""

    def allows(self, name: str) -> bool:
        """Whether it may ask an expert of this name, or the base (`BASE`)."""
        return self.experts is None or any(fnmatchcase(name, p) for p in self.experts)

    def period_at(self, now: datetime) -> str:
        """The name of the period that this moment is in."""
        return now.astimezone(UTC).strftime(PERIODS[self.period])

    def period_end(self, now: datetime) -> datetime:
        """When that period is over, and the next one begins."""
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if self.period == "hour":
            return hour + timedelta(hours=1)
        day = hour.replace(hour=0)
        if self.period == "day":
            return day + timedelta(days=1)
        return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Agents:
    """All that the operator has decided."""

    default: Agent = field(default_factory=Agent)
    named: Mapping[str, Agent] = field(default_factory=dict)

    def of(self, tenant: str | None) -> Agent:
        return self.named.get(tenant or NOBODY, self.default)

    def require_allowed(self, tenant: str | None, names: Iterable[str]) -> None:
        """Raise AgentError unless the tenant may ask all of these experts."""
        agent = self.of(tenant)
        refused = sorted(name for name in set(names) if not agent.allows(name))
        if refused:
            allowed = ", ".join(agent.experts or ())
            raise AgentError(
                *(
                    Problem("model", f"this key may not ask {n[:80]}", f"it may: {allowed}")
                    for n in refused
                )
            )

    def priority(self, tenant: str | None, job: PriorityClass | None, sent: int) -> int:
        """vLLM's priority of a request: its client can make it less urgent only."""
        own = self.of(tenant).direct if job is None else job
        return max(int(own), sent)


@dataclass(frozen=True, slots=True)
class AgentsSource:
    """Where the operator's decisions come from; read anew when the server is told to."""

    path: Path | None = None
    """An agents file; None: every agent is like every other."""

    def load(self) -> Agents:
        """Read the file.

        Raises:
            UsageError: it cannot be read; or every setting that is unknown or makes no sense.
        """
        if self.path is None:
            return Agents()
        try:
            settings = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(Problem(str(self.path), f"cannot be read: {error}")) from error
        return parse_agents(settings, str(self.path))


def parse_agents(settings: Mapping[str, Any], where: str) -> Agents:
    """Agents from the content of an agents file. Raises UsageError as `AgentsSource.load`."""
    problems: list[Problem] = [
        Problem(f"{where}: {key}", "is no section", "there are [default] and [agents.NAME]")
        for key in settings
        if key not in ("default", "agents")
    ]
    default = _agent(settings.get("default", {}), f"{where}: [default]", Agent(), problems)
    tables = settings.get("agents", {})
    if not isinstance(tables, dict):
        problems.append(Problem(f"{where}: agents", "is no table", "write [agents.NAME]"))
        tables = {}
    named = {
        name: _agent(table, f"{where}: [agents.{name}]", default, problems)
        for name, table in tables.items()
    }
    if problems:
        raise UsageError(*problems)
    return Agents(default, named)


_KEYS = {
    "class": "direct",
    "batch_class": "batches",
    "weight": "weight",
    "tokens": "tokens",
    "period": "period",
    "experts": "experts",
}
assert set(_KEYS.values()) == {f.name for f in fields(Agent)}


def _agent(table: Any, where: str, default: Agent, problems: list[Problem]) -> Agent:
    if not isinstance(table, dict):
        problems.append(Problem(where, "is no table"))
        return default
    found = list(_problems(table, where))
    problems += found
    if found:
        return default
    return replace(default, **{_KEYS[key]: _value(key, value) for key, value in table.items()})


def _value(key: str, value: Any) -> Any:
    if key in ("class", "batch_class"):
        return PriorityClass[value.upper()]
    return tuple(value) if key == "experts" else value


def _problems(table: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for key, value in table.items():
        place = f"{where} {key}"
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            yield Problem(place, "is no setting", f"did you mean {near[0]}?" if near else "")
        elif (wrong := _wrong(key, value)) is not None:
            yield Problem(place, f"{value!r:.60}: {wrong}")


def _wrong(key: str, value: Any) -> str | None:
    """What a setting's value has to be, if it is something else."""
    words: dict[str, tuple[str, ...]] = {
        "class": ("interactive", "agent", "batch"),
        # Nobody waits for a batch, and it would take the room kept for those who do.
        "batch_class": ("agent", "batch"),
        "period": tuple(PERIODS),
    }
    if key in words:
        return None if value in words[key] else f"one of {', '.join(words[key])}"
    if key == "experts":
        fine = isinstance(value, list) and all(isinstance(name, str) for name in value)
        return None if fine else "a list of names, in which * may stand for any letters"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "weight":
        return None if number and 0.001 <= value <= 1000 else "a number between 0.001 and 1000"
    whole = number and isinstance(value, int)
    return None if whole and value >= 0 else "a whole number of tokens"

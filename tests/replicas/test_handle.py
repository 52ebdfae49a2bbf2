"""What the front gets to see of what Ray raises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from hive_expert.errors import EngineError
from hive_expert.replicas.handle import RayEngines
from hive_expert.replicas.relay import Answer, Head, Relayed
from hive_expert.replicas.retry import answer

REQUEST = Relayed("POST", "/v1/chat/completions", (), b"{}", "expert-a")
FAILED = RayTaskError("ask", "Traceback …", ValueError("a secret of the replica"))
GONE = DeploymentUnavailableError(DeploymentID(name="engine", app_name="hive"))
ONE = Answer("one", Head(200), b"{}")


class Response:
    """Of one request: pieces, or what is raised."""

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces
        self.cancelled = False

    async def __aiter__(self) -> AsyncIterator[Any]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Of a deployment whose replicas do as they are told here. They are there from the first, and
    it hears of them when it looks for them once more than `blind` times."""

    def __init__(self, *pieces: Any, everywhere: Any = (), blind: int = 0) -> None:
        self.blind = blind
        self.response = Response(list(pieces))
        self.everywhere = everywhere
        self.chosen: dict[str, Any] = {}

    def options(self, **chosen: Any) -> Handle:
        self.chosen = chosen
        return self

    def remote(self, _: Relayed) -> Response:
        return self.response

    def running_replicas_populated(self) -> bool:
        return self.blind == 0

    def broadcast(self, *_: object) -> Handle:
        return self

    async def results_async(self, **_: object) -> list[Any]:
        if self.blind:
            self.blind -= 1
            raise GONE
        if isinstance(self.everywhere, Exception):
            raise self.everywhere
        return list(self.everywhere)


async def test_a_request_meets_its_experts() -> None:
    handle = Handle(Head(200), b"a")
    assert [piece async for piece in RayEngines(handle).ask(REQUEST)] == [Head(200), b"a"]
    assert handle.chosen["multiplexed_model_id"] == "expert-a"
    assert not handle.response.cancelled


async def test_a_client_that_leaves_ends_its_request() -> None:
    handle = Handle(Head(200), b"a", b"b")
    pieces = RayEngines(handle).ask(REQUEST)
    assert await anext(pieces) == Head(200)
    await pieces.aclose()
    assert handle.response.cancelled


@pytest.mark.parametrize("raised", [FAILED, FAILED.as_instanceof_cause(), GONE])
async def test_what_a_replica_raises_is_an_error_of_ours_without_its_words(
    raised: Exception,
) -> None:
    with pytest.raises(EngineError) as caught:
        [piece async for piece in RayEngines(Handle(raised)).ask(REQUEST)]
    assert "secret" not in str(caught.value)


async def test_a_replica_that_has_died_is_one_that_fell_away() -> None:
    attempts = [Handle(ActorDiedError()), Handle(Head(200), b"a")]
    pieces = answer(lambda: RayEngines(attempts.pop(0)).ask(REQUEST), RayEngines.lost)
    assert [piece async for piece in pieces] == [Head(200), b"a"]


async def test_those_that_fell_away_are_not_asked_for_their_part() -> None:
    engines = RayEngines(Handle(everywhere=[ActorDiedError(), ONE]))
    assert await engines.ask_all(REQUEST) == [ONE]


async def test_a_list_does_without_a_replica_that_is_slow_and_an_action_does_not() -> None:
    engines = RayEngines(Handle(everywhere=[None, ONE]))
    assert await engines.ask_all(Relayed("GET", "/v1/experts")) == [ONE]
    with pytest.raises(EngineError, match="did so"):
        await engines.ask_all(Relayed("POST", "/v1/experts/expert-a/unload"))


@pytest.mark.parametrize("everywhere", [GONE, TimeoutError(), [], [FAILED], [False]])
async def test_nobody_is_alive(everywhere: Any) -> None:
    assert not await RayEngines(Handle(everywhere=everywhere)).alive()


async def test_one_is_alive() -> None:
    assert await RayEngines(Handle(everywhere=[False, ActorDiedError(), True])).alive()


async def test_those_a_new_handle_has_not_heard_of_yet_are_waited_for() -> None:
    assert await RayEngines(Handle(everywhere=[True], blind=2)).alive()


async def test_those_it_never_hears_of_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hive_expert.replicas.handle.SEEN_LIMIT_S", 0.05)
    handle = Handle(everywhere=[True], blind=1_000)
    assert not await RayEngines(handle).alive()
    assert handle.blind > 900

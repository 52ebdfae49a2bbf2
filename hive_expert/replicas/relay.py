"""A request on its way to a replica, and the answer on its way back: which headers go along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hive_expert.serving.auth import Caller
from hive_expert.serving.front_link import HEADER

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case."""

_OF_ONE_CONNECTION = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1."""

_OF_THE_FRONT = frozenset(
    {b"host", b"origin", b"content-length", b"accept-encoding", b"expect", HEADER}
)
"""A page's site is the front's matter; the body's length is counted anew, and nobody is asked
whether to send it, since it is there; nothing is packed; no client speaks for the front."""

_OF_THE_SERVER = frozenset({b"date", b"server"})


@dataclass(frozen=True, slots=True)
class Relayed:
    """One request, whole."""

    method: str
    target: str
    """Path and query as they were sent, percent-encoded."""
    headers: Headers = ()
    body: bytes = b""
    experts: str = ""
    """What `affinity` says it shares a replica by; empty: any replica will do."""
    errand: Caller | None = None
    """For whom a batch asks; None: a client does, and its key is among the headers."""
    front: str = ""
    """Who relays it: a front that is started anew is another one."""

    def to(self, method: str, target: str, body: bytes | None = None) -> Relayed:
        """Another request by the same caller, with the same body unless there is another one."""
        body = self.body if body is None else body
        return replace(self, method=method, target=target, body=body, experts="")


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins."""

    status: int
    headers: Headers = ()

    @property
    def streams(self) -> bool:
        """Whether its client reads it while it comes."""
        kinds = [value for name, value in self.headers if name == b"content-type"]
        return any(kind.startswith(b"text/event-stream") for kind in kinds)


@dataclass(frozen=True, slots=True)
class Spent:
    """The tokens that an agent's requests have cost in one replica, all together; see `account`."""

    replica: str
    agent: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One replica's answer, whole."""

    replica: str
    head: Head
    body: bytes


def to_replica(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of a client's request the replica gets: the key and the request's id are there."""
    return _without(headers, _OF_ONE_CONNECTION | _OF_THE_FRONT)


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of a replica's answer the client gets."""
    return _without(headers, _OF_ONE_CONNECTION | _OF_THE_SERVER)


def _without(headers: Iterable[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> Headers:
    lower = [(name.lower(), value) for name, value in headers]
    named = {
        word.strip().lower()
        for name, value in lower
        if name == b"connection"
        for word in value.split(b",")
    }
    return tuple((name, value) for name, value in lower if name not in dropped | named)

"""What passes between a replica's server and the front that stands before it, beside requests.

With each request comes a header: a secret that only the process has which started this server, the
request's number, and, where a batch asks, for whom and how urgently. So the front can ask on behalf
of somebody whose key it does not have, and no client can: what a client writes there is never read.

Back goes a line for each request that has ended, through a pipe: its number, its agent, its tokens.
It cannot stand in the answer, since a client may leave before that has ended.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from dataclasses import dataclass, field

from starlette.types import Scope

from hive_expert.serving.agents import NOBODY, PriorityClass
from hive_expert.serving.auth import Caller

HEADER = b"x-hive-front"

VARIABLE = "HIVE_FRONT_LINK"
"""Of the environment of a replica's server: the pipe's descriptor and the secret."""

AGAIN_S = 0.02
"""Before a full pipe is written to once more."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the front says of a request."""

    number: int
    errand: Caller | None = None
    """For whom a batch asks; None: the request's key says whose it is."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a request has cost that has ended."""

    number: int | None
    """None: it came past the front, from the same machine."""
    agent: str
    tokens: int


def header_of(told: Told, secret: str) -> tuple[bytes, bytes]:
    """The header of a request to a replica's server."""
    words = [secret, str(told.number)]
    if told.errand is not None:
        assert told.errand.job is not None  # a client's request has its key
        words += [told.errand.job.word, *filter(None, [told.errand.tenant])]
    return HEADER, " ".join(words).encode()


def read_header(value: bytes, secret: str) -> Told | None:
    """What a header says; None if it was not made with this secret."""
    given, _, rest = value.partition(b" ")
    if not hmac.compare_digest(given, secret.encode()):
        return None
    number, *errand = rest.decode().split()
    if not errand:
        return Told(int(number))
    job, *tenant = errand
    caller = Caller(tenant[0] if tenant else None, admin=False, job=PriorityClass[job.upper()])
    return Told(int(number), caller)


def read_bill(line: bytes) -> Bill:
    """A line of the pipe."""
    return Bill(**json.loads(line))


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How a replica's server was started."""

    descriptor: int
    secret: str = field(repr=False)

    def variable(self) -> dict[str, str]:
        """As it stands in the server's environment."""
        return {VARIABLE: f"{self.descriptor} {self.secret}"}


def link_settings() -> LinkSettings | None:
    """From the environment, once: programs that we start inherit nothing. None: no front."""
    descriptor, _, secret = os.environ.pop(VARIABLE, "").partition(" ")
    return LinkSettings(int(descriptor), secret) if secret else None


class FrontLink:
    """The server's end of it."""

    def __init__(self, settings: LinkSettings) -> None:
        self._secret = settings.secret
        self._pipe = settings.descriptor
        self._unwritten = bytearray()
        self._again: asyncio.TimerHandle | None = None
        os.set_blocking(self._pipe, False)
        os.set_inheritable(self._pipe, False)

    def told(self, scope: Scope) -> Told | None:
        """What the front says of a request; None if it does not come from there.

        Nobody else gets to see the header: it is taken out of the request.
        """
        found = [value for name, value in scope["headers"] if name == HEADER]
        scope["headers"] = [(n, v) for n, v in scope["headers"] if n != HEADER]
        return read_header(found[0], self._secret) if len(found) == 1 else None

    def settle(self, told: Told | None, tenant: str | None, tokens: int) -> None:
        """Tell what a request has cost that has ended. It never waits, and loses nothing as long as
        the other end is there."""
        if told is None and not tokens:
            return
        number = None if told is None else told.number
        line = {"number": number, "agent": tenant or NOBODY, "tokens": tokens}
        self._unwritten += json.dumps(line).encode() + b"\n"
        if self._again is None:
            self._write()

    def _write(self) -> None:
        self._again = None
        try:
            del self._unwritten[: os.write(self._pipe, self._unwritten)]
        except BlockingIOError:
            pass
        except OSError:  # whoever started this server is gone, and it ends too
            self._unwritten.clear()
        if self._unwritten:
            self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._write)

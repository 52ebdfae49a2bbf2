"""What is done to an experts directory, and to a server over its admin routes, while it answers."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hive_expert.package.keys import SigningKey, generate_key
from tests.e2e.chaos.experts import KINDS, write_package

ANCHOR = "expert-chaos-anchor"
"""Never touched: it must answer every request."""
CHANGING = tuple(f"expert-chaos-{letter}" for letter in "abcdef")


@dataclass
class Known:
    """What a client may count on of one expert."""

    served: int | None = None
    """The latest version known to be served, by its serial; None: perhaps none is."""
    written: int = 0
    """The latest version ever written."""


@dataclass
class Directory:
    """Random operations on the experts of one server."""

    folder: Path
    url: str
    signer: SigningKey
    random: random.Random
    http: httpx.AsyncClient
    known: dict[str, Known] = field(default_factory=lambda: {n: Known() for n in CHANGING})
    dying: Callable[[], bool] = lambda: False
    """Whether the server is being killed."""
    confirming: bool = True
    """What is put there gets served: the disk is not full."""
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _serial: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _stranger: SigningKey = field(default_factory=lambda: generate_key("Stranger"))

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.expert"

    def write_anchor(self) -> None:
        self._put(ANCHOR, self.signer)

    async def step(self) -> None:
        """One operation on one expert."""
        name = self.random.choice(CHANGING)
        operations: list[tuple[int, Callable[[str], Awaitable[None]]]] = [
            (6, self.replace),
            (2, self.replace_and_confirm),
            (2, self.write_slowly),
            (2, self.corrupt),
            (1, self.cut_short),
            (1, self.unsigned),
            (1, self.by_a_stranger),
            (2, self.remove),
            (2, self.swap_while_read),
            (4, self.load),
            (4, self.unload),
            (1, self.pin),
            (2, self.unpin),
            (1, self.rescan),
        ]
        weights, choices = zip(*operations, strict=True)
        await self.do(self.random.choices(choices, weights)[0], name)

    async def do(self, operation: Callable[[str], Awaitable[None]], name: str) -> None:
        """One operation after another: each knows what lies in the folder."""
        async with self._turn:
            self.done[operation.__name__] += 1
            await operation(name)

    async def replace(self, name: str) -> None:
        self._put(name, self.signer)

    async def replace_and_confirm(self, name: str) -> None:
        """After a rescan has returned, no answer may come from an older version."""
        serial = self._put(name, self.signer)
        await self._rescan()
        if self.confirming:
            self.known[name].served = serial

    async def write_slowly(self, name: str) -> None:
        """In place, over what is there, with the server looking at half of it."""
        whole = self._packed(name, self.signer).read_bytes()
        self.known[name].served = None
        with self.path(name).open("wb") as file:
            for part in (whole[: len(whole) // 3], whole[len(whole) // 3 :]):
                file.write(part)
                file.flush()
                await asyncio.sleep(self.random.uniform(0, 0.8))

    async def corrupt(self, name: str) -> None:
        path = self._packed(name, self.signer)
        data = bytearray(path.read_bytes())
        data[self.random.randrange(len(data))] ^= self.random.randrange(1, 256)
        path.write_bytes(data)
        self._move(path, name)

    async def cut_short(self, name: str) -> None:
        path = self._packed(name, self.signer)
        os.truncate(path, self.random.randrange(path.stat().st_size))
        self._move(path, name)

    async def unsigned(self, name: str) -> None:
        self._move(self._packed(name, None), name)

    async def by_a_stranger(self, name: str) -> None:
        self._move(self._packed(name, self._stranger), name)

    async def remove(self, name: str) -> None:
        self.known[name].served = None
        self.path(name).unlink(missing_ok=True)

    async def swap_while_read(self, name: str) -> None:
        """Exchange the file while the server verifies it."""
        self._put(name, self.signer)
        rescan = asyncio.create_task(self._rescan())
        await asyncio.sleep(self.random.uniform(0, 0.05))
        self._put(name, self.signer)
        await rescan

    async def load(self, name: str) -> None:
        await self._post(f"{name}/load", {200, 404, 409, 503})

    async def unload(self, name: str) -> None:
        await self._post(f"{name}/unload", {200, 404, 409, 503})

    async def pin(self, name: str) -> None:
        await self._post(f"{name}/pin", {200, 404, 409, 503})

    async def unpin(self, name: str) -> None:
        await self._post(f"{name}/unpin", {200, 404, 409, 503})

    async def rescan(self, name: str) -> None:
        await self._rescan()

    def _put(self, name: str, signer: SigningKey | None) -> int:
        self._move(self._packed(name, signer), name, broken=False)
        return self._serial

    def _packed(self, name: str, signer: SigningKey | None) -> Path:
        self._serial += 1
        kind = self.random.randrange(KINDS)
        path = self.folder / f".{name}.partial"
        write_package(path, name, self._serial, kind, signer)
        if name in self.known:
            self.known[name].written = self._serial
        return path

    def _move(self, path: Path, name: str, *, broken: bool = True) -> None:
        # A broken file leaves what is served as it is; but an expert that nobody has asked for is
        # served from its file alone, and this one may be.
        if broken and name in self.known:
            self.known[name].served = None
        path.replace(self.path(name))

    async def _rescan(self) -> None:
        await self._post("rescan", {200})

    async def _post(self, what: str, expected: set[int]) -> None:
        answer = await self.http.post(f"{self.url}/v1/experts/{what}", timeout=60)
        if answer.status_code not in expected and not self.dying():
            self.problems.append(f"{what}: {answer.status_code} {answer.text[:200]}")

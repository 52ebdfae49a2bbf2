"""Whether a grammar or JSON Schema is fit to constrain answers: tried in a child, remembered.

SPEC section 7: grammars are compiled in a killable child with limits before the engine sees them,
so that a bad one makes its expert unavailable, never the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias

from hive_expert.decoding.child import BusyError, ChildError, CrashedError, TooSlowError
from hive_expert.errors import DecodingError, Problem

LOAD_LIMIT_S = 30.0
"""For an expert's own grammar, compiled once."""
REQUEST_LIMIT_S = 5.0
"""For one that a request brings or fills."""
MAX_MASK_S = 0.1
"""The longest search for one token's mask; a decode step takes about as long on a CPU."""
MAX_REMEMBERED = 4096
"""Verdicts that are kept: a digest and a line each."""

Kind: TypeAlias = Literal["grammar", "json_schema", "lark", "regex", "structural_tag"]
Status: TypeAlias = Literal["ok", "refused", "too slow", "crashed", "busy"]


def _with_comment(schema: str, comment: str) -> str:
    """A JSON Schema with a comment in it; what is no object has no place for one."""
    try:
        read = json.loads(schema)
    except (ValueError, RecursionError):
        return schema
    return json.dumps({**read, "$comment": comment}) if isinstance(read, dict) else schema


_COMMENTED: dict[Kind, Callable[[str, str], str]] = {
    "grammar": lambda text, comment: f"# {comment}\n{text}",
    "lark": lambda text, comment: f"// {comment}\n{text}",
    "json_schema": _with_comment,
}
"""How a comment is written, by kind."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A text that constrains answers: GBNF or a JSON Schema, or what else a request may bring."""

    kind: Kind
    text: str

    @property
    def digest(self) -> str:
        """Of kind and text; JSON can bring half a character, which is no UTF-8."""
        text = f"{self.kind}\n{self.text}"
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

    def salted(self, salt: str | None) -> Structure:
        """The same constraint as another text, with a comment that says nothing.

        What compilers keep goes by the text, so nobody with another salt can tell from the time it
        takes that somebody has used this one. A regular expression and a structural tag have no
        place for a comment, and None is no salt.
        """
        if salt is None or self.kind not in _COMMENTED:
            return self
        return replace(self, text=_COMMENTED[self.kind](self.text, salt))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial. Times are those of the trial, 0 where it did not get so far."""

    status: Status
    reason: str = ""
    compile_s: float = 0.0
    mask_s: float = 0.0
    known: bool = False
    """Whether it was remembered; then nothing was compiled."""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


class Compiler(Protocol):
    """What is used of :class:`hive_expert.decoding.child.Child`."""

    async def ask(self, message: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]: ...


@dataclass
class Admission:
    """Tries structures, each once however many ask at the same time.

    Law: equal structures have equal verdicts, as long as they are remembered; `busy` is not
    remembered, since it says nothing of the structure.
    """

    compiler: Compiler
    tried: int = 0
    remembered: int = 0
    """How often an answer was known."""
    _verdicts: OrderedDict[str, asyncio.Future[Verdict]] = field(default_factory=OrderedDict)

    async def verdict(self, structure: Structure, *, limit_s: float = REQUEST_LIMIT_S) -> Verdict:
        """What the compiler makes of it, within the limit."""
        digest = structure.digest
        found = self._verdicts.get(digest)
        known = found is not None
        if found is None:
            self.tried += 1
            found = asyncio.ensure_future(self._try(structure, limit_s))
            self._verdicts[digest] = found
            self._forget_oldest()
        else:
            self.remembered += 1
            self._verdicts.move_to_end(digest)
        # Shielded: one client that leaves does not take the answer from the others.
        verdict = await asyncio.shield(found)
        if verdict.status == "busy":
            self._verdicts.pop(digest, None)
        return replace(verdict, known=known)

    async def require(self, structure: Structure, where: str, *, limit_s: float) -> None:
        """Raise DecodingError, with the reason, unless the structure is fit."""
        verdict = await self.verdict(structure, limit_s=limit_s)
        if not verdict.ok:
            what = f"{verdict.status}: {verdict.reason}" if verdict.reason else verdict.status
            raise DecodingError(Problem(where, f"cannot constrain answers: {what}"))

    async def _try(self, structure: Structure, limit_s: float) -> Verdict:
        message = {"kind": structure.kind, "text": structure.text}
        try:
            answer = await self.compiler.ask(message, limit_s=limit_s)
        except ChildError as failure:
            return Verdict(_STATUS[type(failure)], str(failure))
        return _judge(answer)

    def _forget_oldest(self) -> None:
        for digest in list(self._verdicts)[: max(0, len(self._verdicts) - MAX_REMEMBERED)]:
            if self._verdicts[digest].done():
                del self._verdicts[digest]


_STATUS: dict[type[ChildError], Status] = {
    TooSlowError: "too slow",
    CrashedError: "crashed",
    BusyError: "busy",
}


def _judge(answer: dict[str, Any]) -> Verdict:
    if "refused" in answer:
        return Verdict("refused", answer["refused"])
    compile_s, mask_s = answer["compile_s"], answer["mask_s"]
    if answer["dead_end"]:
        return Verdict("refused", "it comes to a point where no token can follow", compile_s)
    if mask_s > MAX_MASK_S:
        reason = f"a search for the next token took {mask_s:.2f} s"
        return Verdict("too slow", reason, compile_s, mask_s)
    return Verdict("ok", "", compile_s, mask_s)

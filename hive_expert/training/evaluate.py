"""Asks a running server every test case and scores the answers (SPEC §12).

The server is the one that users talk to, so the score is of what they get: template, decoding
rules and grammar included.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import openai

from hive_expert.decoding.binding import bind
from hive_expert.decoding.contract import Contract
from hive_expert.decoding.prompt import messages_of
from hive_expert.errors import Problem, TrainingError, UnfinishedError, UsageError
from hive_expert.training.cases import TestCase, TestSuite
from hive_expert.training.scoring import CaseScore, Score, score_all

Variant = Literal["grammar", "plain-grammar", "no-grammar"]
"""With the expert's grammar, with what it is before it is bound to a prompt, or without any. A base
model is sent explicitly what would constrain the expert's answer to the same case."""

VARIANTS: tuple[Variant, ...] = get_args(Variant)

EXPERT_PREFIX = "expert-"
GRAMMAR_HEADER = "x-hive-grammar"
"""``off`` asks the server to leave the expert's grammar out."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model as it is asked: by its name at the server, in one variant."""

    model: str
    variant: Variant

    @property
    def is_expert(self) -> bool:
        return self.model.startswith(EXPERT_PREFIX)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one case. ``error`` instead of a text when the request failed.

    ``lost`` says that no model is to blame for it: the server was gone, broken or too busy.
    """

    text: str
    error: str
    seconds: float
    tokens: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Graded:
    """A case, the answer to it and what it is worth; a failed request is worth nothing."""

    case: TestCase
    answer: Answer
    score: CaseScore


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server is asked. ``contract`` is the expert's, whose grammar base models are sent.

    ``timeout_seconds`` is for one request, ``total_seconds`` for all of them. With several
    ``candidates`` an answer that is not valid (`CaseScore.valid`, which does not look at the
    expected one) is asked for again, at a temperature, up to so many times in all, and the first
    that is valid counts.
    """

    endpoint: str
    contract: Contract | None = None
    concurrency: int = 16
    max_tokens: int = 256
    timeout_seconds: float = 600.0
    total_seconds: float | None = None
    api_key: str | None = None
    candidates: int = 1


CANDIDATE_TEMPERATURE = 0.7
"""Of the candidates after the first, which is greedy."""

Results = Mapping[Contestant, Sequence[Graded]]
Known = Mapping[tuple[Contestant, str], Answer]
"""Answers that there are already, by contestant and the case's id."""
OnAnswer = Callable[[Contestant, TestCase, Answer], None]


def evaluate(
    suite: TestSuite,
    contestants: Sequence[Contestant],
    settings: Settings,
    on_answer: OnAnswer = lambda *_: None,
    known: Known = MappingProxyType({}),
    score: Score = score_all,
) -> Results:
    """Every contestant's graded answers, in the order of the suite's cases.

    What is ``known`` is not asked again; ``on_answer`` is called for each of the others.

    Raises UsageError when a base model is to be asked with a grammar and there is none,
    TrainingError when a contestant got no answer at all, and UnfinishedError when the time is up.
    """
    for contestant in contestants:
        _require_grammar(contestant, settings.contract)
    try:
        answers = asyncio.run(_ask_all(suite.cases, contestants, settings, on_answer, known, score))
    except TimeoutError as error:
        what = "the time was up before all questions were answered"
        raise UnfinishedError(Problem(settings.endpoint, what)) from error
    for contestant, given in answers.items():
        if all(answer.error for answer in given):
            where = f"{contestant.model} at {settings.endpoint}"
            raise TrainingError(Problem(where, f"no request succeeded: {given[0].error}"))
    return {
        contestant: grade(list(zip(suite.cases, given, strict=True)), score)
        for contestant, given in answers.items()
    }


def _require_grammar(contestant: Contestant, contract: Contract | None) -> None:
    if contestant.variant == "plain-grammar":
        there = contract is not None and contract.structure is not None
    else:
        sent = contestant.variant == "grammar" and not contestant.is_expert
        there = not sent or (contract is not None and contract.constrains)
    if not there:
        what = f"{contestant.model} cannot be asked with a grammar: there is none"
        raise UsageError(Problem("--grammar", what, "give one, or leave the variant out"))


def request_options(
    contestant: Contestant, case: TestCase, contract: Contract | None
) -> dict[str, Any]:
    """Arguments of the chat completion that select the variant."""
    if contestant.is_expert and contestant.variant != "plain-grammar":
        off = contestant.variant == "no-grammar"
        return {"extra_headers": {GRAMMAR_HEADER: "off"}} if off else {}
    if contestant.variant == "no-grammar" or contract is None:
        return {}
    structure = contract.structure
    if contract.binding is not None and contestant.variant == "grammar":
        messages = messages_of({"messages": [dict(message) for message in case.messages]})
        structure = bind(contract.binding, structure, messages).structure
    if structure is None:
        return {}
    kind = "json" if structure.kind == "json_schema" else "grammar"
    return {"extra_body": {"structured_outputs": {kind: structure.text}}}


def grade(answers: Sequence[tuple[TestCase, Answer]], score: Score = score_all) -> list[Graded]:
    """What answers are worth."""
    scores = iter(score([(case, answer.text) for case, answer in answers if not answer.error]))
    return [
        Graded(case, answer, _of_error(answer.error) if answer.error else next(scores))
        for case, answer in answers
    ]


def _of_error(error: str) -> CaseScore:
    return CaseScore(False, False, False, f"request: {error}")


async def _ask_all(
    cases: Sequence[TestCase],
    contestants: Sequence[Contestant],
    settings: Settings,
    on_answer: OnAnswer,
    known: Known,
    score: Score,
) -> dict[Contestant, list[Answer]]:
    gate = asyncio.Semaphore(settings.concurrency)
    # The client insists on a key; a server without keys does not look at it.
    key = settings.api_key or os.environ.get("OPENAI_API_KEY") or "none"
    async with (
        asyncio.timeout(settings.total_seconds),
        openai.AsyncOpenAI(
            base_url=settings.endpoint, api_key=key, timeout=settings.timeout_seconds
        ) as client,
    ):

        async def ask(contestant: Contestant, case: TestCase) -> Answer:
            if (before := known.get((contestant, case.id))) is not None:
                return before
            async with gate:
                answer = await _first_valid(client, contestant, case, settings, score)
            on_answer(contestant, case, answer)
            return answer

        # One contestant after the other, so that a latency is of that contestant alone.
        return {
            contestant: list(await asyncio.gather(*(ask(contestant, case) for case in cases)))
            for contestant in contestants
        }


async def _first_valid(
    client: openai.AsyncOpenAI,
    contestant: Contestant,
    case: TestCase,
    settings: Settings,
    score: Score,
) -> Answer:
    """The greedy answer, or another where that is not valid; with the time and tokens of all."""
    answers = [await _ask(client, contestant, case, settings)]
    if settings.candidates == 1 or answers[0].error:
        return answers[0]

    async def is_valid(answer: Answer) -> bool:
        if answer.error:
            return False
        return (await asyncio.to_thread(score, [(case, answer.text)]))[0].valid

    while not (valid := await is_valid(answers[-1])) and len(answers) < settings.candidates:
        sampling = {"temperature": CANDIDATE_TEMPERATURE, "seed": len(answers)}
        answers.append(await _ask(client, contestant, case, settings, **sampling))
    return replace(
        answers[-1 if valid else 0],
        seconds=sum(answer.seconds for answer in answers),
        tokens=sum(answer.tokens for answer in answers),
    )


async def _ask(
    client: openai.AsyncOpenAI,
    contestant: Contestant,
    case: TestCase,
    settings: Settings,
    **sampling: Any,
) -> Answer:
    started = time.monotonic()
    try:
        completion = await client.chat.completions.create(
            model=contestant.model,
            messages=[dict(message) for message in case.messages],  # type: ignore[misc]  # parsed
            max_tokens=settings.max_tokens,
            **{"temperature": 0.0} | sampling,
            **request_options(contestant, case, settings.contract),
        )
    except openai.OpenAIError as error:
        reason = f"{type(error).__name__}: {error}"
        return Answer("", reason, time.monotonic() - started, 0, lost=_is_lost(error))
    seconds = time.monotonic() - started
    text = completion.choices[0].message.content or ""
    return Answer(text, "", seconds, completion.usage.completion_tokens if completion.usage else 0)


def _is_lost(error: openai.OpenAIError) -> bool:
    """Whether the request failed for a reason that lies neither in it nor in the model."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return True

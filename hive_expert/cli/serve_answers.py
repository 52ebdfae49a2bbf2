"""`hive-serve`'s options about answers: how they are sampled, checked, and who gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import rich_click as click

from hive_expert.cli.option_group import option_group
from hive_expert.decoding.sampling_fields import FIELDS

Command = TypeVar("Command", bound=Callable[..., object])


def sampling_options(command: Command) -> Command:
    """An option for each sampling field of the decoding contract."""
    for known in reversed(FIELDS):
        kind = click.INT if known.whole else click.FLOAT
        text = f"For every expert and the base; a request beats it. {known.range.capitalize()}."
        command = click.option(f"--{known.name.replace('_', '-')}", type=kind, help=text)(command)
    return command


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What these options say."""

    ignore_manifest_decoding: bool
    on_invalid: str
    on_invalid_retries: int
    cut_ranks: bool
    probe_effect: bool
    route_max_experts: int
    route_threshold: float | None


_OPTIONS = (
    click.option(
        "--ignore-manifest-decoding",
        is_flag=True,
        help="Drop sampling, stops and grammar of manifests.",
    ),
    click.option(
        "--on-invalid",
        type=click.Choice(["report", "retry", "error"]),
        default="report",
        show_default=True,
        help="An answer fails its expert's check: say so in x-hive-validation, ask again with "
        "another seed, or answer with an error. Streams only report, in a last comment.",
    ),
    click.option(
        "--on-invalid-retries",
        type=click.IntRange(1, 5),
        default=2,
        show_default=True,
        help="How often to ask again.",
    ),
    click.option(
        "--cut-ranks",
        is_flag=True,
        help="Compositions whose ranks add up to more than --max-rank are served by their nearest "
        "approximation, with its relative error in x-hive-truncation; they are refused otherwise.",
    ),
    click.option(
        "--probe-effect",
        is_flag=True,
        help="Ask each expert one token when it is loaded, and refuse one that answers exactly as "
        "the base does.",
    ),
    click.option(
        "--route-max-experts",
        type=click.IntRange(1, 10),
        default=1,
        show_default=True,
        help="How many experts may answer a request for model=auto together, where their manifests "
        "allow it.",
    ),
    click.option(
        "--route-threshold",
        type=click.FloatRange(0, 1),
        help="How probable an expert must be to answer for model=auto; the base answers otherwise. "
        "Default: what the routing policy was fitted for.",
    ),
)


answer_options = option_group(AnswerOptions, "answers", _OPTIONS)
"""Gives a command these options; it gets them as `answers`."""

"""An evaluation as a page for people: HTML in one file, or Markdown with a plot beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from hive_expert.errors import Problem, UsageError
from hive_expert.training.evaluation_report import EvaluationReport, Standing
from hive_expert.training.intervals import Rate

MAX_ANSWER = 400
"""Characters of an answer that a page shows."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .8rem; text-align: left }
tr { border-bottom: 1px solid #8884 } img { max-width: 100% } code { white-space: pre-wrap }
"""

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Heads and rows."""


def write_page(report: EvaluationReport, path: Path) -> None:
    """Write ``path``, by its ending ``.html`` or ``.md``; beside the latter its plot, ``.png``.

    Raises UsageError for another ending.
    """
    plot = _plot(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        path.write_text(html_page(report, plot), encoding="utf-8")
    elif path.suffix == ".md":
        picture = path.with_suffix(".png")
        picture.write_bytes(plot)
        path.write_text(markdown_page(report, picture.name), encoding="utf-8")
    else:
        raise UsageError(Problem(str(path), "is neither .html nor .md", "choose one of them"))


def html_page(report: EvaluationReport, plot: bytes) -> str:
    """One file with the plot in it, and nothing from elsewhere."""
    picture = base64.b64encode(plot).decode()
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{_title(report)}</title>",
        f"<style>{_STYLE}</style><h1>{_title(report)}</h1>",
        f'<img alt="Share of correct answers" src="data:image/png;base64,{picture}">',
    ]
    for heading, table in _tables(report):
        parts += [f"<h2>{html.escape(heading)}</h2>", _html_table(table)]
    return "\n".join(parts) + "\n"


def markdown_page(report: EvaluationReport, picture: str) -> str:
    parts = [f"# {_title(report)}", f"![Share of correct answers]({picture})"]
    for heading, table in _tables(report):
        parts += [f"## {heading}", _markdown_table(table)]
    return "\n\n".join(parts) + "\n"


def _title(report: EvaluationReport) -> str:
    return f"{report.cases} cases, {report.metric}, {report.date}"


def _tables(report: EvaluationReport) -> Iterator[tuple[str, Table]]:
    heads = ["", *report.shares, "median seconds", "tokens", "failed requests"]
    rows = [_standing(one, report.shares) for one in report.standings]
    yield "Percent, with 95 % bootstrap intervals", (heads, rows)
    if report.thresholds:
        rows = [
            [t.metric, f"{100 * t.value:.1f}", f"{100 * t.least:.1f}", "yes" if t.met else "no"]
            for t in report.thresholds
        ]
        yield "Thresholds of the manifest, percent", (["metric", "measured", "least", "met"], rows)
    names = sorted({c.category for s in report.standings for c in s.categories})
    if len(names) > 1:
        found = [{c.category: c for c in s.categories} for s in report.standings]
        rows = [
            [name, str(found[0][name].count), *(str(of[name].correct) for of in found)]
            for name in names
        ]
        yield "Correct answers by category", (["", "cases", *map(_name, report.standings)], rows)
    if report.duels:
        rows = [
            [f"{d.expert} ({d.expert_variant})", f"{d.base} ({d.base_variant})", str(d.wins),
             str(d.losses), str(d.ties), _percent(d.win_rate)]
            for d in report.duels
        ]  # fmt: skip
        yield "Case by case", (["expert", "base", "won", "lost", "equal", "win rate"], rows)
    if report.failures:
        rows = [
            [f.model, f.case, f.reason, _cut(f.answer), _cut(f.expected)] for f in report.failures
        ]
        yield "Wrong answers", (["model", "case", "why", "answer", "expected"], rows)


def _standing(of: Standing, shares: Sequence[str]) -> list[str]:
    rates = [rate for name in shares if (rate := getattr(of, name)) is not None]
    counts = [f"{of.median_seconds:.2f}", f"{of.mean_tokens:.0f}", str(of.errors)]
    return [_name(of), *map(_percent, rates), *counts]


def _name(standing: Standing) -> str:
    return f"{standing.model} ({standing.variant})"


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ANSWER else f"{text[:MAX_ANSWER]}…"


def _html_table(table: Table) -> str:
    heads, rows = table
    lines = ["<table>", _html_row(heads, "th")]
    lines += [_html_row(row, "td") for row in rows]
    return "\n".join([*lines, "</table>"])


def _html_row(cells: Sequence[str], tag: str) -> str:
    # An answer is a model's text: nothing of it may become markup.
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _markdown_table(table: Table) -> str:
    heads, rows = table
    lines = [_markdown_row(heads), "|" + "---|" * len(heads)]
    return "\n".join([*lines, *map(_markdown_row, rows)])


def _markdown_row(cells: Sequence[str]) -> str:
    written = (html.escape(cell, quote=False).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(' '.join(cell.split()) for cell in written)} |"


def _plot(report: EvaluationReport) -> bytes:
    # Imported here: a second of start-up that only a page needs.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.6 + 0.45 * len(report.standings)), layout="constrained")
    axes = figure.subplots()
    names = [_name(standing) for standing in report.standings]
    rates = [standing.correct for standing in report.standings]
    values = [100 * rate.value for rate in rates]
    spread = [
        [100 * (rate.value - rate.low) for rate in rates],
        [100 * (rate.high - rate.value) for rate in rates],
    ]
    axes.barh(names, values, xerr=spread, color="#4878a8", ecolor="#333333", capsize=3)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="correct answers, percent (95 % interval)")
    axes.grid(axis="x", alpha=0.3)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()

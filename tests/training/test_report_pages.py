from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hive_expert.errors import UsageError
from hive_expert.training.intervals import Rate
from hive_expert.training.report_pages import write_page
from tests.training.test_evaluation_report import report

FULL = report(expert="++-+", expert_free="+-++", base="---+", base_bound="----")
PNG = b"\x89PNG\r\n\x1a\n"


def test_the_html_page_is_one_file_with_everything(tmp_path: Path) -> None:
    write_page(FULL, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    assert "data:image/png;base64,iVBOR" in text
    assert not re.search(r"(src|href)=\"?(https?:|//)", text)
    for said in ("expert-tiny (grammar)", "75.0 (25.0 to 100.0)", "Case by case", "Wrong answers"):
        assert said in text
    HTMLParser().feed(text)


def test_the_markdown_page_has_its_plot_beside_it(tmp_path: Path) -> None:
    write_page(FULL, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "![Share of correct answers](r.png)" in text
    assert (tmp_path / "r.png").read_bytes().startswith(PNG)
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(columns) == 1, table


def test_an_answer_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> | x\n# y"
    (first, *_) = FULL.failures
    hostile = replace(FULL, failures=(replace(first, answer=evil),))
    for name in ("r.html", "r.md"):
        write_page(hostile, tmp_path / name)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
        assert "\n# y" not in text or name == "r.html"


def test_another_ending_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither"):
        write_page(FULL, tmp_path / "r.pdf")


def test_the_share_of_fields_is_a_column_where_there_is_one(tmp_path: Path) -> None:
    by_field = replace(FULL.standings[0], fields=Rate(0.625, 0.5, 0.75, 4))
    write_page(replace(FULL, standings=(by_field,), duels=(), failures=()), tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "| correct | valid | clean | fields | median seconds |" in text
    assert "62.5 (50.0 to 75.0)" in text
    write_page(FULL, tmp_path / "without.md")
    assert "fields" not in (tmp_path / "without.md").read_text(encoding="utf-8")

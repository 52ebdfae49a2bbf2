"""Documents are judged line by line, divided into parts, and written as they stand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from hive_expert.errors import PipelineError
from hive_expert.jobs.limits import REPORTED_PROBLEMS
from hive_expert.jobs.line import Line, read_line
from hive_expert.jobs.pipelines.documents import PartLimits, survey, write_part
from hive_expert.jobs.pipelines.request import ENDPOINT
from tests.jobs.pipelines.conftest import pipeline, step

PIPELINE = pipeline(step("a", "{{document.text}}"))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def problems_of(path: Path, limits: PartLimits | None = None) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        survey(path, PIPELINE, limits)
    return [str(problem) for problem in caught.value.problems]


def test_parts_together_are_the_file(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"é {n}"}, ensure_ascii=False) for n in range(25)]
    lines[7] = ""
    path = write(tmp_path / "d.jsonl", "\r\n".join(lines).encode())
    found = survey(path, PIPELINE, PartLimits(documents=10))
    assert [part.documents for part in found.parts] == [10, 10, 4]
    assert found.documents == 24
    seen = []
    for part in found.parts:
        out = io.BytesIO()
        write_part(path, part, PIPELINE, out)
        for number, raw in enumerate(out.getvalue().splitlines(), 1):
            read = read_line(raw, number, ENDPOINT)
            assert isinstance(read, Line), read
            seen.append((read.custom_id, read.body["document"]["text"]))
    assert seen == [(f"line-{n + 1}", f"é {n}") for n in range(25) if n != 7]


def test_a_part_has_so_many_bytes(tmp_path: Path) -> None:
    content = b'{"text": "%s"}\n' % (b"x" * 1000)
    path = write(tmp_path / "d.jsonl", content * 20)
    found = survey(path, PIPELINE, PartLimits(part_bytes=5000))
    assert len(found.parts) > 4
    for part in found.parts:
        out = io.BytesIO()
        write_part(path, part, PIPELINE, out)
        assert out.tell() <= 5000


def test_a_run_is_known_by_its_pipeline_and_documents(tmp_path: Path) -> None:
    one = write(tmp_path / "1.jsonl", b'{"text": "x"}\n')
    same = write(tmp_path / "2.jsonl", b'{"text": "x"}\n')
    other = write(tmp_path / "3.jsonl", b'{"text": "y"}\n')
    changed = pipeline(step("a", "{{document.text}}!"))
    ids = [survey(path, PIPELINE).run_id(PIPELINE) for path in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert survey(one, changed).run_id(changed) != ids[0]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "is no JSON"),
        (b"[1]", "is no JSON object"),
        (b'"x"', "is no JSON object"),
        (b'{"text": NaN}', "is no JSON"),
        (b'{"text": "a", "text": "b"}', "twice"),
        (b'{"text": "\\ud800"}', "surrogate"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b'\xef\xbb\xbf{"text": "x"}', "is no JSON"),
        (b'{"text": ' + b"[" * 200 + b"]" * 200 + b"}", "nested deeper"),
        (b'{"txt": "x"}', "the document has no 'text' (did you mean txt?)"),
    ],
)
def test_a_broken_line_is_told_by_its_number(tmp_path: Path, line: bytes, what: str) -> None:
    path = write(tmp_path / "d.jsonl", b'{"text": "fine"}\n\n' + line + b'\n{"text": "fine"}\n')
    (found,) = problems_of(path)
    assert found.startswith("d.jsonl line 3: ")
    assert what in found


def test_all_broken_lines_are_told_up_to_a_hundred(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path / "d.jsonl", b"{\n" * 3 + b'{"text": "x"}\n' + b"[]\n"))
    assert [each.partition(":")[0] for each in found] == [
        "d.jsonl line 1", "d.jsonl line 2", "d.jsonl line 3", "d.jsonl line 5",
    ]  # fmt: skip
    found = problems_of(write(tmp_path / "d.jsonl", b"{\n" * 1000))
    assert len(found) == REPORTED_PROBLEMS + 1
    assert "the rest of the file was not read" in found[-1]


def test_a_line_without_end_is_not_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", b'{"text": "' + b"x" * 100_000 + b'"}\n{"text": "y"}\n')
    found = problems_of(path, PartLimits(document_bytes=1000))
    assert "d.jsonl line 1: longer than 1,000 bytes" in found[0]
    assert "the rest of the file was not read" in found[1]


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    assert "has no documents" in problems_of(write(tmp_path / "d.jsonl", b"\n\n"))[0]


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", b'{"text": "x"}\n')
    (part,) = survey(path, PIPELINE).parts
    write(path, b'{"text": "y"}\n')
    with pytest.raises(PipelineError, match="has changed"):
        write_part(path, part, PIPELINE, io.BytesIO())

"""Soft prompts in `.pt` files: read by a child that can do nothing else."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from hive_expert.adapters import first_generation
from hive_expert.adapters.first_generation import soft_prompt_from_pt
from hive_expert.adapters.pt_reader import only_matrix
from hive_expert.errors import HiveError, PackageError, TensorError
from hive_expert.manifest.adapter_model import SoftPrompt

ROWS = torch.arange(1, 13, dtype=torch.float32).reshape(3, 4)
PROMPT = SoftPrompt.model_validate({"name": "tone", "path": "tone.pt", "tokens": 3})


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def refused(source: Path) -> HiveError:
    with pytest.raises(HiveError) as caught:
        soft_prompt_from_pt(source, PROMPT, "tone.pt")
    assert str(caught.value).startswith("tone.pt")
    return caught.value


def test_a_tensor_becomes_safetensors_and_the_child_gets_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[dict[str, str]] = []
    popen = subprocess.Popen

    def noting(*arguments: Any, **options: Any) -> Any:
        environments.append(options["env"])
        return popen(*arguments, **options)

    monkeypatch.setenv("HIVE_KEY_PASSPHRASE", "secret")
    monkeypatch.setattr(subprocess, "Popen", noting)
    source = saved(tmp_path / "tone.pt", ROWS.to(torch.bfloat16))
    before = source.read_bytes()
    converted = soft_prompt_from_pt(source, PROMPT, "tone.pt")
    assert converted == save({"prompt_embeddings": ROWS.to(torch.bfloat16)})
    assert [*tmp_path.iterdir()] == [source]
    assert source.read_bytes() == before
    assert "HIVE_KEY_PASSPHRASE" not in environments[0]


def test_the_format_before_zip_is_read_too_and_held_to_the_manifest(tmp_path: Path) -> None:
    content = {"prompt_embeddings": torch.nn.Parameter(ROWS[:2]), "step": 100}
    source = saved(tmp_path / "tone.pt", content, _use_new_zipfile_serialization=False)
    error = refused(source)
    assert isinstance(error, TensorError)
    assert "has 2 tokens and the manifest says 3" in str(error)


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        torch.nn.Parameter(ROWS),
        {"embedding.weight": ROWS},
        {"state_dict": {"embedding": ROWS}, "tokens": 3, "loss": torch.tensor(0.5)},
        {"prompt_embeddings": ROWS, "head": torch.ones(2, 2)},
        {"soft_prompt": {"prompt_embeddings": ROWS}, "optimizer": {"m": ROWS + 1}},
    ],
)
def test_the_matrix_is_found_where_there_is_no_doubt(content: Any) -> None:
    assert torch.equal(only_matrix(content), ROWS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": ROWS, "b": ROWS}, "holds 2 matrices"),
        ({"a": {"prompt_embeddings": ROWS}, "prompt_embeddings": ROWS}, "holds 2 matrices"),
        ({}, "holds 0 matrices"),
        ({"a": torch.ones(3)}, "holds 0 matrices"),
        ([ROWS], "holds 0 matrices"),
        ("text", "holds 0 matrices"),
        ({"prompt_embeddings": torch.ones(3)}, "no soft prompt"),
        (torch.ones(513, 4), "no soft prompt"),
        (torch.ones(1, 1).expand(8, 1 << 40), "no soft prompt"),
        (ROWS.double(), "torch.float64"),
        (ROWS.int(), "torch.int32"),
        (ROWS.to_sparse(), "dense"),
    ],
)
def test_anything_else_is_refused_with_the_reason(
    content: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        only_matrix(content)
    assert caught.value.code == 1
    assert reason in capsys.readouterr().err


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    source = saved(tmp_path / "tone.pt", {"a": ROWS, "b": Touch(mark)})
    assert "something other than plain tensors" in str(refused(source))
    assert not mark.exists()
    torch.load(source, weights_only=False)
    assert mark.exists(), "the trap does not spring at all"


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "tone.pt", ROWS)
    source.write_bytes(source.read_bytes()[:-100])
    assert "zip archive" in str(refused(source))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """A storage that is a few megabytes in the file and more than allowed in memory."""
    small = io.BytesIO()
    torch.save(torch.zeros(1 << 10, 4), small)
    source = tmp_path / "tone.pt"
    with (
        zipfile.ZipFile(small) as of,
        zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as to,
    ):
        for info in of.infolist():
            if info.filename.endswith("data/0"):
                with to.open(info.filename, "w", force_zip64=True) as record:
                    for _ in range(80):
                        record.write(bytes(8 << 20))
            else:
                to.writestr(info.filename, of.read(info))
    assert source.stat().st_size < 4 << 20
    assert "allocate memory" in str(refused(source))


def test_a_file_too_large_for_any_soft_prompt_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "tone.pt"
    with source.open("wb") as file:
        file.truncate(first_generation.MAX_FILE_BYTES + 1)
    assert "is larger than" in str(refused(source))


def test_a_reader_that_takes_too_long_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_generation, "SECONDS", 0.05)
    assert "took more than" in str(refused(saved(tmp_path / "tone.pt", ROWS)))


def test_a_file_that_cannot_be_opened_is_a_package_error(tmp_path: Path) -> None:
    assert isinstance(refused(tmp_path / "absent.pt"), PackageError)


# What a file would meet that got past `weights_only`.
TRIES = """
import os, resource, socket, subprocess, sys
from hive_expert.adapters.pt_reader import give_up_rights, load_all_code
load_all_code()
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # a user may have stricter limits
give_up_rights()
assert resource.getrlimit(resource.RLIMIT_FSIZE) == (1 << 20, 1 << 20)
tries = {
    "open": lambda: open("mark", "w"),
    "read": lambda: open("/etc/passwd"),
    "socket": lambda: socket.socket(),
    "run": lambda: subprocess.run(["true"]),
    "allocate": lambda: bytearray(2 << 30),
    "raise": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    if os.geteuid() else 1 / 0,
}
for name, action in tries.items():
    try:
        action()
    except (OSError, MemoryError, ValueError, ZeroDivisionError):
        print(name)
"""


def test_the_child_can_open_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIES], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["open", "read", "socket", "run", "allocate", "raise"]
    assert [*tmp_path.iterdir()] == []


def test_the_parent_imports_no_torch() -> None:
    code = "import sys, hive_expert.adapters.first_generation; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

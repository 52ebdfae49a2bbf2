"""Weight files: what is refused before an engine sees it."""

from __future__ import annotations

import json
import struct
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from hive_expert.errors import Problem, TensorError
from hive_expert.manifest.adapter_model import Adapter, SoftPrompt
from hive_expert.package.peft_settings import Patterns
from hive_expert.package.tensors import (
    check_adapter,
    check_soft_prompt,
    parse_header,
    read_tensors,
    scan_tensors,
)
from tests.package.samples import (
    RANK,
    TARGETS,
    TOKENS,
    WIDTH,
    lora_name,
    lora_tensors,
    safetensors,
    soft_prompt,
    soft_prompt_tensors,
    with_header,
)

ONE = {"F32": struct.pack("<f", 1), "F16": b"\x00\x3c", "BF16": b"\x80\x3f"}


def read(tmp_path: Path, data: bytes) -> Any:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    return read_tensors(path, "w")


def adapter(**changes: Any) -> Adapter:
    stated = {"type": "lora", "r": RANK, "alpha": 4, "target_modules": TARGETS, "path": "w/"}
    document = {field: value for field, value in (stated | changes).items() if value is not None}
    return Adapter.model_validate(document)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_finite_values_are_read(tmp_path: Path, dtype: str) -> None:
    data = ONE[dtype] * 6
    (tensor,) = read(tmp_path, safetensors({"a.weight": (dtype, (2, 3), data)}))
    assert (tensor.name, tensor.dtype, tensor.shape) == ("a.weight", dtype, (2, 3))
    assert not tensor.zero


def test_the_safetensors_library_reads_the_same(tmp_path: Path) -> None:
    array = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    data = save({"b": array, "a": array.astype(np.float16)}, {"format": "pt"})
    assert {t.name: t.shape for t in read(tmp_path, data)} == {"a": (2, 3), "b": (2, 3)}


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("F32", struct.pack("<f", float("nan"))),
        ("F32", struct.pack("<f", float("inf"))),
        ("F32", struct.pack("<f", float("-inf"))),
        ("F16", b"\x00\x7c"),
        ("F16", b"\x01\xfe"),
        ("BF16", b"\x80\x7f"),
        ("BF16", b"\xc0\xff"),
        ("BF16", b"\x81\x7f"),
    ],
)
def test_nan_and_infinity_are_refused_wherever_they_are(
    tmp_path: Path, dtype: str, value: bytes
) -> None:
    data = ONE[dtype] * 7 + value
    with pytest.raises(TensorError, match=r"b\.weight: holds NaN or infinity"):
        read(
            tmp_path,
            safetensors({"a": (dtype, (8,), ONE[dtype] * 8), "b.weight": (dtype, (8,), data)}),
        )


def test_a_value_beyond_the_first_block_is_looked_at(tmp_path: Path) -> None:
    count = (5 << 20) // 2
    data = ONE["BF16"] * (count - 1) + b"\x80\x7f"
    with pytest.raises(TensorError, match="NaN"):
        read(tmp_path, safetensors({"a": ("BF16", (count,), data)}))


@pytest.mark.parametrize("zero", [b"\0\0", b"\x00\x80"])
def test_zeros_are_noticed_with_either_sign(tmp_path: Path, zero: bytes) -> None:
    (tensor,) = read(tmp_path, safetensors({"a": ("BF16", (4,), zero * 4)}))
    assert tensor.zero


def header(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


def entry(dtype: str = "BF16", shape: Any = (2,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("head", "data", "reason"),
    [
        (header(a=entry("I8", (4,))), 4, "dtype"),
        (header(a=entry("F64", (1,), (0, 8))), 8, "dtype"),
        (header(a=entry(dtype=["BF16"])), 4, "dtype"),
        (header(a=entry(shape=())), 4, "shape"),
        (header(a=entry(shape=(0,), offsets=(0, 0))), 0, "shape"),
        (header(a=entry(shape=(-2,))), 4, "shape"),
        (header(a=entry(shape=(2.0,))), 4, "shape"),
        (header(a=entry(shape=(True, 2))), 4, "shape"),
        (header(a=entry(shape=(1, 1, 1, 1, 2))), 4, "shape"),
        (header(a=entry(offsets=(0,))), 4, "begin and end"),
        (header(a=entry(offsets=(-4, 0))), 4, "begin and end"),
        (header(a=entry(offsets=(0, 6))), 6, "do not fit"),
        (header(a=entry(offsets=(4, 0))), 4, "do not fit"),
        (header(a=entry(offsets=(2, 6))), 6, "does not follow"),
        (header(a=entry(), b=entry()), 8, "does not follow"),
        (header(a=entry(), b=entry(offsets=(2, 6))), 6, "does not follow"),
        (header(a=entry(), b=entry(offsets=(6, 10))), 10, "does not follow"),
        (header(a=entry()), 5, "declares 4 bytes"),
        (header(a=entry()), 3, "declares 4 bytes"),
        (header(a={**entry(), "extra": 1}), 4, "exactly"),
        (header(a={"dtype": "BF16", "shape": [2]}), 4, "exactly"),
        (header(a=[]), 4, "exactly"),
        (header(**{"../a": entry()}), 4, "not a tensor name"),
        (header(**{"a b": entry()}), 4, "not a tensor name"),
        (header(**{"a\nb": entry()}), 4, "not a tensor name"),
        (header(**{"": entry()}), 4, "not a tensor name"),
        (header(), 0, "has 0 tensors"),
        (header(__metadata__={"format": 1}, a=entry()), 4, "__metadata__"),
        (header(__metadata__=[], a=entry()), 4, "__metadata__"),
        (b"[]", 0, "not a JSON object"),
        (b'{"a": 1, "a": 2}', 0, "more than once"),
        (b'{"a": NaN}', 0, "not JSON"),
        (b"\xef\xbb\xbf{}", 0, "byte order mark"),
    ],
)
def test_a_broken_header_is_refused(tmp_path: Path, head: bytes, data: int, reason: str) -> None:
    with pytest.raises(TensorError, match=reason):
        read(tmp_path, with_header(head, bytes(data)))


def test_every_problem_of_a_header_is_reported() -> None:
    broken = {"a": entry("I8"), "b c": entry(), "d": []}
    with pytest.raises(TensorError) as caught:
        parse_header(broken, 4, "w")
    assert len(caught.value.problems) == 3


def test_ten_thousand_tensors_are_enough() -> None:
    many = {f"t{n}": entry("BF16", (1,), (2 * n, 2 * n + 2)) for n in range(10_001)}
    with pytest.raises(TensorError, match="10001 tensors"):
        parse_header(many, 20_002, "w")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\0\0\0",
        struct.pack("<Q", 0),
        struct.pack("<Q", 1) + b"{",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        struct.pack("<Q", (1 << 20) + 1) + b" " * ((1 << 20) + 1),
    ],
)
def test_a_header_length_that_cannot_be_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(TensorError, match="no safetensors header"):
        read(tmp_path, data)


def check(tmp_path: Path, tensors: Any, **changes: Any) -> None:
    check_adapter(read(tmp_path, safetensors(tensors)), adapter(**changes), "w")


def test_a_layer_has_the_rank_that_a_pattern_gives_it(tmp_path: Path) -> None:
    tensors = lora_tensors(("q_proj",)) | lora_tensors(("v_proj",), rank=3)
    found = read(tmp_path, safetensors(tensors))
    assert check_adapter(found, adapter(), "w", Patterns({"self_attn.v_proj": 3})) == 3
    with pytest.raises(TensorError, match="v_proj: has rank 3 and its rank_pattern says 4"):
        check_adapter(found, adapter(), "w", Patterns({"self_attn.v_proj": 4}))


def test_a_lora_adapter_as_declared_is_accepted(tmp_path: Path) -> None:
    check(tmp_path, lora_tensors())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"r": 8}, "rank 2 and the manifest says 8"),
        ({"target_modules": ("q_proj",)}, "does not list"),
        ({"target_modules": (*TARGETS, "o_proj")}, "no weights for the declared target o_proj"),
    ],
)
def test_weights_other_than_declared_are_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TensorError, match=reason):
        check(tmp_path, lora_tensors(), **changes)


def test_a_half_without_the_other_is_refused(tmp_path: Path) -> None:
    tensors = lora_tensors()
    del tensors[lora_name("q_proj", "B")]
    with pytest.raises(TensorError, match="has no lora_B"):
        check(tmp_path, tensors)


def test_a_vector_in_place_of_a_matrix_is_refused(tmp_path: Path) -> None:
    tensors = lora_tensors()
    dtype, _, data = tensors[lora_name("q_proj", "A")]
    tensors[lora_name("q_proj", "A")] = (dtype, (RANK * WIDTH,), data)
    with pytest.raises(TensorError, match="not a matrix"):
        check(tmp_path, tensors)


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.lm_head.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.bias",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
    ],
)
def test_tensors_of_other_kinds_are_refused(tmp_path: Path, name: str) -> None:
    tensors = {**lora_tensors(), name: ("BF16", (1,), ONE["BF16"])}
    with pytest.raises(TensorError, match="not part of the declared lora"):
        check(tmp_path, tensors)


MAGNITUDE = "base_model.model.model.layers.0.self_attn.{}.lora_magnitude_vector"
GAIN = "base_model.model.model.layers.0.self_attn.{}.ia3_l"


def dora_tensors() -> dict[str, Any]:
    magnitudes = {MAGNITUDE.format(m): ("BF16", (WIDTH,), ONE["BF16"] * WIDTH) for m in TARGETS}
    return lora_tensors() | magnitudes


def test_a_dora_adapter_as_declared_is_accepted(tmp_path: Path) -> None:
    check(tmp_path, dora_tensors(), type="dora")


def test_a_dora_layer_without_magnitude_is_refused(tmp_path: Path) -> None:
    tensors = dora_tensors()
    del tensors[MAGNITUDE.format("q_proj")]
    with pytest.raises(TensorError, match="has no lora_magnitude_vector"):
        check(tmp_path, tensors, type="dora")


IA3 = {"type": "ia3", "r": None, "alpha": None}


def test_an_ia3_adapter_as_declared_is_accepted(tmp_path: Path) -> None:
    gains = {GAIN.format(m): ("BF16", (WIDTH, 1), ONE["BF16"] * WIDTH) for m in TARGETS}
    check(tmp_path, gains, **IA3)


def test_a_lora_declared_as_ia3_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorError, match="not part of the declared ia3"):
        check(tmp_path, lora_tensors(), **IA3)


@pytest.mark.parametrize("side", ["A", "B"])
def test_an_adapter_without_effect_is_refused(tmp_path: Path, side: str) -> None:
    tensors = lora_tensors()
    for module in TARGETS:
        dtype, shape, data = tensors[lora_name(module, side)]
        tensors[lora_name(module, side)] = (dtype, shape, bytes(len(data)))
    with pytest.raises(TensorError, match="no effect"):
        check(tmp_path, tensors)


def test_one_layer_with_effect_is_enough(tmp_path: Path) -> None:
    tensors = lora_tensors()
    dtype, shape, data = tensors[lora_name("q_proj", "B")]
    tensors[lora_name("q_proj", "B")] = (dtype, shape, bytes(len(data)))
    check(tmp_path, tensors)


def check_prompt(tmp_path: Path, tensors: Any, **changes: Any) -> None:
    prompt = SoftPrompt.model_validate(soft_prompt(**changes))
    check_soft_prompt(read(tmp_path, safetensors(tensors)), prompt, "w")


def test_a_soft_prompt_as_declared_is_accepted(tmp_path: Path) -> None:
    check_prompt(tmp_path, soft_prompt_tensors())


@pytest.mark.parametrize("tokens", [TOKENS - 1, TOKENS + 1])
def test_a_soft_prompt_of_other_length_than_declared_is_refused(
    tmp_path: Path, tokens: int
) -> None:
    with pytest.raises(TensorError, match=f"has 3 tokens and the manifest says {tokens}"):
        check_prompt(tmp_path, soft_prompt_tensors(), tokens=tokens)


@pytest.mark.parametrize("shape", [(TOKENS * WIDTH,), (1, TOKENS, WIDTH)])
def test_a_soft_prompt_that_is_no_matrix_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = {"prompt_embeddings": ("BF16", shape, ONE["BF16"] * TOKENS * WIDTH)}
    with pytest.raises(TensorError, match="not a matrix"):
        check_prompt(tmp_path, tensors, tokens=shape[0])


def test_a_soft_prompt_of_another_name_is_refused(tmp_path: Path) -> None:
    tensors = {"embedding.weight": soft_prompt_tensors()["prompt_embeddings"]}
    with pytest.raises(TensorError) as caught:
        check_prompt(tmp_path, tensors)
    assert [str(problem) for problem in caught.value.problems] == [
        "w: embedding.weight: is not part of a soft prompt, which is prompt_embeddings alone",
        "w: has no tensor prompt_embeddings",
    ]


def test_a_soft_prompt_with_more_beside_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorError, match="is not part of a soft prompt"):
        check_prompt(tmp_path, soft_prompt_tensors() | {"more": ("F32", (1,), ONE["F32"])})


def told(tmp_path: Path, data: bytes) -> tuple[Problem, ...]:
    with pytest.raises(TensorError) as caught:
        read(tmp_path, data)
    return caught.value.problems


LONG = "a." * 50 + "b"
ADAPTED = "w: model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (b"", "w", "has no safetensors header of at most 1048576 bytes"),
        (with_header(b"[]", b""), "w", "the header is not a JSON object"),
        (with_header(header(__metadata__=[]), b""), "w", "__metadata__ is not a table of texts"),
        (with_header(header(), b""), "w", "has 0 tensors, not 1 to 10000"),
        (
            with_header(header(**{"a b": entry()}), bytes(4)),
            "w: a b",
            "is not a tensor name of letters, digits, _ and .",
        ),
        (
            with_header(header(a=[]), bytes(4)),
            "w: a",
            "needs exactly dtype, shape and data_offsets",
        ),
        (
            with_header(header(a=entry("I8")), bytes(4)),
            "w: a",
            "has the dtype 'I8', not one of F32, F16, BF16",
        ),
        (
            with_header(header(**{LONG: entry("x" * 99)}), bytes(4)),
            f"w: {LONG[:80]}",
            f"has the dtype '{'x' * 19}, not one of F32, F16, BF16",
        ),
        (
            with_header(header(a=entry(shape=())), bytes(4)),
            "w: a",
            "has no shape of one to four positive dimensions",
        ),
        (
            with_header(header(a=entry(offsets=(0,))), bytes(4)),
            "w: a",
            "has no begin and end in data_offsets",
        ),
        (
            with_header(header(a=entry(offsets=(0, 6))), bytes(6)),
            "w: a",
            "has data_offsets that do not fit its shape and dtype",
        ),
        (
            with_header(header(a=entry(offsets=(2, 6))), bytes(6)),
            "w: a",
            "does not follow the one before",
        ),
        (
            with_header(header(a=entry()), bytes(5)),
            "w",
            "declares 4 bytes of tensors and has 5",
        ),
        (safetensors({"a": ("BF16", (1,), b"\x80\x7f")}), "w: a", "holds NaN or infinity"),
    ],
)
def test_a_refusal_names_the_tensor_and_the_rule(
    tmp_path: Path, data: bytes, where: str, what: str
) -> None:
    assert Problem(where, what) in told(tmp_path, data)


def test_a_header_that_is_no_json_is_told_by_file(tmp_path: Path) -> None:
    assert told(tmp_path, with_header(b"{]", b""))[0].where.startswith("w: line 1")


def untrue(tmp_path: Path, tensors: dict[str, Any], **changes: Any) -> tuple[Problem, ...]:
    with pytest.raises(TensorError) as caught:
        check(tmp_path, tensors, **changes)
    return caught.value.problems


def test_an_adapter_unlike_the_declared_one_is_told_by_tensor_layer_and_target(
    tmp_path: Path,
) -> None:
    tensors = lora_tensors()
    assert untrue(tmp_path, tensors | {"x": ("BF16", (1,), ONE["BF16"])}) == (
        Problem("w: x", "is not part of the declared lora adapter"),
    )
    name = lora_name("q_proj", "A")
    assert untrue(tmp_path, tensors, target_modules=("v_proj", "o_proj")) == (
        Problem(f"w: {name}", "adapts a module the manifest does not list"),
        Problem(f"w: {lora_name('q_proj', 'B')}", "adapts a module the manifest does not list"),
        Problem("w", "has no weights for the declared target o_proj"),
    )
    del tensors[name]
    assert untrue(tmp_path, tensors) == (Problem(ADAPTED, "has no lora_A"),)
    # B is looked at even where A is missing.
    dtype, _, data = tensors[lora_name("q_proj", "B")]
    tensors[lora_name("q_proj", "B")] = (dtype, (RANK, WIDTH), data)
    assert untrue(tmp_path, tensors) == (
        Problem(ADAPTED, "has no lora_A"),
        Problem(ADAPTED, f"has rank {WIDTH} and the manifest says {RANK}"),
    )


def test_an_adapter_without_effect_is_told_what_to_do(tmp_path: Path) -> None:
    idle = {name: (d, shape, bytes(len(raw))) for name, (d, shape, raw) in lora_tensors().items()}
    assert untrue(tmp_path, idle) == (
        Problem("w", "has no effect: every update is zero", "train it first"),
    )


def test_a_soft_prompt_is_told_by_tensor(tmp_path: Path) -> None:
    def problems(tensors: dict[str, Any]) -> tuple[Problem, ...]:
        found = read(tmp_path, safetensors(tensors))
        with pytest.raises(TensorError) as caught:
            check_soft_prompt(found, SoftPrompt(name="s", path="s", tokens=4), "w")
        return caught.value.problems

    one = ("BF16", (4,), ONE["BF16"] * 4)
    alone = "is not part of a soft prompt, which is prompt_embeddings alone"
    assert problems({"x": one}) == (
        Problem("w: x", alone),
        Problem("w", "has no tensor prompt_embeddings"),
    )
    assert problems({"prompt_embeddings": one}) == (
        Problem("w: prompt_embeddings", "is not a matrix (tokens, hidden)"),
    )
    assert problems({"prompt_embeddings": ("BF16", (2, 2), one[2])}) == (
        Problem("w: prompt_embeddings", "has 2 tokens and the manifest says 4"),
    )


def test_as_many_tensors_and_dimensions_as_allowed_are_read(tmp_path: Path) -> None:
    many = {f"t{n}": entry("BF16", (1,), (2 * n, 2 * n + 2)) for n in range(10_000)}
    assert len(parse_header(many, 20_000, "w")) == 10_000
    with pytest.raises(TensorError, match="has 3 tensors, not 1 to 2"):
        parse_header(dict(islice(many.items(), 3)), 6, "w", max_tensors=2)
    (tensor,) = read(tmp_path, safetensors({"a": ("BF16", (1, 1, 1, 2), ONE["BF16"] * 2)}))
    assert (tensor.shape, tensor.begin, tensor.end) == ((1, 1, 1, 2), 0, 4)


def test_a_header_of_a_mebibyte_is_read(tmp_path: Path) -> None:
    text = header(a=entry()).ljust(1 << 20)
    (tensor,) = read(tmp_path, with_header(text, ONE["BF16"] * 2))
    assert tensor.name == "a"


@pytest.mark.parametrize(("count", "sound"), [(1, True), (2, False)])
def test_fewer_tensors_may_take_less_of_a_header(count: int, sound: bool) -> None:
    data = with_header(header(a=entry()).ljust(4096 * count), ONE["BF16"] * 2)
    if sound:
        assert scan_tensors(iter([data]), len(data), "w", max_tensors=1)
        return
    with pytest.raises(TensorError, match="no safetensors header of at most 4096 bytes"):
        scan_tensors(iter([data]), len(data), "w", max_tensors=1)


@pytest.mark.parametrize("step", [1, 3, 8, 9, 64, 10_000])
def test_the_cut_of_the_chunks_makes_no_difference(step: int) -> None:
    data = safetensors(lora_tensors() | {"w": ("F32", (3,), ONE["F32"] * 3)})
    chunks = (data[begin : begin + step] for begin in range(0, len(data), step))
    whole = scan_tensors(iter([data]), len(data), "w")
    assert scan_tensors(chunks, len(data), "w") == whole
    assert not any(tensor.zero for tensor in whole)


@pytest.mark.parametrize("missing", [1, 4, 60])
def test_a_file_that_ends_before_its_size_is_refused(missing: int) -> None:
    data = safetensors(lora_tensors())
    with pytest.raises(TensorError) as caught:
        scan_tensors(iter([data[:-missing]]), len(data), "w")
    assert caught.value.problems == (Problem("w", "ends too early"),)


def test_the_smallest_values_are_not_zero(tmp_path: Path) -> None:
    (tensor,) = read(tmp_path, safetensors({"a": ("BF16", (2,), b"\x01\x00\x00\x00")}))
    assert not tensor.zero

"""YaRN to 128k: a manifest asks for it, the server runs with it, far past the base's own context.

On a random model of two layers, so that 12,000 tokens cost seconds; what it answers there is
compared with transformers and PEFT under the same scaling.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from hive_expert.serving.local_server import LocalServer, local_server

pytestmark = pytest.mark.e2e

ORIGINAL, STRETCHED = 4096, 131072
LENGTH = 12_000
TARGETS = ["q_proj", "k_proj"]
YARN = {
    "rope_type": "yarn",
    "factor": STRETCHED / ORIGINAL,
    "original_max_position_embeddings": ORIGINAL,
    "rope_theta": 10_000.0,
}


@pytest.fixture(scope="module")
def tiny(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with the embedded base's tokenizer."""
    directory = tmp_path_factory.mktemp("base") / "tiny-llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=ORIGINAL,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).float().save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base_model / name).is_file():
            shutil.copy(base_model / name, directory)
    return directory


@pytest.fixture(scope="module")
def experts(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One expert that asks for 128k by YaRN, and one that asks for something else."""
    directory = tmp_path_factory.mktemp("experts")
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS),
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.1)
    for name, scaling in {"expert-long": "yarn-128k", "expert-other": "linear-64k"}.items():
        model.save_pretrained(directory / name / "weights")
        manifest = {
            "name": name,
            "version": "1.0.0",
            "schema_version": "2.0",
            "base_models": [
                {
                    "name": "tiny-llama",
                    "quantization": "fp32",
                    "rope_scaling": scaling,
                    "adapters": [
                        {
                            "type": "lora",
                            "r": 4,
                            "alpha": 8,
                            "target_modules": TARGETS,
                            "path": "weights/",
                        }
                    ],
                }
            ],
        }
        (directory / name / "manifest.json").write_text(json.dumps(manifest))
        (directory / name / "README.md").write_text("# An expert for tests\n")
        (directory / name / "LICENSE").write_text("Apache-2.0\n")
    return directory


@pytest.fixture(scope="module")
def server(
    tiny: Path, experts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    home = tmp_path_factory.mktemp("home")
    options = ("--base", str(tiny), "--trust", "off", "--rope-scaling", "yarn-128k")
    options += ("--max-slots", "1", "--max-rank", "8", "--max-num-seqs", "4")
    with local_server(experts, *options, home=home, log=home / "serve.log") as running:
        yield running


@pytest.fixture(scope="module")
def prompt() -> list[int]:
    return torch.randint(10, 49_000, (LENGTH,), generator=torch.Generator().manual_seed(2)).tolist()


def served(server: LocalServer, model: str, prompt: list[int]) -> dict[str, Any]:
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 5}
    answer = httpx.post(f"{server.api}/completions", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@torch.inference_mode()
def reference(
    tiny: Path, prompt: list[int], rope: dict[str, Any] | None, adapter: Path | None
) -> torch.Tensor:
    """Log probabilities of the next token by transformers."""
    config = AutoConfig.from_pretrained(tiny)
    if rope is not None:
        config.rope_parameters, config.max_position_embeddings = rope, STRETCHED
    model: Any = AutoModelForCausalLM.from_pretrained(tiny, config=config, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    logits = model.eval()(torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
    return logits.log_softmax(-1)


def test_the_server_offers_128k(server: LocalServer) -> None:
    models = httpx.get(f"{server.api}/models").json()["data"]
    assert {model["max_model_len"] for model in models} == {STRETCHED}


@pytest.mark.parametrize("model", ["tiny-llama", "expert-long"])
def test_answers_past_the_original_context_are_those_of_yarn(
    server: LocalServer, tiny: Path, experts: Path, prompt: list[int], model: str
) -> None:
    answer = served(server, model, prompt)
    assert answer["usage"]["prompt_tokens"] == LENGTH > 2 * ORIGINAL
    told = sorted(answer["choices"][0]["logprobs"]["top_logprobs"][0].values(), reverse=True)
    adapter = experts / "expert-long" / "weights" if model == "expert-long" else None
    expected = reference(tiny, prompt, YARN, adapter)
    assert told == pytest.approx(expected.topk(len(told)).values.tolist(), abs=2e-3)
    # Without the scaling it would have answered something else.
    unscaled = reference(tiny, prompt, None, adapter)
    assert float((unscaled - expected).abs().max()) > 0.1


def test_an_expert_that_needs_other_positions_is_not_served(server: LocalServer) -> None:
    listed = httpx.get(f"{server.api}/experts").json()["data"]
    (entry,) = [e for e in listed if e.get("source") == "expert-other"]
    assert entry["state"] == "unavailable"
    (problem,) = entry["problems"]
    assert problem["where"] == "base_models[0].rope_scaling"
    assert problem["remedy"] == "start with --rope-scaling linear-64k"

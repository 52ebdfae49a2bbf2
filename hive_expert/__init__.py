"""hive-expert: small signed experts, served unmerged and batched together by vLLM.

The life of a request, and where each step lives:

1. `hive-serve` (`cli.serve`) finds the base model (`adapters.base_model`) and looks at the
   experts directory (`catalog.inventory`): the manifest and signature of each package are
   read (`package.skim`), and the trust policy decides (`catalog.standing`). Before an expert
   is used its package is read strictly as a whole, and only then its files appear in the store
   (`package.open`). The adapter must fit the base's layers and do something (`adapters.fit`);
   its grammar must parse (`decoding.grammar`).
2. vLLM's own OpenAI server starts in this process with two plugins of ours
   (`engine.launch`): one in every engine process (`engine.plugin`), one for HTTP routes
   (`serving.endpoints`). A worker that does not run our operators stops the start.
3. A request passes the door (`serving.guard`): routes that are not in `serving.routes` do not
   exist, keys say who may use the others, and there is room for so many at once. It arrives at
   `serving.endpoints` as vLLM's own request type.
4. `model` is resolved by the catalog (`catalog.catalog`): the base, an expert, a version. For
   `auto` the router decides first (`serving.automatic`, `router.route`).
   The catalog follows the directory while the server runs (`serving.supply`).
5. The expert's weights are loaded if they are not in memory (`catalog.residency`), and stay
   until the last token is sent (`serving.held`).
6. The manifest's decoding contract meets what the client sent (`decoding.contract`), and
   the result is written into the request (`serving.apply`).
7. vLLM batches it with everything else; on the CPU our operators apply each adapter to
   its own run of tokens (`engine.cpu_lora`), unmerged.
8. vLLM's handler writes the answer. We add headers: who answered, where it came from.

Requests that nobody waits for come as batches, through `jobs`, and go the same way from step 3 on.
With `--replicas` (`replicas`) each of several servers does all of this, and a front chooses one.

Experts come to be in `training` and are packed in `package.pack`; they come from elsewhere
through `sharing`, out of git repositories and signed indexes; `manifest` is the one place
that says what a manifest may contain and how each field is honoured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hive_expert.client.answers import Answer, ChainAnswer, Usage
    from hive_expert.client.conversation import Sampling
    from hive_expert.client.engine import ExpertEngine, Step

__version__ = "0.1.0"

__all__ = ["Answer", "ChainAnswer", "ExpertEngine", "Sampling", "Step", "Usage", "__version__"]

_HOMES = {
    "Answer": "client.answers",
    "ChainAnswer": "client.answers",
    "Usage": "client.answers",
    "Sampling": "client.conversation",
    "ExpertEngine": "client.engine",
    "Step": "client.engine",
}
"""Where the public names live; imported when first used, so that commands start at once."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

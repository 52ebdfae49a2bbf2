"""The LoRA deltas of few tokens per adapter, as they come in decode steps.

- `plan`: which tokens of a step are computed here, by slot, and which are left to large GEMMs.
- `lora_apply.cpp`: the operator, one call per layer whatever the number of adapters.
- `build`: compiles it for this machine, once.
- `torch_path`: the same without a compiler.
- `choice`: which of the two a process uses.
"""

"""The LoRA deltas of few tokens per adapter, as they come in decode steps.

- `plan`: which tokens of a step are computed here, by slot, and which are left to large GEMMs.
- `lora_apply.cpp`: the operator, one call per layer whatever the number of adapters.
- `gains_apply.cpp`: the same for the gains of DoRA and IA3.
- `vectors.h`: what both say to the CPU.
- `build`: compiles them for this machine, once.
- `torch_path`: the same without a compiler.
- `choice`: which of the two a process uses.
"""

"""The result of `isolation.py` as a table and as ROC curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from isolation_statistics import Guess, auc, times
from rich.table import Table

MEANING = {
    "salted": "two tenants, as served",
    "shared": "one key for both: no salt",
    "nobody": "guesses that nobody sent (A/A)",
}


def table(result: Mapping[str, Mapping[str, Any]]) -> Table:
    shown = Table(title="What the time to the first token tells of another's prompts")
    for heading in ("", "", "AUC", "95 % interval", "sent, ms", "unsent, ms", "guesses"):
        shown.add_column(heading, no_wrap=True)
    for way, told in result.items():
        shown.add_row(
            way,
            MEANING[way],
            f"{told['auc']:.3f}",
            f"{told['low']:.3f} to {told['high']:.3f}",
            f"{told['sent_ms']:.1f}",
            f"{told['unsent_ms']:.1f}",
            str(told["guesses"]),
        )
    return shown


def plot(found: Mapping[str, Sequence[Guess]], file: Path) -> None:
    """Of all thresholds on the time: which share of sent and unsent prompts is below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(4.5, 4.2))
    for way, color in (("shared", "#c63"), ("salted", "#369"), ("nobody", "#999")):
        sent, unsent = times(found[way])
        thresholds = np.concatenate([[0.0], np.sort([*sent, *unsent])])
        hits = [(np.asarray(sent) <= t).mean() for t in thresholds]
        alarms = [(np.asarray(unsent) <= t).mean() for t in thresholds]
        label = f"{way}: AUC {auc(sent, unsent):.2f}"
        panel.plot(alarms, hits, color=color, label=label, drawstyle="steps-post")
    panel.plot([0, 1], [0, 1], color="#333", linestyle=":", linewidth=0.8)
    panel.set_xlabel("unsent prompts taken for sent")
    panel.set_ylabel("sent prompts found")
    panel.legend(loc="lower right", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)

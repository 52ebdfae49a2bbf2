"""Make the data of expert-neo4j: training, validation and test rows, and the test cases.

Everything follows from the seed: the same seed writes the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from text_to_cypher.cases import free_cases, pattern_cases
from text_to_cypher.dataset import train_examples, validation_examples

from hive_expert.cli.data_command import Sizes, data_command
from hive_expert.training.generated import Data


def make(seed: int, sizes: Sizes) -> Data:
    """Graphs drawn and asked about."""
    return Data(
        "cypher_structure",
        train=train_examples(seed, sizes.train),
        validation=validation_examples(seed, sizes.validation),
        cases=[*pattern_cases(seed, sizes.test), *free_cases()],
    )


main = data_command("expert-neo4j", Path(__file__).parent, Sizes(10_000, 160, 300), make)

if __name__ == "__main__":
    main()

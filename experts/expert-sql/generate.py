"""Make the data of expert-sql: training, validation and test rows, and the test cases.

Everything follows from the seed: the same seed writes the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from text_to_sql.cases import fixtures, free_cases, pattern_cases, scripts
from text_to_sql.dataset import train_examples, validation_examples

from hive_expert.cli.data_command import Sizes, data_command
from hive_expert.training.generated import Data


def make(seed: int, sizes: Sizes) -> Data:
    """Schemas drawn, filled and asked about; every answer executed."""
    draws = fixtures()
    return Data(
        "sql_execution",
        train=train_examples(seed, sizes.train),
        validation=validation_examples(seed, sizes.validation),
        cases=[*pattern_cases(seed, sizes.test, draws), *free_cases(draws)],
        fixtures=scripts(draws),
    )


main = data_command("expert-sql", Path(__file__).parent, Sizes(10000, 200, 300), make)

if __name__ == "__main__":
    main()

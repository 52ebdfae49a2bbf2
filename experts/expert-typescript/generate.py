"""Make the data of expert-typescript: training, validation and test rows, and the test cases.

Everything follows from the seed: the same seed writes the same bytes. Where Node and the
TypeScript compiler are there, every answer is type-checked and passes its tests, or nothing is
written.
"""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from text_to_typescript.cases import drawn_cases, written_cases
from text_to_typescript.dataset import tasks
from text_to_typescript.proof import prove

from hive_expert.cli.data_command import Sizes, data_command
from hive_expert.errors import TrainingError
from hive_expert.training.generated import Data
from hive_expert.training.typescript_checks import Program, find_tools

HERE = Path(__file__).parent
PROVEN = HERE / "datasets/proven.txt"


def make(seed: int, sizes: Sizes) -> Data:
    """Tasks drawn, asked for and proven."""
    train, validation = (
        tasks(seed, "train", sizes.train),
        tasks(seed, "validation", sizes.validation),
    )
    cases = [*drawn_cases(seed, sizes.test), *written_cases()]
    programs = [
        (task.family, Program(task.code, task.program_tests)) for task, _ in (*train, *validation)
    ]
    programs += [(case.id, Program(case.expected, case.extra["tests"])) for case in cases]
    try:
        find_tools()
    except TrainingError as missing:
        click.echo(f"the answers are not proven: {missing}", err=True)
    else:
        prove(programs, PROVEN)
    return Data(
        "typescript_tests",
        train=[row for _, row in train],
        validation=[row for _, row in validation],
        cases=cases,
    )


main = data_command("expert-typescript", HERE, Sizes(8000, 200, 300), make)

if __name__ == "__main__":
    main()

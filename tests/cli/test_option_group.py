"""Options that reach their command as one value."""

from __future__ import annotations

from dataclasses import dataclass

import rich_click as click
from click.testing import CliRunner

from hive_expert.cli.option_group import option_group


@dataclass(frozen=True)
class Pair:
    width: int
    kinds: tuple[str, ...]


SIZES = (
    click.option("--width", type=int, default=3, show_default=True, help="How wide."),
    click.option("--kind", "kinds", multiple=True, help="Repeatable."),
)


@click.command()
@click.option("--name", required=True)
@option_group(Pair, "pair", SIZES)
@click.option("--last", is_flag=True)
def main(name: str, pair: Pair, last: bool) -> None:
    """What a command of its own says."""
    click.echo(f"{name} {pair} {last}")


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_group_comes_as_one_value_beside_the_others() -> None:
    assert printed("--name", "n", "--kind", "a", "--kind", "b", "--last") == (
        "n Pair(width=3, kinds=('a', 'b')) True\n"
    )


def test_options_stand_in_their_order_among_the_others() -> None:
    assert [p.name for p in main.params] == ["name", "width", "kinds", "last"]
    assert "What a command of its own says." in printed("--help")

"""`hive-build`: check, pack, sign and look at experts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.text import Text

from hive_expert import __version__, locations
from hive_expert.cli.build_migrate import migrate
from hive_expert.cli.build_new import new
from hive_expert.cli.build_validate import validate
from hive_expert.cli.terminal import HiveCommand, HiveGroup, console, note, print_json
from hive_expert.cli.trust_policy import trust_option
from hive_expert.errors import HiveError, TrustError

if TYPE_CHECKING:
    from hive_expert.package.keys import SigningKey
    from hive_expert.package.pack import PackagedFile

PASSPHRASE = "HIVE_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable, not a secret

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
key_option = click.option("--key", type=FILE, help="Key file (PEM) to sign with.")


@click.group(cls=HiveGroup)
@click.version_option(__version__, prog_name="hive-build")
def main() -> None:
    """Check, pack, sign and look at experts."""


main.add_command(migrate)
main.add_command(validate)
main.add_command(new)

PACKAGE_EXAMPLES = """
\b
Examples:
  hive-build package experts/expert-sql --key ~/.config/hive/keys/ann.pem
  hive-build package experts/expert-sql --model smollm2-135m --output dist/
  hive-build package experts/expert-sql/manifest.qwen3-0.6b.json --output dist/
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) hive-build package experts/expert-sql --json
"""


@main.command(cls=HiveCommand, epilog=PACKAGE_EXAMPLES)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Which entry of base_models (slug or name); the only one if absent.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder, or file name ending in .expert; here if absent.",
)
@key_option
@json_option
def package(path: Path, model: str | None, output: Path, key: Path | None, as_json: bool) -> None:
    """Pack an expert for one base model, signed if you give a key.

    PATH is the expert's folder, or one of several manifests in it. The same files give the same
    bytes; SOURCE_DATE_EPOCH says when the package was made. A soft prompt in a .pt file is packed
    as safetensors.
    """
    from hive_expert.adapters.first_generation import soft_prompt_from_pt
    from hive_expert.package.pack import build_package

    signer = _unlock(key) if key else None
    with console.status(Text(f"packing {path.name}")):
        built = build_package(
            path, model=model, output=output, signer=signer, convert=soft_prompt_from_pt
        )
    _report(built, signer, as_json)


KEYGEN_EXAMPLES = """
\b
Examples:
  hive-build keygen --name "Ann's experts"
  hive-build keygen --name Ann --output ~/.config/hive/keys/ann.pem --passphrase
"""


@main.command(cls=HiveCommand, epilog=KEYGEN_EXAMPLES)
@click.option("--name", required=True, help="What others will know you by.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Key file; keys/publisher.pem in the configuration folder if absent.",
)
@click.option("--passphrase", is_flag=True, help=f"Ask for a passphrase (or set {PASSPHRASE}).")
@json_option
def keygen(name: str, output: Path | None, passphrase: bool, as_json: bool) -> None:
    """Make a signing key, and the public file that others trust you by."""
    from hive_expert.package.keys import generate_key, save_key

    secret = os.environ.get(PASSPHRASE)
    if passphrase and not secret:
        secret = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    private = output or locations.keys_dir() / "publisher.pem"
    key = generate_key(name)
    public = save_key(key, private, secret)
    if as_json:
        print_json(
            {
                "name": name,
                "key_id": key.key_id,
                "private_key": str(private),
                "public_key": str(public),
                "encrypted": bool(secret),
            }
        )
    else:
        click.echo(f"key      {key.key_id}\nprivate  {private}  (keep it)\npublic   {public}")
        note(f"hand out {public.name}; others run: hive trust add {public.name}")


SIGN_EXAMPLES = """
\b
Examples:
  hive-build sign expert-sql-smollm2-135m.v0.1.0.expert --key ~/.config/hive/keys/ann.pem
  hive-build sign unsigned.expert --key ann.pem --output signed.expert
"""


@main.command(cls=HiveCommand, epilog=SIGN_EXAMPLES)
@click.argument("package_file", metavar="PACKAGE", type=FILE)
@click.option("--key", required=True, type=FILE, help="Key file (PEM).")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the signed package there; in place if absent.",
)
@json_option
def sign(package_file: Path, key: Path, output: Path | None, as_json: bool) -> None:
    """Sign a package, or sign it anew with another key."""
    from hive_expert.package.pack import sign_package

    signer = _unlock(key)
    with console.status(Text(f"signing {package_file.name}")):
        built = sign_package(package_file, signer, output=output)
    _report(built, signer, as_json)


VERIFY_EXAMPLES = """
\b
Examples:
  hive-build verify expert-sql-smollm2-135m.v0.1.0.expert
  hive-build verify expert-sql-smollm2-135m.v0.1.0.expert --trust warn --json
"""


@main.command(cls=HiveCommand, epilog=VERIFY_EXAMPLES)
@click.argument("package_file", metavar="PACKAGE", type=FILE)
@trust_option
@json_option
def verify(package_file: Path, trust: str, as_json: bool) -> None:
    """Check a package: is it whole, who signed it and when, and do you trust them?

    Its grammar or schema is parsed and checked as well; whether it compiles for the tokens of a
    base is tried when it is served. Fails unless the package would be used under the trust policy.
    """
    from datetime import UTC, datetime

    from hive_expert.cli.build_views import failure_as_json, report_as_json, show_report
    from hive_expert.package.open import verify_package
    from hive_expert.package.trust import Policy, TrustStore

    store = TrustStore.load(locations.trust_store())
    try:
        with console.status(Text(f"verifying {package_file.name}")):
            report = verify_package(
                package_file, trust=store, policy=Policy(trust), now=datetime.now(UTC)
            )
    except HiveError as error:
        if as_json:
            print_json(failure_as_json(error))
        raise
    pin = store.pins.get(report.package.facts.name)
    if as_json:
        print_json(report_as_json(report, trust, pin))
    else:
        show_report(report, trust, pin)
    if not report.decision.accepted:
        raise TrustError(*report.decision.reasons)


INSPECT_EXAMPLES = """
\b
Examples:
  hive-build inspect expert-sql-smollm2-135m.v0.1.0.expert
  hive-build inspect expert-sql-smollm2-135m.v0.1.0.expert --json
"""


@main.command(cls=HiveCommand, epilog=INSPECT_EXAMPLES)
@click.argument("package_file", metavar="PACKAGE", type=FILE)
@json_option
def inspect(package_file: Path, as_json: bool) -> None:
    """Show what is in a package: members, manifest, signature. Trust is not asked."""
    from hive_expert.cli.build_views import package_as_json, show_package
    from hive_expert.package.open import examine_package
    from hive_expert.package.unpack import file_sha256

    with console.status(Text(f"reading {package_file.name}")):
        examined, sha256 = examine_package(package_file), file_sha256(package_file)
    if as_json:
        print_json(package_as_json(examined, sha256))
    else:
        show_package(examined, sha256)


def _unlock(path: Path) -> SigningKey:
    """The signing key; asks for its passphrase if it has one and nobody said it yet."""
    from hive_expert.package.keys import is_encrypted, load_signing_key

    secret = os.environ.get(PASSPHRASE)
    if not secret and is_encrypted(path) and sys.stdin.isatty():
        secret = click.prompt(f"Passphrase of {path.name}", hide_input=True, err=True)
    return load_signing_key(path, secret)


def _report(built: PackagedFile, signer: SigningKey | None, as_json: bool) -> None:
    if as_json:
        result: dict[str, Any] = {
            "path": str(built.path),
            "digest": built.digest,
            "sha256": built.sha256,
            "size": built.size,
            "signed": signer is not None,
            "key_id": signer.key_id if signer else None,
        }
        print_json(result)
    else:
        click.echo(
            f"{built.path}\ndigest {built.digest}\nsha256 {built.sha256}\n{built.size:,} bytes"
        )
    if signer is None:
        told = f" it is refused until you sign it: hive-build sign {built.path}"
        console.print(Text.assemble(("not signed:", "yellow"), told), soft_wrap=True)


if __name__ == "__main__":
    main()

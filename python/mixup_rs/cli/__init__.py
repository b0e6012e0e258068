"""The command `mixup-rs demo | preview | bench | info`. What is heavier than NumPy is imported where it is needed."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mixup_rs
from mixup_rs.cli import demo, info, preview
from mixup_rs.cli.fault import Fault
from mixup_rs.cli.rule import rule_names

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    args : sequence of str, optional
        The arguments, without the name of the program. By default those of the command line.

    Returns
    -------
    int
        The exit status: 0 for success, 1 for what the command could not do, 2 for a wrong command line.

    Examples
    --------
    >>> main(["info"])  # doctest: +ELLIPSIS
    mixup-rs ...
    0
    """
    options, rest = _parser().parse_known_args(args)
    run = options.run
    try:
        return run(rest) if run is _bench else run(options)
    except Fault as fault:
        print(f"mixup-rs {options.command}: {fault}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mixup-rs", description="Mixup for NumPy, PyTorch and fastai.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"mixup-rs {mixup_rs.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo | preview | bench | info")

    command = commands.add_parser("demo", help="mix a few pictures, save the result, time it", allow_abbrev=False)
    command.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="two pictures or more (default: samples)"
    )
    _add_mixing(command, Path("mixup.png"), "every rule on the first two pictures", "a clear one")
    command.set_defaults(run=demo.run)

    command = commands.add_parser(
        "preview", help="mix images of a folder, labelled by the names of its folders", allow_abbrev=False
    )
    command.add_argument("folder", type=Path, metavar="FOLDER", help="images, each in a folder named as its class")
    _add_mixing(command, Path("preview.png"), "mixup", "0")
    command.add_argument("--batch", type=_count, default=32, metavar="N", help="images in the batch (%(default)s)")
    command.add_argument(
        "--samples", type=_count, default=6, metavar="N", help="of these, how many are shown (%(default)s)"
    )
    command.set_defaults(run=preview.run)

    # The benchmark parses its options itself, --help included.
    command = commands.add_parser("bench", help="time mixup-rs beside its peers; see bench --help", add_help=False)
    command.set_defaults(run=_bench)
    command = commands.add_parser("info", help="what a bug report needs: versions, processor, settings")
    command.set_defaults(run=info.run)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that leaves arguments that it does not know to the benchmark alone."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, rest = super().parse_known_args(args, namespace)
        if rest and getattr(options, "run", None) is not _bench:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return options, rest


def _add_mixing(command: argparse.ArgumentParser, out: Path, without_rule: str, without_key: str) -> None:
    """The options of the commands that mix."""
    names = ", ".join(rule_names())
    command.add_argument(
        "--rule", metavar="RULE", help=f"{names}, or with options, as in 'FMix(decay=2)' (default: {without_rule})"
    )
    command.add_argument("--alpha", type=float, metavar="A", help="lam ~ Beta(A, A) (default: the rule's own)")
    command.add_argument(
        "--rng", type=_key, metavar="KEY", help=f"42, or 42,0,7: the same key, the same mix (default: {without_key})"
    )
    command.add_argument("--out", type=_picture, default=out, metavar="FILE", help="the picture (default: %(default)s)")


def _key(text: str) -> tuple[int, ...]:
    """A key: whole numbers with commas between them."""
    try:
        key = tuple(int(part) for part in text.split(","))
    except ValueError:
        key = (-1,)
    if min(key) < 0:
        raise argparse.ArgumentTypeError(f"expected whole numbers of at least 0, such as 42 or 42,0,7, got {text!r}")
    return key


def _picture(text: str) -> Path:
    """The path of a file whose extension selects the format."""
    path = Path(text)
    if not path.suffix or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file whose extension is a format, such as mix.png, got {text!r}")
    return path


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _bench(args: Sequence[str]) -> int:
    try:
        bench = importlib.import_module("mixup_rs.bench")
    except ImportError as error:
        raise Fault(f"the benchmark cannot be imported: {error}") from error
    return bench.main(args) or 0

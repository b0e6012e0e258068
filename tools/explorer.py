"""Builds what the page docs/explorer loads, docs/explorer/built/data.js: `python tools/explorer.py`.

It holds the Rust core, compiled to WebAssembly, two photographs that scikit-learn ships, as text, so that the page
works from a file, and the rules with their options, read from the Python classes. Where no compiler for WebAssembly can
be had, or with --planned, it holds plans drawn now instead, and the page says so.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import mixup_rs
from mixup_rs.rules import kinds

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "docs" / "explorer" / "built" / "data.js"
TARGET = "wasm32-unknown-unknown"
CARGO = ["build", "--quiet", "--locked", "--profile", "wasm", "--example", "explorer", "--target", TARGET]
#: Debian's own compiler, which builds the standard library for any target from its sources.
DEBIAN = Path("/usr/bin/rustc"), Path("/usr/lib/rustlib/src/rust/library/std")
#: The width of a photograph, in pixels.
WIDTH = 400
#: The side of a picture on the page, in pixels, and the number of pictures in a batch.
SIDE, PICTURES = 192, 9
#: The seed of the plans drawn now, that of the page when it opens, and the number of batches.
SEED, BATCHES = 42, 24
#: The rules of the plans drawn now, as the page writes them when it opens.
PLANNED = ["Mixup(alpha=0.4)", "CutMix(alpha=1.0)", "OneOf([Mixup(alpha=0.4), CutMix(alpha=1.0)])"]
#: Options that the page has not: with two pictures there is no choice of partners, and there are no maps of them.
LEFT_OUT = {"partners", "saliency", "k"}


def main(args: Sequence[str] | None = None) -> int:
    """Writes the file and says what is in it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planned", action="store_true", help="plans drawn now, and no core")
    parser.add_argument("--out", type=Path, default=BUILT, help="the file to write")
    chosen = parser.parse_args(args)
    wasm = None if chosen.planned else compiled()
    core = {"plans": plans()} if wasm is None else {"wasm": text(wasm)}
    said = {"seed": SEED, "rules": entries(), "photos": photos(), "version": mixup_rs.__version__}
    built = json.dumps(core | said, ensure_ascii=False)
    chosen.out.parent.mkdir(exist_ok=True)
    chosen.out.write_text(f'"use strict";\nconst BUILT = {built};\n', encoding="utf-8")
    kind = "plans drawn now" if wasm is None else f"the core, {len(wasm) >> 10} KiB"
    print(f"{chosen.out}: {kind}, and two photographs")
    return 0


def compiled() -> bytes | None:
    """The core for WebAssembly; None, and says why, where there is no compiler for it."""
    if (toolchain := compiler()) is None:
        print(
            f"No Rust for {TARGET} was found: the page will show plans drawn now. To compile the core, run "
            f"`rustup target add {TARGET}`, or on Debian `apt-get install rustc-web cargo-web rust-web-src lld`.",
            file=sys.stderr,
        )
        return None
    command, environment = toolchain
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return (target / TARGET / "wasm" / "examples" / "explorer.wasm").read_bytes()


def compiler() -> tuple[list[str], dict[str, str]] | None:
    """The command that compiles the core, and its environment: with rustup's target, else with Debian's compiler."""
    rustc = shutil.which("rustc")
    if rustc is not None and shutil.which("cargo") is not None:
        asked = subprocess.run([rustc, "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=False)
        if asked.returncode == 0 and (Path(asked.stdout.strip()) / "lib" / "rustlib" / TARGET).exists():
            return ["cargo", *CARGO], {}
    if all(path.exists() for path in (*DEBIAN, DEBIAN[0].with_name("cargo"))) and shutil.which("wasm-ld"):
        environment = {
            "RUSTC": str(DEBIAN[0]),
            # Lets a stable compiler take -Z.
            "RUSTC_BOOTSTRAP": "1",
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": "wasm-ld",
        }
        return [str(DEBIAN[0].with_name("cargo")), *CARGO, "-Zbuild-std=std,panic_abort"], environment
    return None


def entries() -> list[dict[str, Any]]:
    """Each rule as the page shows it: its name, what it does, and its options with their defaults."""
    return [
        {
            "name": kind.__name__,
            "about": _about(kind),
            "options": [_option(kind, field) for field in dataclasses.fields(kind) if field.name not in LEFT_OUT],
        }
        for kind in cast("Iterable[Any]", kinds().values())
    ]


def _about(kind: type) -> str:
    """The first line of the docstring, without the name of the rule and the number of its paper."""
    said = str(kind.__doc__).splitlines()[0].removeprefix(f"{kind.__name__}: ").partition(", [1]_")[0]
    return said[0].upper() + said[1:].rstrip(".") + "."


def _option(kind: type, field: dataclasses.Field[Any]) -> dict[str, Any]:
    """An option, by the kind of its default. The rules of `OneOf` have none: docs/explorer/rules.js says which."""
    value = field.default
    option = {"name": field.name, "value": value}
    match value:
        case dataclasses.MISSING:
            return {"name": field.name}
        case bool():
            return option | {"kind": "switch"}
        case int() | float():
            return option | {"kind": "slider", "whole": isinstance(value, int)}
        case str():
            choices = get_args(eval(str(field.type), vars(sys.modules[kind.__module__])))
            return option | {"kind": "choice", "choices": choices}
        case None | tuple():
            return option | {"kind": "list", "whole": all(isinstance(item, int) for item in value or [0.5])}
    raise TypeError(f"{kind.__name__}.{field.name} has a default that the page cannot show, {value!r}")


def plans() -> dict[str, list[dict[str, Any]]]:
    """Plans of each rule for the first keys, by the text of the rule."""

    def drawn(rule: Any, batch: int) -> dict[str, Any]:
        plan = rule.plan(PICTURES, (SIDE, SIDE), rng=(SEED, batch))
        boxes = plan.boxes
        if boxes is not None:
            boxes = [bound for y0, x0, y1, x1 in boxes.tolist() for bound in (0, y0, x0, 1, y1, x1)]
        lists = {name: getattr(plan, name).tolist() for name in ("lam", "weight", "partner")}
        return lists | {"boxes": boxes}

    made = {text: eval(text, vars(mixup_rs)) for text in PLANNED}
    return {text: [drawn(rule, batch) for batch in range(BATCHES)] for text, rule in made.items()}


def photos() -> list[dict[str, str]]:
    """The two photographs, scaled down, with their names and authors."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    def photo(file: str, name: str, by: str) -> dict[str, str]:
        picture = Image.fromarray(load_sample_image(file))
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=88)
        return {"name": name, "by": by, "url": f"data:image/jpeg;base64,{text(buffer.getvalue())}"}

    return [photo("china.jpg", "temple", "danielbuechele"), photo("flower.jpg", "flower", "vultilion")]


def text(data: bytes) -> str:
    """The bytes in base64."""
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    sys.exit(main())

"""Builds what the page docs/explorer loads, docs/explorer/built/data.js: `python tools/explorer.py`.

It holds the Rust core, compiled to WebAssembly, and two photographs that scikit-learn ships, as text, so that the page
works from a file. Where no compiler for WebAssembly can be had, or with --planned, it holds plans drawn now instead,
and the page says so.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mixup_rs
from mixup_rs import CutMix, Mixup, OneOf

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
#: The rules of the plans drawn now, as the page has them when it opens.
PLANNED = [Mixup(), CutMix(), OneOf([Mixup(), CutMix()])]


def main(args: Sequence[str] | None = None) -> int:
    """Writes the file and says what is in it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planned", action="store_true", help="plans drawn now, and no core")
    parser.add_argument("--out", type=Path, default=BUILT, help="the file to write")
    chosen = parser.parse_args(args)
    wasm = None if chosen.planned else compiled()
    core = {"plans": plans()} if wasm is None else {"wasm": text(wasm)}
    built = json.dumps(core | {"seed": SEED, "photos": photos(), "version": mixup_rs.__version__}, ensure_ascii=False)
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


#: Options that the page has not, and their values there: with two pictures there is no choice of partners, and there
#: are no maps of them.
LEFT_OUT = {"partners": None, "saliency": None, "k": 2}


def words(rule: Any) -> str:
    """The words of a rule, as examples/explorer.rs reads them; ValueError if an option that the page has not is set."""
    for name, value in LEFT_OUT.items():
        if (got := getattr(rule, name, value)) != value:
            raise ValueError(f"the page has {name}={value} alone, got {got!r}")
    options = [getattr(rule, field.name) for field in dataclasses.fields(rule) if field.name not in LEFT_OUT]
    return " ".join([rule._rule, *map(_words, options)])


def _words(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float() | int():
            # As JavaScript writes a number.
            return repr(float(value)).removesuffix(".0")
        case tuple() if dataclasses.is_dataclass(value[0]):
            return " ".join([str(len(value)), *map(words, value)])
        case tuple():
            return " ".join(map(_words, value))
    return value


def plans() -> dict[str, list[dict[str, Any]]]:
    """Plans of each rule for the first keys, by the words of the rule."""

    def drawn(rule: Any, batch: int) -> dict[str, Any]:
        plan = rule.plan(PICTURES, (SIDE, SIDE), rng=(SEED, batch))
        boxes = plan.boxes
        if boxes is not None:
            boxes = [bound for y0, x0, y1, x1 in boxes.tolist() for bound in (0, y0, x0, 1, y1, x1)]
        lists = {name: getattr(plan, name).tolist() for name in ("lam", "weight", "partner")}
        return lists | {"boxes": boxes}

    return {words(rule): [drawn(rule, batch) for batch in range(BATCHES)] for rule in PLANNED}


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

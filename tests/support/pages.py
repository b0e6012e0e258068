"""The page docs/explorer, built, and its core run by Node."""

import base64
import functools
import json
import shutil
import subprocess

import numpy as np
import pytest
from explorer import BUILT, ROOT

PAGE = ROOT / "docs" / "explorer"
REQUESTS = ROOT / "tests" / "pages" / "requests.js"


def built():
    """What the page has loaded, as a dict. Skips where it was not built, or without the core."""
    if not BUILT.exists():
        pytest.skip("docs/explorer/built/data.js is missing: `make wasm` writes it")
    held = json.loads(BUILT.read_text(encoding="utf-8").split("const BUILT = ")[1].rstrip(";\n"))
    if "wasm" not in held:
        pytest.skip("docs/explorer/built/data.js has no core: no compiler for WebAssembly was found")
    return held


def ask(requests):
    """What the core of the page answers in Node, and the entries of its rules."""
    built()
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not there")
    asked = subprocess.run(
        [node, REQUESTS, PAGE, BUILT], input=json.dumps(requests), capture_output=True, text=True, timeout=300
    )
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


@functools.cache
def entries():
    """The rules of the page, and what its core imports."""
    return ask([])


def chromium():
    """A headless Chromium: the system's, else playwright's. Skips where there is none."""
    from playwright.sync_api import Error, sync_playwright

    system = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"no Chromium: {error}")
        yield browser
        browser.close()


def kept(name):
    """The path of a screenshot, which is kept."""
    folder = ROOT / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder / name


def array(text, dtype):
    """The array of these bytes, in base64."""
    return np.frombuffer(base64.b64decode(text), dtype)


def text(array):
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()

"""Hooks of mkdocs for the site: pages that are made by running them, and what a strict build still lets through.

mkdocs finds links in Markdown that lead nowhere. `on_post_build` reads the site itself: its links, pictures and scripts
must be there, nothing may be loaded from elsewhere, and the reference must have every public name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
#: What a page loads when it opens; other links are followed only by a click.
LOADED = {"script", "img", "iframe", "source", "video", "audio", "embed", "object"}
MODULES = ["", "fastai", "jax", "lightning", "losses", "plot", "rules", "timm", "torch", "torchvision"]


class Page(HTMLParser):
    """The ids of a page, and its links: (address, whether it is loaded)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, bool]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name in ("id", "name"):
                self.ids.add(value)
            elif name in ("href", "src", "data"):
                relations = (dict(attrs).get("rel") or "").split()
                is_loaded = tag in LOADED or (tag == "link" and not {"canonical", "next", "prev"} & {*relations})
                self.links.append((value, is_loaded))


def on_page_read_source(page: Any, config: Any) -> str | None:
    """The text of a page that is a script of cells: what its cells say, and what they put out."""
    script = Path(page.file.abs_src_path).with_suffix(".py")
    return executed(script) if script.exists() else None


def executed(script: Path) -> str:
    """A script of cells as Markdown, with the output of each."""
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(script)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return "\n\n".join(part for cell in notebook.cells for part in parts_of(cell))


def parts_of(cell: Any) -> Iterator[str]:
    """The Markdown of a cell and of what it put out. Pictures are in the page itself."""
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield f"```python\n{cell.source.replace('  # noqa: E402', '')}\n```"
    for output in cell.outputs:
        if output.output_type == "stream":
            yield f"```text\n{output.text.rstrip()}\n```"
        elif picture := output.get("data", {}).get("image/png"):
            yield f"![What the code above draws](data:image/png;base64,{''.join(picture.split())})"


def on_post_build(config: Any) -> None:
    """Ends the build where the site has a fault."""
    site = Path(config["site_dir"])
    if faults := [*broken(site, repository()), *undocumented(site)]:
        raise PluginError("the site has faults:\n  " + "\n  ".join(faults))


def repository() -> str:
    """The address of the project."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [address] = re.findall(r'^Repository = "(.+)"$', text, re.M)
    return address


def broken(site: Path, address: str) -> Iterator[str]:
    """What is wrong with the links of a site, whose project has this address."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # its links are those of a server's root
            continue
        for link, is_loaded in page.links:
            url = urlsplit(link)
            where = f"{path.relative_to(site)}: {link}"
            if url.scheme in ("data", "mailto", "javascript"):
                continue
            if url.scheme or url.netloc:
                if is_loaded:
                    yield f"{where} is loaded from elsewhere"
                elif (
                    own := re.fullmatch(rf"{re.escape(address)}/(?:blob|raw|tree)/main/([^#]+)(?:#.*)?", link)
                ) and not (ROOT / unquote(own[1])).exists():
                    yield f"{where} is not in the repository"
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if target.is_dir() or not target.exists():
                yield f"{where} leads nowhere"
            elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].ids:
                yield f"{where} leads to no part of that page"


def undocumented(site: Path) -> Iterator[str]:
    """Public names that the reference lacks."""
    found = {name for path in (site / "reference").glob("*.html") for name in Page(path).ids}
    for module in MODULES:
        full = f"mixup_rs.{module}".rstrip(".")
        for name in public(module):
            # Each is documented once, where it is defined or where it is imported from.
            if not any(known.startswith(full) and known.endswith(f".{name}") for known in found):
                yield f"the reference has no {full}.{name}"


def public(module: str) -> list[str]:
    """The names in a module's `__all__`, read from its source: what it imports may be absent."""
    path = ROOT / "python" / "mixup_rs" / module
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    listed = re.search(r"^__all__ = \[(.*?)\]", path.read_text(encoding="utf-8"), re.M | re.S)
    return [name for name in re.findall(r'"(\w+)"', listed[1] if listed else "") if not name.startswith("__")]

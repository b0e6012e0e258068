"""The explorer in a real Chromium: its pixels are those of the package, and it is fit to be used."""

import base64
import io
import shutil

import explorer
import numpy as np
import pytest
from axe_core_python.sync_playwright import Axe
from pages import PAGE, built, chromium, kept
from PIL import Image

import mixup_rs

CLASSES = [i % 2 for i in range(9)]


@pytest.fixture(scope="module")
def browser():
    built()
    yield from chromium()


@pytest.fixture
def open_page(browser):
    """Opens the page, from its file; nothing may be reported on the console."""
    said, contexts = [], []

    def open_page(folder=PAGE, width=1280, scheme="light", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.goto((folder / "index.html").as_uri())
        page.wait_for_selector("#page:not([hidden]), #note:not([hidden])")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def pictures(page, selector):
    """The pixels of canvases: (n, 3, height, width)."""
    urls = page.eval_on_selector_all(selector, "canvases => canvases.map(canvas => canvas.toDataURL())")
    shown = np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for url in urls])
    assert (shown[..., 3] == 255).all()
    return shown[..., :3].transpose(0, 3, 1, 2)


def run(page, code, x, y):
    """What the Python code on the page makes of these."""
    names = {"x": x, "y": np.array(y)}
    exec(page.text_content(code), names)
    return names["mixed_x"], names["mixed_y"]


def assert_equal(got, expected):
    """Equal to one level, and not by being empty."""
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


def set_slider(page, selector, value):
    page.eval_on_selector(
        selector, "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
    )


def check_pair(page):
    x = pictures(page, "#first, #second")
    mixed, soft = run(page, "#pair-code", x, [0, 1])
    assert_equal(pictures(page, "#mixed"), mixed[:1])
    numbers = [float(text) for text in page.locator("#bars .number").all_text_contents()]
    np.testing.assert_allclose(numbers, soft[0], atol=0.0051)
    return x, mixed


def check_batch(page):
    page.check("#unmixed")
    x = pictures(page, "#batch canvas")
    page.uncheck("#unmixed")
    mixed, soft = run(page, "#batch-code", x, CLASSES)
    shown = pictures(page, "#batch canvas")
    assert_equal(shown, mixed)
    widths = page.eval_on_selector_all("#batch .bar", "bars => bars.map(bar => parseFloat(bar.style.width) / 100)")
    np.testing.assert_allclose(widths, soft[:, 0], atol=1e-4)
    assert len(np.unique(x, axis=0)) == 9
    return x, shown


def test_the_weight_is_what_the_slider_says(open_page):
    page = open_page()
    for lam in (0, 0.25, 0.6, 1):
        set_slider(page, "#lam", lam)
        x, mixed = check_pair(page)
        np.testing.assert_array_equal(mixed, mixup_rs.mix_batch(x, lam=lam, partner=[1, 0]).x)
    for lam in (0, 0.3, 1):
        page.check("[name=how][value=cut]", force=True)
        set_slider(page, "#lam", lam)
        check_pair(page)


def test_the_weight_is_moved_by_keyboard(open_page):
    page = open_page()
    page.focus("#lam")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.text_content("#lam-value") == "0.65"
    check_pair(page)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("[name=how][value=cut]")
    check_pair(page)


def test_every_rule_and_option_mixes_as_in_python(open_page):
    page = open_page()
    for name in page.locator("#rule option").all_text_contents():
        page.select_option("#rule", name)
        before = check_batch(page)[1]
        page.click("#next")
        x, after = check_batch(page)
        assert (before != x).any() or (after != x).any(), "something is mixed"
        codes = {page.text_content("#batch-code")}
        # Every slider, switch, choice and box is used; what appears is used as well.
        count = 0
        while count < page.locator("#rule-options input").count():
            control = page.locator("#rule-options input").nth(count)
            if control.get_attribute("type") == "range":
                control.focus()
                page.keyboard.press("PageDown")
                page.keyboard.press("ArrowLeft")
                page.keyboard.press("ArrowLeft")
            else:
                control.click(force=True)
            check_batch(page)
            codes.add(page.text_content("#batch-code"))
            count += 1
        assert len(codes) >= count / 2


def test_the_key_is_the_seed_and_the_batch(open_page):
    page = open_page()
    assert page.text_content("#key") == "(42, 0)"
    page.click("#next")
    page.click("#next")
    assert page.text_content("#key") == "(42, 2)"
    page.fill("#seed", "4294967295")
    assert page.text_content("#key") == "(4294967295, 0)"
    check_batch(page)
    page.fill("#seed", "-1")
    assert page.text_content("#key") == "(4294967295, 0)"


def test_the_histogram_counts_the_weights_of_the_keys(open_page):
    page = open_page()
    page.wait_for_function("document.getElementById('drawn').textContent.includes('of 400 batches')")
    lam = np.concatenate([mixup_rs.Mixup(0.4).plan(9, rng=(42, step)).lam for step in range(400)])
    counts = np.bincount(np.minimum((lam * 40).astype(int), 39), minlength=40)
    heights = page.eval_on_selector_all("#histogram rect", "all => all.map(one => Number(one.getAttribute('height')))")
    np.testing.assert_allclose(heights, counts / counts.max() * 180, atol=1e-3)
    assert f"on average {lam.mean():.3f}" in page.text_content("#drawn")


def test_a_file_of_the_user_is_mixed(open_page, tmp_path):
    page = open_page()
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (192, 300, 3), np.uint8)).save(path)
    page.set_input_files("[data-file='1']", path)
    page.wait_for_function("document.querySelector(\"[data-name='1']\").textContent === 'noise'")
    x, _ = check_pair(page)
    np.testing.assert_array_equal(x[1], np.asarray(Image.open(path)).transpose(2, 0, 1)[:, :, 54:246])
    check_batch(page)
    path = tmp_path / "words.png"
    path.write_text("no picture")
    page.set_input_files("[data-file='0']", path)
    page.wait_for_selector("#note:not([hidden])")
    assert "words.png could not be read" in page.text_content("#note")


def test_code_is_copied(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.click("[data-copy=batch-code]")
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.text_content("#batch-code")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_is_accessible_and_nothing_overflows(open_page, width, scheme):
    page = open_page(width=width, scheme=scheme, reduced_motion="reduce")
    page.wait_for_function("document.getElementById('drawn').textContent.includes('of 400 batches')")
    for name in page.locator("#rule option").all_text_contents():
        page.select_option("#rule", name)
        # What is off is switched on, so that all controls are there; doing so can put others in their place.
        while (off := page.locator("#rule-options input[type=checkbox]:not(:checked)")).count():
            off.first.click()
        found = Axe().run(page)
        faults = [
            (fault["id"], fault["impact"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]
        ]
        assert faults == []
        assert found["passes"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate(
            """width => [...document.querySelectorAll("body *:not(pre)")]
            .filter(one => one.getBoundingClientRect().right > width).map(one => one.outerHTML.slice(0, 80))""",
            width,
        )
        assert wide == []
        page.screenshot(path=kept(f"explorer-{name}-{width}-{scheme}.png"), full_page=True)


def test_without_the_core_it_shows_plans_drawn_before(open_page, tmp_path):
    folder = tmp_path / "explorer"
    shutil.copytree(PAGE, folder)
    explorer.main(["--planned", "--out", str(folder / "built" / "data.js")])
    page = open_page(folder)
    assert "could not be compiled" in page.text_content("#note")
    assert page.is_hidden("#claim")
    set_slider(page, "#lam", 0.35)
    check_pair(page)
    page.check("[name=how][value=cut]", force=True)
    check_pair(page)
    names = page.locator("#rule option").all_text_contents()
    assert names == ["Mixup", "CutMix", "OneOf"]
    for name in names:
        page.select_option("#rule", name)
        assert page.is_disabled("#rule-options input >> nth=0")
        for _ in range(3):
            check_batch(page)
            page.click("#next")
    page.screenshot(path=kept("explorer-planned.png"), full_page=True)


def test_without_what_is_built_it_says_so(browser, tmp_path):
    folder = tmp_path / "explorer"
    shutil.copytree(PAGE, folder, ignore=shutil.ignore_patterns("built"))
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    page.wait_for_selector("#note:not([hidden])")
    assert "make wasm" in page.text_content("#note")
    page.close()

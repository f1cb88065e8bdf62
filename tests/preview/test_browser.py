"""The page in a real browser, where there is one: what people do, and what they see.

Screenshots are kept in the folder that PREVIEW_SCREENSHOTS names.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.preview.running import running
from tests.preview.subjects import subject
from torchio_gpu.preview.session import Session, Wish

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
image_files = pytest.importorskip("PIL.Image", reason="pillow is not installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(
    not BROWSER, reason="no Chromium is installed: apt install chromium"
)
CARD = "[data-step=RandomAffine]"


class Tab:
    """Page of the preview in a browser.

    Args:
        page: Page of playwright.
        address: Where it is.
    """

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.requests: list[str] = []
        self.mistakes: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.mistakes.append(line.text))
        page.goto(address)
        self.answered(0)

    @property
    def answers(self) -> int:
        return int(self.page.get_attribute("body", "data-answers") or 0)

    def answered(self, before: int) -> None:
        """Wait until there is an answer after the first ``before``, and it is not coarse."""

        def is_there() -> bool:
            coarse = self.page.get_attribute("body", "data-coarse")
            return self.answers > before and coarse == "false"

        self.until(is_there)
        self.drawn()

    def drawn(self) -> None:
        """Wait until what was asked for is drawn: the frame after the next one has begun."""
        self.page.evaluate(
            "() => new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))"
        )

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, self.page.inner_text("#status")
            assert not self.errors
            self.page.wait_for_timeout(30)

    def picture(self, row: str, plane: str = "axial") -> np.ndarray:
        """Return the pixels of a canvas, [height, width, 3]."""
        found = self.page.locator(f"canvas[data-row={row}][data-plane={plane}]")
        text = found.evaluate("canvas => canvas.toDataURL()")
        content = base64.b64decode(text.partition(",")[2])
        return np.asarray(image_files.open(io.BytesIO(content)).convert("RGB"))

    def keep(self, name: str) -> None:
        folder = os.environ.get("PREVIEW_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder, f"{name}.png"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--use-angle=swiftshader"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    given = subject()
    given["marks"] = tio.Points([[-20.0, 1.0, 20.0]])
    session = Session(given)
    for coarse in (True, False):  # kernels are compiled before somebody waits for them
        session.result(Wish([{"name": "RandomAffine"}], 0, "t1", "seg", coarse=coarse))
    with running(lambda: session) as (found, _):
        yield found


@pytest.fixture
def tab(chromium, address) -> Iterator[Tab]:
    """A new page, which ends without a mistake and without a request to anything else."""
    context = chromium.new_context(
        viewport={"width": 1360, "height": 860},
        permissions=["clipboard-read", "clipboard-write"],
    )
    opened = Tab(context.new_page(), address)
    yield opened
    assert {url for url in opened.requests if not url.startswith(address)} == set()
    refusals = [line for line in opened.mistakes if "status of 400" not in line]
    assert refusals + opened.errors == []
    context.close()


def grey(picture: np.ndarray) -> np.ndarray:
    """Return the brightness of grey pixels, 0 for those of letters, points and crosshairs."""
    low, high = picture.min(-1).astype(int), picture.max(-1)
    return np.where(high - low <= 2, low, 0)


def test_it_shows_the_volume_before_and_after(tab):
    tab.keep("first")
    for row in ("before", "after", "difference"):
        for plane in ("axial", "coronal", "sagittal"):
            assert (tab.picture(row, plane).max(-1) > 60).mean() > 0.02, (row, plane)
    assert not np.array_equal(tab.picture("before"), tab.picture("after"))
    assert re.search(r"\d+ ms to compute, \d+ ms to see", tab.page.inner_text("#status"))
    assert "48x48x46, 2x2x3 mm, RAS+" in tab.page.inner_text("#facts").replace("\u00d7", "x")


def test_a_slider_moves_the_volume(tab):
    before, after, count = tab.picture("before"), tab.picture("after"), tab.answers
    slider = tab.page.locator(f"{CARD} [data-argument=degrees] input[type=range]").nth(1)
    slider.focus()
    slider.press("End")
    tab.answered(count)
    assert np.array_equal(tab.picture("before"), before)
    assert not np.array_equal(tab.picture("after"), after)
    assert tab.page.input_value(f"{CARD} [data-argument=degrees] input[type=text]") == "-10, 45"


def test_dragging_is_coarse_and_letting_go_is_not(tab):
    slider = tab.page.locator(f"{CARD} [data-argument=degrees] input[type=range]").nth(1)
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    thumb = box["x"] + 7 + (box["width"] - 14) * 55 / 90
    count = tab.answers
    tab.page.mouse.move(thumb, middle)
    tab.page.mouse.down()
    tab.page.mouse.move(thumb + 30, middle, steps=4)
    tab.until(lambda: tab.page.get_attribute("body", "data-coarse") == "true")
    assert "coarse" in tab.page.inner_text(".caption.after >> nth=0")
    tab.page.mouse.up()
    tab.answered(count + 1)
    assert "coarse" not in tab.page.inner_text(".caption.after >> nth=0")


def test_a_step_that_is_off_changes_nothing(tab):
    count = tab.answers
    tab.page.uncheck(f"{CARD} .switch")
    tab.answered(count)
    assert (tab.picture("difference").max(-1) > 130).mean() < 0.02  # letters and crosshair
    assert np.abs(tab.picture("before").astype(int) - tab.picture("after"))[40:].max() == 0


def test_yaml_that_is_copied_is_loaded_again(tab):
    count = tab.answers
    tab.page.fill(f"{CARD} [data-argument=degrees] input[type=text]", "5, 25")
    tab.page.keyboard.press("Tab")
    tab.answered(count)
    wanted = tab.picture("after")
    tab.page.click("#tab-yaml")
    tab.page.click("[data-act=copy-text]")
    tab.until(lambda: "Copied" in tab.page.inner_text("#panel"))
    tab.keep("yaml")
    copied = tab.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == "torchio_gpu: 1\npipeline:\n- RandomAffine:\n    degrees: [5, 25]\n" or (
        tio.load_pipeline(copied)[0].degrees == (5, 25)
    )
    count = tab.answers
    tab.page.click(f"{CARD} [data-act=remove]")
    tab.answered(count)
    assert tab.page.locator(".step").count() == 0
    count = tab.answers
    tab.page.fill("#panel textarea", copied)
    tab.page.click("[data-act=load-text]")
    tab.answered(count)
    tab.page.click("#tab-yaml")
    tab.drawn()
    assert np.array_equal(tab.picture("after"), wanted)


def test_steps_are_added_ordered_and_kept_over_a_reload(tab):
    count = tab.answers
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("gamma contrast")
    tab.page.keyboard.press("Enter")
    tab.answered(count)
    names = ".step .name"
    assert tab.page.locator(names).all_inner_texts() == ["RandomAffine", "RandomGamma"]
    count = tab.answers
    tab.page.click("[data-step=RandomGamma] [data-act=up]")
    tab.answered(count)
    assert tab.page.locator(names).all_inner_texts() == ["RandomGamma", "RandomAffine"]
    wanted, count = tab.picture("after"), tab.answers
    tab.page.click("#seed-up")
    tab.answered(count)
    assert not np.array_equal(tab.picture("after"), wanted)
    wanted = tab.picture("after")
    tab.page.reload()
    tab.answered(0)
    assert tab.page.input_value("#seed") == "1"
    assert tab.page.locator(names).all_inner_texts() == ["RandomGamma", "RandomAffine"]
    assert np.array_equal(tab.picture("after"), wanted)


def test_an_error_is_shown_at_its_step(tab):
    text = f"{CARD} [data-argument=scales] input[type=text]"
    tab.page.fill(text, "-2")
    tab.page.keyboard.press("Tab")
    tab.page.wait_for_selector(f"{CARD}.wrong .error")
    tab.keep("error")
    assert tab.page.inner_text(f"{CARD} .error") == "scales as a single number must be >= 0, got -2"
    count = tab.answers
    tab.page.fill(text, "0.1")
    tab.page.keyboard.press("Tab")
    tab.answered(count)
    assert tab.page.locator(".step.wrong").count() == 0


def test_a_strip_shows_severities_and_one_is_taken(tab):
    tab.page.click("#tab-strip")
    tab.page.wait_for_selector(".thumb")
    tab.page.select_option("#vary", label="RandomAffine: degrees")
    last = tab.page.get_by_role("button", name="Take 45")
    last.wait_for()
    tab.keep("strip")
    count = tab.answers
    last.click()
    tab.answered(count)
    assert tab.page.input_value(f"{CARD} [data-argument=degrees] input[type=text]") == "45, 45"


def test_plan_and_parameters_are_told(tab):
    tab.page.click("#tab-explain")
    tab.until(lambda: "spatial: RandomAffine" in tab.page.inner_text("#panel"))
    tab.page.click("#tab-drawn")
    tab.until(lambda: "RandomAffine(scales=" in tab.page.inner_text("#panel"))


def test_window_and_level_are_set_by_dragging_without_a_request(tab):
    canvas = tab.page.locator("canvas[data-row=after][data-plane=axial]")
    box, picture, sent = canvas.bounding_box(), tab.picture("after"), len(tab.requests)
    tab.page.mouse.move(box["x"] + 90, box["y"] + 90)
    tab.page.mouse.down(button="right")
    tab.page.mouse.move(box["x"] + 140, box["y"] + 30, steps=3)
    tab.page.mouse.up(button="right")
    tab.drawn()
    assert tab.picture("after")[40:].mean() > picture[40:].mean() + 5  # a lower level is brighter
    assert len(tab.requests) == sent


def test_crosshairs_are_linked(tab):
    canvas = tab.page.locator("canvas[data-row=before][data-plane=axial]")
    others, sent = [tab.picture(row, "coronal") for row in ("before", "after")], len(tab.requests)
    box = canvas.bounding_box()
    tab.page.mouse.click(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2 + 20)
    tab.drawn()
    for row, before in zip(("before", "after"), others, strict=True):
        assert not np.array_equal(tab.picture(row, "coronal"), before)
    assert len(tab.requests) == sent


def test_left_is_where_the_letters_say(tab):
    tab.page.select_option("#overlay", "")
    count = tab.answers
    tab.page.uncheck(f"{CARD} .switch")
    tab.answered(count)
    tab.page.click("[data-planes=axial]")
    tab.page.uncheck("#points")
    tab.page.locator("[aria-label='axial slice']").press("ArrowRight")
    tab.drawn()

    def side() -> float:
        """Return how far right of the middle the ball of the left is, in shares of the width."""
        bright = np.nonzero(grey(tab.picture("before")) > 225)[1]
        return float(bright.mean() / tab.picture("before").shape[1] - 0.5)

    for _ in range(4):
        tab.page.locator("[aria-label='axial slice']").press("ArrowRight")
    tab.drawn()
    assert side() > 0.03
    tab.page.uncheck("#radiological")
    tab.drawn()
    assert side() < -0.03
    tab.page.check("#points")
    tab.drawn()


def test_an_image_that_the_pipeline_makes_can_be_seen(tab):
    count = tab.answers
    tab.page.fill("#search", "labelstoimage")
    tab.page.keyboard.press("Enter")
    tab.answered(count)
    shown, count = tab.picture("after"), tab.answers
    tab.page.select_option("#image", label="image_from_labels (made)")
    tab.answered(count)
    tab.keep("made")
    assert not np.array_equal(tab.picture("after"), shown)
    count = tab.answers
    tab.page.click("[data-step=RandomLabelsToImage] [data-act=remove]")
    tab.answered(count)
    assert tab.page.locator("#image option").all_inner_texts() == ["t1", "seg"]
    assert tab.page.input_value("#image") == "t1"


def test_points_are_drawn_at_their_planes(tab):
    with_points = tab.picture("before", "sagittal")
    slider = tab.page.locator("[aria-label='sagittal slice']")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowLeft")
    tab.drawn()
    shown = tab.picture("before", "sagittal")
    tab.page.uncheck("#points")
    tab.drawn()
    hidden = tab.picture("before", "sagittal")
    assert 10 < (shown != hidden).any(-1).sum() < 200
    assert not np.array_equal(with_points, shown)


def test_everything_has_a_name_and_is_reached_by_keys(tab):
    tab.page.click("#tab-python")
    tab.page.wait_for_selector("#panel textarea")
    tab.page.locator(f"{CARD} summary").click()
    nameless = tab.page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button, canvas")]
        .filter(each => each.offsetParent && !(each.getAttribute("aria-label") || each.title
          || (each.labels && [...each.labels].some(label => label.textContent.trim()))
          || (each.tagName === "BUTTON" && each.textContent.trim())))
        .map(each => each.outerHTML)"""
    )
    assert nameless == []
    assert tab.page.get_attribute("html", "lang") == "en"
    reached = set()
    tab.page.locator("#image").focus()
    for _ in range(140):
        tab.page.keyboard.press("Tab")
        now = tab.page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
            return [e.tagName, e.getAttribute("aria-label") || e.id || e.textContent,
              e.matches(":focus-visible") && s.outlineStyle !== "none"]; }"""
        )
        if now[0] not in ("BODY", "HTML"):
            assert now[2], f"{now} shows no focus"
            reached.add(now[1])
    assert {
        *("Next seed", "search", "On: 1, RandomAffine", "degrees from", "degrees to"),
        *("axial slice", "Window width", "Pipeline as Python"),
    } <= reached
    assert any("plane, after, slice" in name for name in reached)


def test_arrow_keys_move_the_slice(tab):
    canvas = tab.page.locator("canvas[data-row=after][data-plane=coronal]")
    canvas.focus()
    before = canvas.get_attribute("aria-label")
    assert "coronal plane, after, slice 25 of 48" in before
    canvas.press("ArrowUp")
    canvas.press("PageDown")
    tab.drawn()
    assert "slice 16 of 48" in canvas.get_attribute("aria-label")


@pytest.mark.parametrize("kind", ["anisotropic", "oblique", "flat"])
def test_images_have_their_shape_in_millimetres(chromium, kind):
    size, spacing = (40, 30, 20), (1.0, 2.0, 5.0)
    affine = np.diag([*spacing, 1.0])
    if kind == "oblique":
        affine[:3, :3] = tio.geometry.rotation(np.array([[8.0, -11.0, 14.0]]))[0] * spacing
    if kind == "flat":
        size, affine = (40, 30, 1), np.diag([1.0, 3.0, 1.0, 1.0])
    image = tio.ScalarImage(torch.full((1, *size), 3.0) + torch.rand(1, *size), affine=affine)
    with running(lambda: Session(tio.Subject(image=image))) as (found, _):
        page = chromium.new_page(viewport={"width": 1360, "height": 860})
        tab = Tab(page, found)
        tab.keep(kind)
        seen = page.locator("canvas[data-row=before]").evaluate_all(
            "all => all.map(c => c.dataset.plane)"
        )
        assert seen == (["axial"] if kind == "flat" else ["axial", "coronal", "sagittal"])
        expected = {"axial": (40, 60), "coronal": (40, 100), "sagittal": (60, 100)}
        for plane in seen:
            rows, columns = np.nonzero(grey(tab.picture("before", plane)) > 12)
            high, wide = (np.ptp(np.quantile(each, [0.002, 0.998])) for each in (rows, columns))
            width, height = (40, 90) if kind == "flat" else expected[plane]
            assert wide / high == pytest.approx(width / height, rel=0.08)
        if kind == "oblique":
            assert "oblique" in page.inner_text("#facts")
        assert tab.mistakes + tab.errors == []
        page.close()


def test_text_can_be_read():
    from torchio_gpu.preview import server

    style = (server._STATIC / "style.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style))

    def luminance(name: str) -> float:
        parts = [int(colours[name][n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for text in ("text", "muted", "bad", "accent", "warm"):
        for ground in ("ground", "panel", "raised"):
            ratio = (luminance(text) + 0.05) / (luminance(ground) + 0.05)
            assert ratio > 4.5, (text, ground)  # WCAG 2.2, AA

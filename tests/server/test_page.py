"""The page in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib import resources

import pytest

from minitrain.runs.opened import OpenedModel
from minitrain.server.app import PAGE
from tests.helpers.serving.browser import CHROMIUM, Browser, browsing
from tests.helpers.serving.servers import Running, serving

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

TEXT = "[...document.querySelectorAll('.tokens .t')].map(t => t.textContent).join('')"
IDLE = "document.getElementById('said').textContent === 'Done.'"
READY = "document.getElementById('about').textContent.includes('parameters')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as one:
        yield one


@pytest.fixture
def page(running: Running, browser: Browser) -> Iterator[Browser]:
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(f"{running.server.address}/")
    browser.wait_for(READY)
    yield browser
    assert not browser.complaints
    here = [f"{running.server.address}/", "data:", "about:"]
    assert all(any(address.startswith(place) for place in here) for address in browser.requests)
    running.wait_until_idle()


def write(page: Browser, most: int = 30) -> str:
    page.run(f"document.getElementById('most').value = {most}")
    page.click("#write")
    page.wait_for("document.querySelectorAll('.tokens .t').length")
    page.wait_for(IDLE)
    return str(page.run(TEXT))


@needs_browser
def test_it_writes_and_goes_on_from_another_token(page: Browser) -> None:
    text = write(page)
    assert text.startswith("ROMEO:")
    assert write(page) == text  # the seed is the same
    assert page.run("document.querySelectorAll('.tokens .t.p0, .t.p1, .t.p2, .t.p3, .t.p4, .t.p5').length") == 30
    place = 12  # in the prompt are 7
    page.click(f".t[data-index='{place}']")
    assert page.run(f"document.querySelector('.t[data-index=\"{place}\"]').classList.contains('selected')")
    buttons = "document.querySelectorAll('#token .alternatives button')"
    assert page.run(f"{buttons}.length") >= 12
    page.click("#token .alternatives li:nth-child(3) button")
    page.wait_for(IDLE)
    nodes = "[...document.querySelectorAll('.tokens .t')]"
    assert page.run(f"{nodes}.length") == place + 1 + 30
    assert page.run(f"{nodes}.findIndex(t => t.classList.contains('chosen'))") == place
    new = page.run(TEXT)
    assert new != text
    assert text.startswith(page.run(f"{nodes}.slice(0, {place}).map(t => t.textContent).join('')"))


@needs_browser
def test_the_keyboard_is_enough(page: Browser) -> None:
    page.run("document.getElementById('prompt').focus()")
    page.press("Enter", modifiers=2)
    page.wait_for("document.querySelectorAll('.tokens .t').length")
    page.wait_for(IDLE)
    page.run("document.querySelector('.tokens').focus()")
    for _ in range(3):
        page.press("ArrowRight")
    assert page.run("document.querySelector('.t.selected').dataset.index") == "9"
    count = page.run("document.querySelectorAll('.tokens .t').length")
    page.press("Enter")  # to the alternatives
    assert page.run("document.activeElement.closest('.alternatives') !== null")
    page.press("Tab")
    page.press("Enter")
    page.wait_for(IDLE)
    page.wait_for("document.activeElement.className === 'tokens'")
    assert page.run("document.querySelectorAll('.tokens .t').length") != count


@needs_browser
def test_stop_cancels_on_the_server(running: Running, page: Browser) -> None:
    before = running.ask("GET", "/api/status")[1]["models"]["small"]["tokens"]
    page.run("document.getElementById('most').value = 4000")
    page.click("#write")
    page.wait_for("document.querySelectorAll('.tokens .t').length > 9")
    page.press("Escape")
    page.wait_for(IDLE)
    assert page.run("document.querySelector('.speed').textContent.endsWith('stopped')")
    assert running.wait_until_idle()["small"]["tokens"] - before < 4000


@needs_browser
def test_it_does_not_scroll_while_the_reader_looks_back(page: Browser) -> None:
    page.run("document.getElementById('most').value = 4000")
    page.click("#write")
    box = "document.querySelector('.tokens')"
    page.run(f"Object.assign({box}.style, {{height: '4rem', minHeight: 0}})")  # a few lines fill it
    page.wait_for(f"{box}.scrollTop > 100")
    assert page.run(f"{box}.scrollTop + {box}.clientHeight > {box}.scrollHeight - 60")  # it follows the text
    page.run(f"{box}.scrollTop = 0")
    count = page.run("document.querySelectorAll('.tokens .t').length")
    page.wait_for(f"document.querySelectorAll('.tokens .t').length > {count} + 30")
    assert page.run(f"{box}.scrollTop") == 0
    page.press("Escape")
    page.wait_for(IDLE)


@needs_browser
def test_attention_is_shown(page: Browser) -> None:
    write(page, 10)
    page.click("[value=attention]")
    page.wait_for("document.getElementById('looks').textContent")
    page.click(".t[data-index='8']")
    page.wait_for("document.querySelector('.tokens.attending')")
    shades = page.run("[...document.querySelectorAll('.t')].map(t => Number(t.style.getPropertyValue('--look-by')))")
    assert max(shades[:9]) == pytest.approx(0.6)
    assert not any(shades[9:])
    map_of_head = "document.getElementById('map').toDataURL()"
    before = page.run(map_of_head)
    page.run(
        "(() => { const head = document.getElementById('head'); head.value = '1';"
        " head.dispatchEvent(new Event('change')); })()"
    )
    for _ in range(500):
        if page.run(map_of_head) != before:
            break
        time.sleep(0.02)
    assert page.run(map_of_head) != before
    page.click("[value=probability]")
    assert page.run("document.querySelector('.tokens.attending')") is None


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, True)])
def test_it_fits_a_phone(running: Running, browser: Browser, width: int, dark: bool) -> None:
    browser.complaints.clear()
    browser.open(f"{running.server.address}/", width=width, dark=dark)
    browser.wait_for(READY)
    write(browser)
    browser.click(".t[data-index='9']")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    small = "[...document.querySelectorAll('button, select, input[type=number]')].filter(e => e.offsetParent)"
    assert browser.run(f"{small}.every(e => e.offsetHeight >= 32)")
    assert not browser.complaints


@needs_browser
def test_what_the_server_says_is_shown(page: Browser) -> None:
    page.run("fetch = () => Promise.reject(new TypeError('gone'))")
    page.click("#write")
    page.wait_for("!document.getElementById('problem').hidden")
    assert "does not answer" in page.run("document.getElementById('problem').textContent")


@needs_browser
def test_the_page_asks_for_the_key(browser: Browser) -> None:
    key = "0123456789abcdef-key"
    with serving(key=key) as guarded:
        browser.open(f"{guarded.server.address}/")
        browser.wait_for("!document.getElementById('key-form').hidden")
        browser.run(f"document.getElementById('key').value = '{key}'")
        browser.click("#key-form button")
        browser.wait_for(READY)
        write(browser, 3)
        browser.run("sessionStorage.clear()")
        browser.open("about:blank")
        browser.open(f"{guarded.server.address}/#key={key}")
        browser.wait_for(READY)
        assert browser.run("location.hash") == ""
        browser.open("about:blank")
    browser.complaints.clear()  # the console tells of the answers 401


@needs_browser
def test_texts_of_a_model_are_text(browser: Browser) -> None:
    """Whatever a model writes, nothing of it becomes part of the page."""

    class Markup:
        def encode(self, text: str):  # type: ignore[no-untyped-def]
            import numpy as np

            return np.array([1], np.int32)

        def token_bytes(self) -> list[bytes]:
            return [b"<img src=x onerror=alert(1)>", b"</div><script>alert(1)</script>", b"&lt;"] * 90

        def decode(self, tokens) -> str:  # type: ignore[no-untyped-def]
            return b"".join(self.token_bytes()[token] for token in tokens).decode()

    from tests.helpers.serving.servers import small_model

    model = small_model().model
    with serving(OpenedModel("<b>name</b>", model, Markup())) as running:
        browser.complaints.clear()
        browser.open(f"{running.server.address}/")
        browser.wait_for(READY)
        assert "<script>" in write(browser, 12)
        browser.click(".t[data-index='4']")
        assert browser.run("document.querySelectorAll('img, .tokens script, b').length") == 0
        assert not browser.complaints
        browser.open("about:blank")


def test_the_files_name_nothing_elsewhere() -> None:
    folder = resources.files("minitrain.server") / "page"
    assert {file.name for file in folder.iterdir()} == set(PAGE)
    for name in PAGE:
        content = (folder / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\(|eval\(|innerHTML|style=|onclick", content), name

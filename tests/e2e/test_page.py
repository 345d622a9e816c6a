"""The page in a real browser, on the real service: a click changes the list, and nothing comes from another host."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright
from tests.e2e.running import Running, running

from headrace.data.synthetic import shop
from headrace.pipeline.preparation import prepare

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 860}
KEY = "correct horse"

pytestmark = pytest.mark.browser
if CHROMIUM is None and os.environ.get("CI") != "true":
    pytest.skip("Debian's chromium is missing; apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "dataset"
    events, items = shop(n_users=300, seed=5)
    prepare(events, items=items, out=folder)
    return folder


@pytest.fixture(scope="module")
def service(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    arguments = ["serve", "--history", dataset, "--page", "--port", "0"]
    with running(arguments, tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "CI must have chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that reaches this machine only; a request elsewhere or an error of the page's script fails the test."""
    opened = browser.new_context(viewport=DESKTOP, reduced_motion="reduce")
    strangers: list[str] = []
    errors: list[str] = []

    def only_here(route: Route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    opened.route("**/*", only_here)
    opened.on("weberror", lambda error: errors.append(str(error.error)))
    opened.on("console", lambda told: errors.append(told.text) if "Content Security Policy" in told.text else None)
    yield opened
    opened.close()
    assert strangers == []
    assert errors == []


@pytest.fixture
def page(context: BrowserContext, service: Running) -> Page:
    return opened_page(context, service)


def opened_page(context: BrowserContext, service: Running, path: str = "/") -> Page:
    page = context.new_page()
    page.goto(service.url + path)
    return page


def listed(page: Page) -> list[str]:
    """Return the ids on the list, once it stands still."""
    expect(page.locator("#cards")).to_have_attribute("aria-busy", "false")
    return [str(card.get_attribute("data-id")) for card in page.locator("#cards > li").all()]


def seen(page: Page) -> int:
    return int(page.locator("#fact-seen").inner_text().replace(",", ""))


def user_of(page: Page) -> str:
    return page.locator("#who").input_value()


def stored_events(service: Running, user: str) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{service.url}/v1/users/{user}") as answer:
        events: list[dict[str, object]] = json.load(answer)["events"]
    return events


def click_card(page: Page, place: int) -> None:
    """Click a card and wait for the list that counts it."""
    before = seen(page)
    page.locator("#cards .card").nth(place).click()
    expect(page.locator("#fact-seen")).not_to_have_text(f"{before:,}")
    listed(page)


def widths(page: Page) -> tuple[int, int]:
    page_width, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    return int(page_width), int(window)


def test_a_new_visitors_click_changes_the_list(page: Page) -> None:
    before, counted = listed(page), seen(page)
    assert len(before) == 12
    click_card(page, 2)
    assert seen(page) > counted
    assert listed(page) != before
    expect(page.locator("#history > li")).to_have_count(1)


def test_a_click_is_stored_with_the_answer_that_led_to_it(page: Page, service: Running) -> None:
    item = listed(page)[0]
    click_card(page, 0)
    (event,) = stored_events(service, user_of(page))
    assert event["item_id"] == item
    assert event["recommendation_id"]


def test_each_place_shows_title_category_price_and_reason(page: Page) -> None:
    listed(page)
    for card in page.locator("#cards > li").all():
        assert card.locator(".title strong").inner_text()
        assert card.locator(".title small").inner_text()
        assert re.fullmatch(r"\d+\.\d\d", card.locator(".price").inner_text())
        assert card.locator(".reason").inner_text() in {
            "next for you",
            "goes with what you met",
            "like what you met",
            "you buy this again",
            "popular now",
            "new here",
        }


def test_latency_and_model_are_shown(page: Page) -> None:
    listed(page)
    assert float(page.locator("#fact-latency").inner_text()) > 0
    assert page.locator("#fact-model").inner_text() not in ("", "–")


def test_an_example_user_comes_with_a_history(page: Page) -> None:
    visitor = listed(page)
    option = page.locator("#who optgroup option").first
    option.wait_for(state="attached")
    page.select_option("#who", option.get_attribute("value"))
    expect(page.locator("#history > li").nth(1)).to_be_visible()
    assert listed(page) != visitor


def test_a_user_id_can_be_typed(page: Page) -> None:
    listed(page)
    page.select_option("#who", label="A user id …")
    page.fill("#other-id", "someone/else?")
    page.keyboard.press("Enter")
    expect(page.locator("#list-title")).to_have_text("For user someone/else?")
    click_card(page, 0)
    expect(page.locator("#history > li .line")).to_have_count(1)


def test_a_search_finds_an_item_and_a_click_on_it_counts(page: Page) -> None:
    listed(page)
    title = page.locator("#cards .title strong").first.inner_text()
    page.fill("#search", title)
    found = page.locator("#results button").first
    expect(found.locator("strong")).to_have_text(title)
    counted = seen(page)
    found.click()
    expect(page.locator("#fact-seen")).not_to_have_text(f"{counted:,}")
    expect(page.locator("#history > li strong").first).to_have_text(title)


def test_forget_me_leaves_nothing(page: Page) -> None:
    listed(page)
    click_card(page, 1)
    user = user_of(page)
    page.click("#forget")
    page.click("#forget-dialog button[value=yes]")
    expect(page.locator("#history .empty")).to_be_visible()
    assert user_of(page) != user
    page.select_option("#who", label="A user id …")
    page.fill("#other-id", user)
    page.keyboard.press("Enter")
    expect(page.locator("#list-title")).to_have_text("For you, new visitor")
    expect(page.locator("#history .empty")).to_be_visible()


def test_a_visitor_stays_the_same_after_a_reload(page: Page) -> None:
    listed(page)
    click_card(page, 0)
    user = user_of(page)
    page.reload()
    listed(page)
    assert user_of(page) == user
    expect(page.locator("#history > li .line")).to_have_count(1)


def test_everything_works_from_the_keyboard(page: Page) -> None:
    listed(page)
    counted = seen(page)
    page.locator("#cards .card").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#fact-seen")).not_to_have_text(f"{counted:,}")
    listed(page)
    assert page.evaluate("document.activeElement.classList.contains('card')")
    page.locator("#tab-shop").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#service")).to_be_visible()
    expect(page.locator("#tab-service")).to_be_focused()


def test_every_control_has_a_name(page: Page) -> None:
    listed(page)
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, select')].filter(c =>
            !c.labels?.length && !c.getAttribute('aria-label') && !c.textContent.trim()).map(c => c.outerHTML)"""
    )
    assert unnamed == []


def test_the_service_tab_draws(page: Page) -> None:
    listed(page)
    click_card(page, 0)
    page.click("#tab-service")
    for plot in ("#traffic", "#latency"):
        expect(page.locator(f"{plot} path.stroke").first).to_be_attached()
    expect(page.locator("#tiles dd")).to_have_count(6)
    expect(page.locator("#model dd").first).not_to_be_empty()
    first = page.locator("#traffic path.stroke").first.get_attribute("d")
    expect(page.locator("#traffic path.stroke").first).not_to_have_attribute("d", str(first))


@pytest.mark.parametrize("path", ["/", "/#service"])
def test_a_phone_needs_no_sideways_scroll(context: BrowserContext, service: Running, path: str) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    page.goto(service.url + path)
    listed(page)
    page.wait_for_timeout(1200)
    page_width, window = widths(page)
    assert page_width <= window


def test_light_and_dark_can_be_chosen_and_stay_chosen(page: Page) -> None:
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    page.click("#theme")
    expect(root).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-theme", "dark")


def test_a_service_that_asks_for_a_key_gets_it_from_the_page(
    context: BrowserContext, dataset: Path, tmp_path: Path
) -> None:
    arguments = ["serve", "--history", dataset, "--page", "--port", "0"]
    with running(arguments, tmp_path, HEADRACE_API_KEY=KEY) as locked:
        page = opened_page(context, locked)
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-dialog")).to_be_visible()
        expect(page.locator("#key")).to_have_value("")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        assert len(listed(page)) == 12
        page.close()


def test_a_service_that_is_gone_is_named_and_the_page_goes_on_when_it_returns(
    context: BrowserContext, dataset: Path, tmp_path: Path
) -> None:
    arguments = ["serve", "--history", dataset, "--page", "--port"]
    with running([*arguments, "0"], tmp_path) as first:
        page = opened_page(context, first)
        before = listed(page)
    expect(page.locator("#banner")).to_be_visible()
    expect(page.locator("#banner")).to_contain_text("does not answer")
    page.locator("#cards .card").first.click()
    page.fill("#search", "tea")
    page.click("#tab-service")
    page.click("#tab-shop")
    assert [str(card.get_attribute("data-id")) for card in page.locator("#cards > li").all()] == before
    with running([*arguments, first.url.rsplit(":", 1)[1]], tmp_path):
        expect(page.locator("#banner")).to_be_hidden(timeout=20_000)
        click_card(page, 1)
    page.close()

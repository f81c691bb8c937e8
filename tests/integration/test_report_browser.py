"""Pages of reports in a real browser: nothing runs, nothing is asked for, all is seen."""

from collections.abc import Iterator

import pytest

from tasks.reports import drift_page
from tasks.reports.page import render
from tests import drift_reports, reports
from tests.browser import CHROMIUM, Browser, browser, served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
RECORDS = {
    "/better": reports.beside("better"),
    "/worse": reports.beside("worse"),
    "/alone": reports.alone(),
    "/hostile": reports.hostile(),
    "/largest": reports.largest("\N{SLICE OF PIZZA}" * 100_000),
}
LOOKS = {
    "/drift": drift_reports.drift(),
    "/quiet": drift_reports.quiet(),
    "/changed": drift_reports.changed(),
    "/hostile-drift": drift_reports.hostile(),
    "/largest-drift": drift_reports.largest("\N{SLICE OF PIZZA}" * 100_000),
}
LAID_OUT = """
[...document.querySelectorAll('section')].map(one => {
  const box = one.getBoundingClientRect(), heading = one.querySelector('h1, h2');
  const seen = heading.checkVisibility({opacityProperty: true, visibilityProperty: true});
  return [one.id, seen && box.height > 40 && box.width > 200 && box.left >= 0];
})
"""
TOO_WIDE = """
[...document.querySelectorAll('body *')].filter(one =>
  !one.closest('.scroll') && !one.closest('svg *') && one.checkVisibility()
  && one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
).map(one => one.outerHTML.slice(0, 80))
"""
HEADLINE_ENDS = "document.querySelector('h1').getBoundingClientRect().bottom"
COLOURS = """
['body', 'svg text'].map(one => getComputedStyle(document.querySelector(one)))
  .map((style, number) => number ? style.fill : style.backgroundColor)
"""
SCRIPTS = "document.scripts.length + document.querySelectorAll('iframe, object, embed').length"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    made = {path: render(one, reports.history(one, [1, 3])) for path, one in RECORDS.items()}
    return made | {
        path: drift_page.render(one, drift_reports.looks(one)) for path, one in LOOKS.items()
    }


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("path", [*RECORDS, *LOOKS])
def test_a_page_is_seen_whole_and_asks_for_nothing(
    tab: Browser, pages: dict[str, str], path: str, width: int
) -> None:
    with served(pages) as (address, asked):
        tab.open(address + path, width)
        assert tab.evaluate("innerWidth") == width
        sections = drift_reports.SECTIONS if path in LOOKS else reports.SECTIONS
        if path == "/changed":  # of another encoder there is nothing else to show
            sections = ["verdict", "provenance"]
        assert tab.evaluate(LAID_OUT) == [[section, True] for section in sections]
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate(TOO_WIDE) == []
        assert (
            tab.evaluate("document.querySelector('#verdict h1').getBoundingClientRect().bottom")
            < 400
        )
        assert tab.evaluate(SCRIPTS) == 0
        requests = [one["request"]["url"] for one in tab.told("Network.requestWillBeSent")]
        assert [url for url in requests if not url.startswith("data:")] == [address + path]
        assert asked == [path]
    for told in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
        assert tab.told(told) == []
    assert tab.told("Page.javascriptDialogOpening") == []


def test_the_checks_see_what_a_bad_page_does(tab: Browser) -> None:
    bad = (
        "<meta name=viewport content='width=device-width'><body>"
        "<p style='width: 900px'>wide<img src=/picture.png>"
        "<script>console.error('no'); missing()</script>"
    )
    with served({"/bad": bad}) as (address, asked):
        tab.open(f"{address}/bad", 400)
        assert tab.evaluate("document.documentElement.scrollWidth") > 400
        assert len(tab.evaluate(TOO_WIDE)) == 1
        assert tab.evaluate(SCRIPTS) == 1
        assert {*asked} >= {"/bad", "/picture.png"}
    assert tab.told("Log.entryAdded") != []
    assert tab.told("Runtime.consoleAPICalled") != []
    assert tab.told("Runtime.exceptionThrown") != []


def test_the_policy_stops_what_would_get_through_the_escaping(
    tab: Browser, pages: dict[str, str]
) -> None:
    pushed = "<h1 onclick='document.title = 1'>x</h1><script>document.title = 'run'</script>"
    pushed += "<img src=/picture.png><link rel=stylesheet href=/style.css>"
    page = pages["/better"].replace("<main>", f"<main>{pushed}")
    with served({"/pushed": page}) as (address, asked):
        tab.open(f"{address}/pushed", 1280)
        assert tab.evaluate("document.title") != "run"
        assert asked == ["/pushed"]
    assert len(tab.told("Log.entryAdded")) >= 3


def test_a_dark_page_is_dark(tab: Browser, pages: dict[str, str]) -> None:
    with served(pages) as (address, _):
        tab.open(f"{address}/better", 1280)
        assert tab.evaluate(COLOURS) == ["rgb(251, 251, 249)", "rgb(91, 102, 115)"]
        tab.open(f"{address}/better", 1280, dark=True)
        assert tab.evaluate(COLOURS) == ["rgb(20, 24, 30)", "rgb(154, 165, 179)"]

"""The page in a real browser."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Iterator

import pytest
from selenium.webdriver.common.keys import Keys

from reports import html
from reports.measure import write_stream
from reports.tests import streams as s
from reports.tests.browser import Page, opening, started
from reports.tests.test_golden import GOLDEN
from reports.tests.test_html import artifact, png
from reports.write import judged_stream


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    yield from started()


def opened(driver: Any, folder: Path, records: s.Records) -> Page:
    path = folder / "report.html"
    path.write_text(html.write(judged_stream(s.write(folder, records)), folder))
    return Page(driver, path)


EXCHANGE = [
    s.msg(s.BAD, "state", ns=1_000_000, hex="", fields={"side": "frontend", "state": 1, "name": "Initialising"}),
    s.msg(s.BAD, "state", ns=2_000_000, dir="b2f", hex="", fields={"side": "backend", "state": 4, "name": "Connected"}),
    s.msg(s.BAD, "guest", ns=2_500_000, dir="-", hex="", fields={"call": "open"}),
    s.msg(s.BAD, "req", ns=3_000_000, hex="00112233445566778899aabbccddeeff4142", fields={"op": "DBUF_CREATE", "id": 8, "width": 64}),
    s.msg(s.BAD, "index", ns=3_100_000, dir="b2f", hex="", fields={"name": "rsp_prod", "value": 1}),
    s.msg(s.BAD, "resp", ns=3_500_000, dir="b2f", fields={"op": "DBUF_CREATE", "id": 8, "status": -22}),
]


def records_of(*extra: dict[str, Any]) -> s.Records:
    bad = s.bad()
    check = bad[2] | {"seen": "DBUF_CREATE id 8"}
    return [*s.head(), bad[0], *EXCHANGE, check, *extra, bad[-1], *s.good(), *s.warned(), *s.skipped(), *s.monitored()]


def test_from_the_list_to_the_cause(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    case = page.open_case(f"{s.BAD}-1")
    assert "Ids <are> kept & echoed." in page.text(case, ".requirement") and "displif.h, Response <format>" in page.text(case, ".requirement")
    assert page.text(case, ".check td.fact") == "id 7\nid 9\nDBUF_CREATE id 8"
    marked = page.js("return arguments[0].querySelectorAll('svg.sequence [data-marked]')", case)
    assert len(marked) == 1 and "DBUF_CREATE id 8" in page.text(case, "svg [data-marked]") and "offending step" in page.text(case, "svg [data-marked]")
    assert "ring.id-echoed: expected id 7 or id 9" in page.text(case, "svg [data-check]")
    assert page.text(case, ".repro") == "./displif-cts run --case frontend.ring.bad"
    assert page.complaints() == []


def test_the_diagram_has_every_step_in_its_place(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    case = page.open_case(f"{s.BAD}-1")
    rows = page.js("""return Array.from(arguments[0].querySelectorAll('svg.sequence g'), g => {
        const line = g.querySelector('line'), texts = Array.from(g.querySelectorAll(':scope > text'), t => t.textContent);
        return [texts[0], texts[1] || '', line && +line.getAttribute('x2') > +line.getAttribute('x1')]; })""", case)
    assert rows[:5] == [["0.000", "Initialising", True], ["1.000", "Connected", True], ["1.500", "open", True],
                        ["2.000", "DBUF_CREATE id 8", True], ["2.500", "DBUF_CREATE id 8 status -22", False]]
    page.js("arguments[0].querySelector('.detail input[type=checkbox]').click()", case)
    assert "rsp_prod = 1" in page.text(case, "svg.sequence text")
    assert "frontend: Initialising 0.0 ms" in page.text(case, "svg.timeline ~ *, ul li") and "backend: Connected 1.0 ms" in page.text(case, "ul li")


def test_a_long_exchange_is_drawn_in_pieces(driver: Any, tmp_path: Path) -> None:
    """Each with its lanes' names, no step twice, and short enough for a sheet of paper."""
    many = [s.msg(s.GOOD, ns=1_000_000 * i, fields={"op": "PG_FLIP", "id": i}) for i in range(65)]
    records = [*s.head((s.GOOD,)), s.begin(s.GOOD), *many, s.check(s.GOOD, True), s.verdict(s.GOOD, "pass")]
    page = opened(driver, tmp_path, records)
    case = page.open_case(f"{s.GOOD}-1")
    pieces = page.js("return Array.from(arguments[0].querySelectorAll('svg.sequence'), e => [e.querySelectorAll('g').length, e.textContent.includes('backend'), +e.getAttribute('height')])", case)
    assert [piece[:2] for piece in pieces] == [[40, True], [25, True]] and all(height < 1100 for _, _, height in pieces)


def test_failures_of_one_requirement_stand_under_it_together(driver: Any, tmp_path: Path) -> None:
    more = [s.check(s.BAD, False) | {"seen": f"id {number}"} for number in (10, 11)]
    page = opened(driver, tmp_path, records_of(*more, s.check(s.BAD, False, "wire.reserved-zero")))
    case = page.open_case(f"{s.BAD}-1")
    assert page.text(case, ".detail h3").splitlines()[:2] == ["Requirement not kept 3 times", "Requirement not kept"]
    assert page.text(case, ".check td.seen").splitlines() == ["DBUF_CREATE id 8", "id 10", "id 11", "id <8>"]


def test_the_kernels_new_lines_that_a_check_cites_are_marked(driver: Any, tmp_path: Path) -> None:
    log = s.msg(s.BAD, "log", dir="-", hex="", fields={"source": "guest kernel", "text": "a line\nWARNING: <here>\nanother"})
    page = opened(driver, tmp_path, records_of(log, s.check(s.BAD, False, "wire.reserved-zero") | {"seen": "WARNING: <here>"}))
    case = page.open_case(f"{s.BAD}-1")
    assert page.text(case, "pre.log mark") == "▶ guest kernel: WARNING: <here>"
    assert page.text(case, "pre.log").splitlines() == ["guest kernel: a line", "▶ guest kernel: WARNING: <here>", "guest kernel: another"]


@pytest.mark.parametrize("name", ["security", "compare"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_views_of_several_runs_open_and_can_be_read(driver: Any, tmp_path: Path, name: str, scheme: str) -> None:
    """No policy refuses their style, nothing sticks out, and each tone stands out from the ground."""
    golden = (GOLDEN / name / "two-runs.html").read_text().replace("(page.css)", (html.PAGE / "page.css").read_text())
    (tmp_path / "view.html").write_text(golden)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    try:
        driver.get((tmp_path / "view.html").as_uri())
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
        ground = luminance(driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
        assert (ground < 0.2) == (scheme == "dark")
        colors = driver.execute_script("return Array.from(document.querySelectorAll('h1, h2, td, th, code'), e => getComputedStyle(e).color)")
        assert len(set(colors)) > 1
        for color in set(colors):
            bright, dark = sorted((luminance(color), ground), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, color
        assert driver.execute_script("return Array.from(document.querySelectorAll('h1, main, header, th:not([scope])'), e => e.tagName)") == ["HEADER", "H1", "MAIN"]
        assert [entry["message"] for entry in driver.get_log("browser")] == []
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_octets_are_shown_on_demand(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    case = page.open_case(f"{s.BAD}-1")
    assert "0000  00 11" not in page.text(case, "pre")
    page.js("for (let round = 0; round < 2; round++) arguments[0].querySelectorAll('.detail details').forEach(e => { e.open = true; })", case)
    page.driver.execute_async_script("setTimeout(arguments[0], 50)")
    page.js("arguments[0].querySelectorAll('.detail details details').forEach(e => { e.open = true; })", case)
    page.driver.execute_async_script("setTimeout(arguments[0], 50)")
    assert "0000  00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff  ..\"3DUfw........\n0010  41 42" in page.text(case, "pre")
    assert "width" in page.text(case, "th")


@pytest.mark.parametrize("name, value, wanted", [
    ("label", "unexpected failure", {s.BAD, s.MONITOR}), ("group", "bus", {s.WARN, s.SKIP}), ("level", "robust", set()),
    ("text", "ring GOOD", {s.GOOD}), ("role", "frontend", {s.GOOD, s.BAD, s.WARN, s.SKIP, s.MONITOR}),
])
def test_filters(driver: Any, tmp_path: Path, name: str, value: str, wanted: set[str]) -> None:
    page = opened(driver, tmp_path, records_of())
    page.js("""const field = document.forms[0].elements[arguments[0]];
        if (field.tagName === 'SELECT' && !Array.from(field.options).some(o => o.value === arguments[1])) field.add(new Option(arguments[1]));
        field.value = arguments[1]; field.dispatchEvent(new Event('input', {bubbles: true}))""", name, value)
    assert set(page.shown()) == {f"{case}-1" for case in wanted}
    assert page.js("return document.forms[0].elements.shown.value") == f"{len(wanted)} of 5"


def test_the_keyboard_reaches_everything(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    focused = lambda: page.js("return document.activeElement.closest('details.case')?.id || document.activeElement.name")
    body = driver.find_element("tag name", "body")
    body.send_keys("n")
    assert focused() == f"{s.MONITOR}-1"
    driver.switch_to.active_element.send_keys("j")
    assert focused() == f"{s.BAD}-1"
    driver.switch_to.active_element.send_keys("j")
    driver.switch_to.active_element.send_keys("k")
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.js("return document.getElementById(arguments[0]).open", f"{s.BAD}-1")
    driver.switch_to.active_element.send_keys("/")
    assert focused() == "text"
    driver.switch_to.active_element.send_keys("j")
    assert page.js("return document.forms[0].elements.text.value") == "j"


def test_a_link_to_a_case_opens_it(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    page.js("location.hash = arguments[0]", f"{s.GOOD}-1")
    page.open_case(f"{s.GOOD}-1")
    page.js("document.querySelector(`#surprises ~ section a[href='#${arguments[0]}']`).click()", f"{s.BAD}-1")
    driver.execute_async_script("""const [id, done] = arguments, element = document.getElementById(id);
        (function wait() { element.querySelector(".repro") ? done() : setTimeout(wait, 5); })();""", f"{s.BAD}-1")
    assert page.js("return document.getElementById(arguments[0]).open", f"{s.BAD}-1")
    assert page.complaints() == []


def test_the_shares_on_top_add_up_and_every_link_of_the_page_leads_somewhere(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    results = page.js("return Array.from(document.querySelector('.share').querySelectorAll('li strong'), e => Number(e.textContent))")
    assert sum(results) == len(page.shown()) == 5
    grows = page.js("return Array.from(document.querySelector('.share .bar').children, e => Number(e.style.flexGrow))")
    assert grows == results  # inline styles pass the page's policy
    assert page.js("return Array.from(document.querySelectorAll('a[href^=\\'#\\']')).filter(e => !document.getElementById(e.hash.slice(1))).map(e => e.hash)") == []
    assert page.js("return document.querySelectorAll('nav a').length") >= 4 and page.complaints() == []


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_sticks_out_of_a_narrow_window(driver: Any, tmp_path: Path, width: int) -> None:
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    try:
        page = opened(driver, tmp_path, records_of(artifact(tmp_path)))
        page.open_case(f"{s.BAD}-1")
        assert page.js("return document.documentElement.scrollWidth") <= width
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_and_roles_for_screen_readers(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of(artifact(tmp_path)))
    page.open_case(f"{s.BAD}-1")
    assert page.js("return document.documentElement.lang") == "en"
    nameless = page.js("""return Array.from(document.querySelectorAll('input, select, button, img, svg, canvas')).filter(e =>
        !(e.closest('label') || e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('alt'))).map(e => e.outerHTML)""")
    assert nameless == []
    assert page.js("return Array.from(document.querySelectorAll('h1, main, header, [role=search], th:not([scope])'), e => e.tagName)") == ["HEADER", "H1", "MAIN", "FORM"]
    assert "offending: DBUF_CREATE id 8" in page.js("return document.querySelector('svg.sequence').getAttribute('aria-label')")


def luminance(color: str) -> float:
    parts = [int(word) / 255 for word in color[color.index("(") + 1:color.index(")")].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tone_can_be_read_in_both_schemes(driver: Any, tmp_path: Path, scheme: str) -> None:
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        page = opened(driver, tmp_path, records_of())
        colors = page.js("""return ['good', 'bad', 'known', 'warn', 'infra', 'idle', 'soft'].map(tone => {
            const e = document.createElement('span'); e.className = tone; document.body.append(e); return getComputedStyle(e).color; })""")
        ground = luminance(page.js("return getComputedStyle(document.body).backgroundColor"))
        assert (ground < 0.2) == (scheme == "dark")
        for color in colors:
            bright, dark = sorted((luminance(color), ground), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, color  # WCAG 2.1, 1.4.3
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_bar_of_the_timeline_holds_its_name(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    case = page.open_case(f"{s.BAD}-1")
    assert page.js("return Array.from(arguments[0].querySelectorAll('svg.timeline rect'), e => e.getBoundingClientRect().height)", case) == [26, 26]


def test_print_leaves_the_controls_out_and_keeps_what_is_open(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    case = page.open_case(f"{s.BAD}-1")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.js("return getComputedStyle(document.querySelector('.filters')).display") == "none"
        assert page.js("return arguments[0].querySelector('svg.sequence').getBoundingClientRect().height", case) > 100
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_printed_case_begins_where_the_list_is(driver: Any, tmp_path: Path) -> None:
    """An open case is longer than a sheet: kept whole it would leave half of one empty."""
    page = opened(driver, tmp_path, records_of())
    case = page.open_case(f"{s.BAD}-1")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        inside = "return getComputedStyle(arguments[0]).breakInside"
        assert page.js(inside, case) == "auto" and page.js(inside, page.js("return document.getElementById(arguments[0])", f"{s.GOOD}-1")) == "avoid-page"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("expected, wanted", [(b"\x10\x20\x30", "no pixel differs"), (b"\x10\x20\x31", "6 of 6 pixels differ, from 0,0 to 2,1")])
def test_pictures_are_compared(driver: Any, tmp_path: Path, expected: bytes, wanted: str) -> None:
    page = opened(driver, tmp_path, records_of(artifact(tmp_path, data=png(3, 2)),
                                               artifact(tmp_path, "screen.expected.png", png(3, 2, expected))))
    case = page.open_case(f"{s.BAD}-1")
    assert page.driver.execute_async_script("""const [e, done] = arguments;
        (function wait() { const t = e.querySelector('.difference').textContent; t === 'comparing…' ? setTimeout(wait, 5) : done(t); })();""", case) == wanted
    assert page.text(case, "figcaption").splitlines()[:2] == ["expected", "displayed"]
    assert page.js("return arguments[0].querySelector('.screens').compareDocumentPosition(arguments[0].querySelector('svg.sequence'))", case) == 4  # before it


def test_a_message_that_is_no_json_is_shown_as_it_is(driver: Any, tmp_path: Path) -> None:
    path = s.write(tmp_path, records_of())
    head = path.read_bytes().replace(b'"op":"DBUF_CREATE","id":8,"width":64', b'"op":"DBUF_CREATE",,,')
    head = head[:head.rindex(b"\n", 0, -1) + 1]
    end = s.rec("end", counts={}, sha256=hashlib.sha256(head).hexdigest(), seq=head.count(b"\n"))
    path.write_bytes(head + json.dumps(end).encode() + b"\n")
    (tmp_path / "report.html").write_text(html.write(judged_stream(path), tmp_path))
    page = Page(driver, tmp_path / "report.html")
    assert '"op":"DBUF_CREATE",,,' in page.text(page.open_case(f"{s.BAD}-1"), "svg title")
    assert page.complaints() == []


def test_what_the_bench_measures_of_a_page(driver: Any, tmp_path: Path) -> None:
    page = opened(driver, tmp_path, records_of())
    took = opening(driver, tmp_path / "report.html")
    assert 0 < took.usable < took.drawn and took.processor > 0
    assert page.js("return document.documentElement.dataset.ready") == "yes"


@pytest.mark.full
def test_a_large_run_opens(driver: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2,000 cases, 200 MB of stream: how long the browser takes is printed, and never judged."""
    write_stream(tmp_path / "stream.jsonl", 2000, messages=330)
    (tmp_path / "report.html").write_text(html.write(judged_stream(tmp_path / "stream.jsonl"), tmp_path))
    page = Page(driver, tmp_path / "report.html")
    ready, load = page.js("const t = performance.getEntriesByType('navigation')[0]; return [t.domContentLoadedEventEnd, t.loadEventEnd]")
    case = page.open_case("frontend.bench-0.case-0-1")
    assert "DBUF_CREATE id 7" in page.text(case, ".check") and len(page.shown()) == 2000 and page.complaints() == []
    size, stream = ((tmp_path / name).stat().st_size for name in ("report.html", "stream.jsonl"))
    assert stream >= 200e6
    with capsys.disabled():
        print(f"\n2,000 cases, stream of {stream / 1e6:.0f} MB, page of {size / 1e6:.1f} MB: usable after {ready:.0f} ms, loaded after {load:.0f} ms")

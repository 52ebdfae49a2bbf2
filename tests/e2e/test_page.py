"""The page at `/` in a real browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hive_expert.catalog.checks import Check, remember_check
from tests.e2e.browser import Page, browser
from tests.e2e.conftest import Server
from tests.e2e.synthetic import HOSTILE

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

QUESTION = "Find all users older than 25. Schema: users(id, name, age)"


@pytest.fixture(scope="module")
def page(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        tab.look(width=1280, dark=False)
        tab.open(server.url)
        tab.wait("document.querySelectorAll('#expert-list h3').length > 3")
        yield tab


KEEP_BODIES = """
(() => {
  window.bodies = [];
  const real = window.fetch;
  window.fetch = (path, options) => {
    if (path === '/v1/chat/completions') window.bodies.push(options.body);
    return real(path, options);
  };
})()
"""
"""What the chat sends from here on."""

REFUSE_ONCE = """
(() => {
  const real = window.fetch;
  window.fetch = (path, options) => {
    if (path !== '/v1/jobs/events') return real(path, options);
    window.fetch = real;
    const error = { error: { message: 'this key is wrong' } };
    return Promise.resolve(new Response(JSON.stringify(error), { status: 401 }));
  };
})()
"""
"""The next time that the page asks for batches, it may not."""


def answered(page: Page) -> None:
    """Until the last answer has come to its end."""
    page.wait("document.getElementById('stop').hidden")


def test_it_shows_who_is_served_and_who_is_not(page: Page) -> None:
    page.wait("document.getElementById('status').textContent.startsWith('serving smollm2')")
    page.click("#expert-list summary")
    experts = page.text("#expert-list")
    assert "expert-sql" in experts
    assert "Test publisher" in experts
    assert "claims" in experts
    assert "not served" in experts
    assert "broken-unsigned.expert" in experts


def test_it_shows_what_checks_found(
    page: Page, server: Server, publisher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVE_HOME", str(publisher))
    digests = {
        entry["id"]: entry["digest"].removeprefix("sha256:")
        for entry in httpx.get(f"{server.url}/v1/experts").json()["data"]
        if entry.get("digest")
    }
    held = Check(
        reproduced=True, score=0.83, low=0.79, high=0.87, cases=24, total=362, base="b",
        date="2026-03-01", unjudged=("win_rate_vs_base",),
    )  # fmt: skip
    broken = held.model_copy(update={"reproduced": False, "score": 0.1, "broken": (HOSTILE,)})
    remember_check(digests["expert-sql"], held)
    remember_check(digests["expert-json"], broken)
    page.wait("document.querySelectorAll('#expert-list .held').length === 1")
    experts = page.text("#expert-list")
    assert "reproduced: 83 % here (79 % to 87 %; 24 of 362 cases, 2026-03-01)" in experts
    assert "not looked at: win_rate_vs_base" in experts
    assert "claim not reproduced: 10 % here" in experts
    assert HOSTILE in experts


def test_a_chat_streams_and_tells_who_answered_and_why(page: Page) -> None:
    page.fill("#message", QUESTION)
    page.press("Enter")
    page.wait("document.querySelector('.turn.model .said')?.textContent.length > 0")
    answered(page)
    assert page.text(".turn.model:last-child .who").startswith("expert-sql@")
    assert "SELECT" in page.text(".turn.model:last-child .said")
    why = page.text(".turn.model:last-child .why")
    assert "expert-sql is right with probability" in why
    assert "first after" in why


def test_the_base_can_be_chosen_and_what_was_said_is_kept(page: Page) -> None:
    page.evaluate("document.getElementById('model').value = ''")
    page.click("#chat-form summary")
    page.fill("#longest", "8")
    page.fill("#message", "Tell me of the sea, in many words.")
    page.press("Enter")
    page.wait("document.querySelectorAll('.turn.model').length === 2")
    answered(page)
    assert page.text(".turn.model:last-child .who") == "base model"
    why = page.text(".turn.model:last-child .why")
    assert "8 tokens" in why
    assert "cut off" in why
    assert page.evaluate("document.querySelectorAll('.turn').length") == 4
    page.evaluate("document.getElementById('longest').value = ''")
    page.click("#chat-form summary")
    page.evaluate("document.getElementById('model').value = 'auto'")


def test_an_answer_can_be_stopped(page: Page) -> None:
    page.evaluate("document.getElementById('model').value = ''")
    page.fill("#message", "Tell me a very long story about a ship, in many chapters.")
    page.press("Enter")
    page.wait("document.querySelectorAll('.turn.model').length === 3")
    page.wait("document.querySelector('.turn.model:last-child .said').textContent.length > 20")
    page.click("#stop")
    answered(page)
    assert "stopped" in page.text(".turn.model:last-child .why")
    page.evaluate("document.getElementById('model').value = 'auto'")


def test_clear_forgets_the_answer_that_is_on_its_way_too(page: Page) -> None:
    page.evaluate("document.getElementById('model').value = ''")
    page.fill("#message", "Tell me a very long story about a whale, in many chapters.")
    page.press("Enter")
    page.wait("document.querySelectorAll('.turn.model').length === 4")
    page.wait("document.querySelector('.turn.model:last-child .said').textContent.length > 20")
    page.click("#clear")
    answered(page)
    assert page.evaluate("document.querySelectorAll('.turn').length") == 0
    page.evaluate(KEEP_BODIES)
    page.evaluate("document.getElementById('longest').value = '2'")
    page.fill("#message", "Say hello.")
    page.press("Enter")
    page.wait("document.querySelectorAll('.turn.model').length === 1")
    answered(page)
    (sent,) = (json.loads(body) for body in page.evaluate("window.bodies"))
    assert [message["content"] for message in sent["messages"]] == ["Say hello."]
    page.evaluate("document.getElementById('longest').value = ''")
    page.evaluate("document.getElementById('model').value = 'auto'")


def test_a_route_is_explained(page: Page) -> None:
    page.fill("#route-text", QUESTION)
    page.click("#route-form button")
    page.wait("document.querySelector('#route-result .chosen')?.textContent === 'expert-sql'")
    assert "probability" in page.text("#route-result").lower()
    assert page.evaluate("document.querySelectorAll('#route-result tbody tr').length") >= 2


def test_an_expert_is_loaded_pinned_and_unloaded(page: Page) -> None:
    def press(verb: str) -> None:
        page.click(f"button[aria-label^='{verb} expert-ia3']")
        page.wait(f"document.getElementById('experts-message').textContent.endsWith('{verb} done')")

    def place() -> str:
        heading = "[...document.querySelectorAll('#expert-list h3')]"
        return str(
            page.evaluate(
                f"{heading}.find(node => node.textContent === 'expert-ia3').parentElement.innerText"
            )
        )

    page.wait("document.querySelector(\"button[aria-label^='pin expert-ia3']\") !== null")
    press("pin")
    assert "pinned" in place()
    press("unpin")
    press("unload")
    assert "disk" in place()
    press("load")
    assert "slot" in place() or "cpu" in place()


def test_batches_are_shown_as_they_go_and_can_be_deleted(page: Page, server: Server) -> None:
    body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "hello"}]}
    request = {"method": "POST", "url": "/v1/chat/completions", "body": body | {"max_tokens": 2}}
    lines = "".join(json.dumps({"custom_id": f"r{n}", **request}) + "\n" for n in range(3))
    file = server.client.files.create(file=("in.jsonl", lines.encode()), purpose="batch")
    batch = server.client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"name": HOSTILE},
    )
    button = f"button[aria-label='delete of {batch.id}']"
    page.wait(f"""document.querySelector("{button}") !== null""")  # there may be batches of others
    assert "3 answered, 0 failed, of 3" in page.text("#job-list")
    assert HOSTILE in page.text("#job-list")
    assert page.evaluate("document.querySelectorAll('#job-list img, #job-list script').length") == 0
    page.click(button)
    page.wait("document.getElementById('jobs-message').textContent.endsWith('delete done')")
    assert HOSTILE not in page.text("#job-list")


def test_what_failed_is_not_shown_beside_batches_that_come(page: Page) -> None:
    message = "document.getElementById('jobs-message').textContent"
    page.evaluate(REFUSE_ONCE)
    page.evaluate("document.getElementById('key-form').requestSubmit()")
    page.wait(f"{message}.startsWith('this key is wrong')")
    page.wait(f"{message} === ''")


def test_live_figures_are_drawn(page: Page) -> None:
    page.wait("document.querySelector('#ttft-value').textContent.endsWith('ms')")
    page.wait("document.querySelectorAll('#speed-chart polyline').length === 1")


def test_nothing_of_a_package_is_read_as_html(page: Page) -> None:
    assert HOSTILE in page.text("#expert-list")
    assert page.evaluate("document.title") == "hive-expert"
    assert (
        page.evaluate("document.querySelectorAll('#expert-list img, #expert-list script').length")
        == 0
    )
    assert page.evaluate("typeof window.owned") == "undefined"


@pytest.mark.parametrize(
    "attempt",
    [
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        "document.body.setAttribute('onclick', 'window.owned = 1')",
        "document.createElement('script').text = 'window.owned = 1'",
        "setTimeout('window.owned = 1')",
    ],
)
def test_the_policy_refuses_markup_and_code_even_from_our_own_scripts(
    page: Page, attempt: str
) -> None:
    """As if a mistake of ours had let it through."""
    thrown = page.evaluate(
        f"(() => {{ try {{ {attempt}; return '' }} catch (error) {{ return error.name }} }})()"
    )
    assert thrown in ("TypeError", "EvalError")
    assert page.evaluate("typeof window.owned") == "undefined"


def test_everything_comes_from_this_server(page: Page, server: Server) -> None:
    asked = [
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) > 5
    assert {url for url in asked if not url.startswith(server.url)} == set()


def test_the_page_has_no_errors_of_its_own(page: Page) -> None:
    thrown = [e for e in page.events if e["method"] == "Runtime.exceptionThrown"]
    assert thrown == []


def test_every_field_and_button_has_a_name_and_the_keyboard_reaches_it(page: Page) -> None:
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea, button')].filter(node =>"
        " !(node.labels?.length || node.getAttribute('aria-label') || node.textContent.trim()))"
        ".map(node => node.outerHTML)"
    )
    assert unnamed == []
    page.evaluate("document.activeElement.blur()")
    page.press("Tab")
    reached = set()
    fields = "a, button, input, select, textarea, summary"
    for _ in range(page.evaluate(f"document.querySelectorAll('{fields}').length") + 5):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        page.press("Tab")
    assert {"message", "model", "send", "route-text", "SUMMARY"} <= reached


CONTRAST = """
(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const linear = (v) => (v <= 10 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)|transparent/.test(color)) return rgb(color);
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('p, h1, h2, h3, span, strong, button, label, li, th, td,'
      + ' summary, figcaption, .who, .said')]
    .filter((node) => node.checkVisibility() && node.textContent.trim() && !node.disabled)
    .map((node) => {
      const [a, b] = [rgb(getComputedStyle(node).color), ground(node)].map(light);
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return [ratio, node.className, node.textContent.slice(0, 30)];
    })
    .filter(([ratio]) => ratio < 4.5);
})()
"""
"""Texts whose contrast is below what WCAG 2 asks for (AA)."""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_in_light_and_dark_wide_and_narrow(
    page: Page, width: int, dark: bool, tmp_path: Path
) -> None:
    page.look(width=width, dark=dark)
    page.evaluate("new Promise(done => setTimeout(done, 400))")
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    folder = Path(os.environ.get("HIVE_SCREENSHOTS", tmp_path))
    file = folder / f"page-{'dark' if dark else 'light'}-{width}.png"
    page.screenshot(file)
    assert file.stat().st_size > 20_000
    page.look(width=1280, dark=False)


def test_the_files_are_served_under_a_strict_policy(server: Server) -> None:
    for path in ("/", "/page/app.js", "/page/style.css"):
        response = httpx.get(f"{server.url}{path}")
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    for path in ("/page/absent.js", "/page/..%2f..%2fstate.py", "/page/"):
        assert httpx.get(f"{server.url}{path}").status_code == 404

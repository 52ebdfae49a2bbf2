"""The page's files hold to their own rules."""

from __future__ import annotations

import re

from fastapi import FastAPI
from fastapi.testclient import TestClient

from hive_expert.serving import page_api
from hive_expert.serving.page_api import files

SCRIPTS = {name: content.decode() for name, (content, _) in files().items() if name.endswith(".js")}


def test_every_file_the_page_names_is_there() -> None:
    html = files()["index.html"][0].decode()
    named = set(re.findall(r'(?:href|src)="/page/([^"]+)"', html))
    for script in SCRIPTS.values():
        named |= set(re.findall(r'from "\./([^"]+)"', script))
    assert named | {"index.html"} == set(files())


def test_nothing_makes_html_of_text() -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|srcdoc|style="
    for name, script in SCRIPTS.items():
        assert not re.search(ways, script), name


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    html = files()["index.html"][0].decode()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", html)
    for name, (content, _) in files().items():
        outside = re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"')]+", content.decode())
        assert outside == [], name


def test_every_id_a_script_asks_for_is_on_the_page() -> None:
    html = files()["index.html"][0].decode()
    ids = set(re.findall(r'\bid="([^"]+)"', html))
    for name, script in SCRIPTS.items():
        assert set(re.findall(r'\$\("([^"]+)"\)', script)) <= ids, name


def test_files_are_served_with_their_type_and_policy() -> None:
    app = FastAPI()
    app.include_router(page_api.router)
    client = TestClient(app)
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/page/app.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/page/absent.js").status_code == 404

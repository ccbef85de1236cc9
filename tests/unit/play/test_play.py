"""The page of ``migsim play``: its server, and the page in a real browser."""

from __future__ import annotations

import json
import shutil
import threading
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from migsim.errors import ChannelError, ParameterError
from migsim.play import PlayServer, Wish, play_migration
from migsim.play.answers import CHOICES, RANGES

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SMALL = "ram_mib=64&working_set_mib=16&bandwidth_mib=32&rate=1000"


@pytest.fixture(scope="module")
def server():
    with PlayServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, host=None):
    connection = HTTPConnection("127.0.0.1", urlsplit(server.url).port, timeout=60)
    try:
        connection.request("GET", path, headers={} if host is None else {"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_page_needs_nothing_from_elsewhere(server):
    status, page = ask(server, "/")
    assert status == 200
    text = page.decode()
    assert "http://" not in text.replace(server.url, "")
    assert "https://" not in text


def test_every_control_has_a_range_and_a_value_in_it(server):
    controls = json.loads(ask(server, "/api/controls")[1])
    assert set(controls["ranges"]) | set(controls["choices"]) == set(controls["values"])
    for name, (low, high) in controls["ranges"].items():
        assert low <= controls["values"][name] <= high


def test_a_migration_is_told_in_full(server):
    status, body = ask(server, f"/api/migration?{SMALL}")
    answer = json.loads(body)
    assert (status, answer["status"]) == (200, "completed")
    assert len(answer["heat"]) == len(answer["samples"])
    assert answer["stop"]["end_s"] > answer["stop"]["start_s"]
    assert answer["passes"][0]["name"] == "pass 1"
    assert ask(server, f"/api/migration?{SMALL}") == (status, body)


@pytest.mark.parametrize(
    "query",
    ["ram_mib=63", "ram_mib=x", "ram_mib=", "rate=-1", "mode=cpr-exec", "what=1", "ram_mib=9" * 99]
    + [f"{name}={high + 1}" for name, (_, high) in RANGES.items()],
)
def test_wishes_out_of_range_are_refused(server, query):
    status, body = ask(server, f"/api/migration?{query}")
    assert status == 400
    assert json.loads(body)["error"]


def test_other_pages_and_other_hosts(server):
    assert ask(server, "/etc/passwd")[0] == 404
    assert ask(server, "/../migsim/play/server.py")[0] == 404
    assert ask(server, "/", host="example.org:80")[0] == 403


def test_a_taken_port_is_an_error(server):
    with pytest.raises(ChannelError):
        PlayServer(urlsplit(server.url).port)


@pytest.mark.parametrize("mode", CHOICES["mode"])
def test_shared_ram_stays_where_it_is(mode):
    wish = Wish.of({"ram_mib": "64", "mode": mode, "shared": "1"})
    recording = play_migration(wish)
    assert recording.status == "completed"
    assert recording.samples[-1].transferred_bytes < 10_000


def test_auto_converge_throttles():
    wish = Wish(ram_mib=64, working_set_mib=32, rate=40_000, bandwidth_mib=16, throttle=1)
    recording = play_migration(wish)
    assert max(one.throttle_percent for one in recording.samples) > 0


def test_only_known_names():
    with pytest.raises(ParameterError):
        Wish.of({"__class__": "1"})


@pytest.mark.slow
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromedriver here")
def test_in_a_browser(server, tmp_path):
    selenium = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    for word in (*quiet, "--disable-component-update", "--disable-sync", "--no-first-run"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={tmp_path}")
    browser = selenium.Chrome(options=options, service=Service(DRIVER))
    try:
        wait = WebDriverWait(browser, 120)
        browser.get(server.url)
        played = "return document.body.dataset.played"
        wait.until(lambda b: b.execute_script(played) == "completed")
        first = browser.find_element(By.ID, "verdict").text
        assert first.startswith("Over in ")
        browser.find_element(By.CSS_SELECTOR, "option[value=cpr-reboot]").click()
        browser.find_element(By.NAME, "shared").click()
        browser.execute_script("document.getElementById('play').scrollIntoView()")
        browser.find_element(By.ID, "play").click()
        verdict = lambda b: b.find_element(By.ID, "verdict").text  # noqa: E731
        wait.until(lambda b: verdict(b) != first and b.execute_script(played) == "completed")
        assert "stood still" in verdict(browser)
        assert browser.find_element(By.ID, "error").text == ""
        assert browser.get_log("browser") == []
    finally:
        browser.quit()

"""The live page in a real headless Chromium, on the real server and stream, with a made-up installation behind it."""

import aiohttp

from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from tests.support.browser import browsing
from tests.support.busy_board import busy_board, crowd

CROWD = 10_000
CONTRAST = """
(() => {
  const seen = (c) => { const n = c.match(/[\\d.]+/g).map(Number); return n.length > 3 && n[3] === 0 ? null : n.slice(0, 3); };
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const under = (e) => { for (; e; e = e.parentElement) { const c = seen(getComputedStyle(e).backgroundColor); if (c) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('h1, h2, dt, dd, th, td, .tag, .faint, p, button, small, strong')) {
    if (!e.textContent.trim() || !e.offsetParent) continue;
    const [a, b] = [light(seen(getComputedStyle(e).color)), light(under(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return bad;
})()
"""  # noqa: E501


async def test_the_page_shows_a_request_appear_move_and_end_without_a_reload(tmp_path):
    async with browsing(tmp_path) as tab, busy_board(Settings()) as made:
        made.fill()
        await tab.look(1600)
        await tab.open(made.address + "/")
        await tab.until("document.querySelectorAll('#open li').length === 30")
        await tab.value("window.unchanged = true")
        made.plan("fresh", at=now_ms() + 5_000, running=2)
        await tab.until("document.querySelector('#open [data-id=fresh]')")
        await tab.value("document.getElementById('wanted').value = 'fresh'; document.getElementById('wanted').focus()")
        await tab.press("Enter")
        await tab.until("document.querySelectorAll('#request .task').length === 4")
        assert await tab.value("document.activeElement.id") == "detail"
        made.say("fresh", "read", "Dear <b>Ann</b>, ")
        made.say("fresh", "read", "you are right.", start=17)
        await tab.until("document.getElementById('request').innerText.includes('Dear <b>Ann</b>, you are right.')")
        made.move("fresh", "read", "completed", now_ms())
        await tab.until("document.querySelector('#request .tag.completed')")
        made.answer("fresh", at=now_ms() + 60_000, lost_runs=1)
        await tab.until("document.querySelector('#answered [data-id=fresh]')")
        await tab.until("document.getElementById('request').innerText.includes('critical path')")
        assert "runs lost with their workers: 1" in await tab.value("document.getElementById('request').innerText")
        assert await tab.value("document.querySelector('#open [data-id=fresh]')") is None
        assert await tab.value("window.unchanged") is True
        assert tab.errors == []


async def test_it_fits_both_widths_and_is_legible_in_both_themes(tmp_path):
    async with browsing(tmp_path) as tab, busy_board(Settings()) as made:
        made.fill()
        for width in (390, 1600):
            for dark in (False, True):
                await tab.look(width, dark=dark)
                await tab.open(made.address + "/")
                await tab.until("document.querySelectorAll('#open li').length > 3")
                await tab.until("document.querySelectorAll('#flow text').length > 9")
                assert await tab.value("document.documentElement.scrollWidth") == width
                assert await tab.value(CONTRAST) == []
                assert await tab.value("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        unnamed = "[...document.querySelectorAll('button, input, [tabindex=\"0\"]')].filter((e) => !e.innerText && !e.labels?.length && !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby')).length"  # noqa: E501
        assert await tab.value(unnamed) == 0
        assert tab.errors == []


async def test_ten_thousand_live_requests_keep_it_quick(tmp_path):
    async with browsing(tmp_path) as tab, busy_board(Settings()) as made:
        made.fill(CROWD)
        await tab.look(1600)
        await tab.open(made.address + "/")
        await tab.until("document.getElementById('tiles').innerText.includes('10.0k')")
        before = await tab.value("hocketStats.updates")
        for n in range(CROWD - 200, CROWD):  # everything that is shown changes
            made.move(crowd(n), "answer", "assigned", now_ms())
        await tab.until(f"hocketStats.updates > {before}")
        await tab.until("document.querySelectorAll('#open .tag.assigned').length >= 40")
        longest = await tab.value("hocketStats.maxMs")
        print(f"longest update in the page {longest:.1f} ms, round in the monitor {made.hub.made_ms:.1f} ms")
        assert longest < 1_000
        assert await tab.value("document.querySelectorAll('#open li').length") == 40


async def test_it_loads_quickly_and_reconnects_by_itself(tmp_path):
    async with browsing(tmp_path) as tab, busy_board(Settings()) as made:
        made.fill()
        await tab.open(made.address + "/")
        await tab.until("document.getElementById('link').dataset.state === 'live'")
        took = await tab.value("performance.getEntriesByType('navigation')[0].loadEventEnd")
        print(f"loaded in {took:.0f} ms")
        assert took < 10_000
        await made.down()
        await tab.until("document.getElementById('link').dataset.state === 'lost'")
        made.plan("meanwhile", at=now_ms() + 5_000)
        await made.up()
        await tab.until("document.querySelector('#open [data-id=meanwhile]')")
        assert await tab.value("document.getElementById('link').innerText") == "live"


async def test_a_token_opens_it_and_strangers_see_nothing():
    settings = Settings(monitor_token="s3cret")
    async with busy_board(settings) as made, aiohttp.ClientSession() as client:
        for path in ("/", "/api/events", "/api/lag", "/static/page.js", "/?token=wrong"):
            async with client.get(made.address + path) as reply:
                assert reply.status == 401, path
        for path in ("/live", "/metrics"):
            async with client.get(made.address + path) as reply:
                assert reply.status == 200, path
        async with client.get(made.address + "/api/lag", headers={"Authorization": "Bearer s3cret"}) as reply:
            assert reply.status == 200
        async with client.get(made.address + "/?token=s3cret", allow_redirects=False) as reply:
            cookie = reply.headers["Set-Cookie"]
            assert (reply.status, reply.headers["Location"]) == (303, "/")
            assert "HttpOnly" in cookie
        async with client.get(made.address + "/api/lag", headers={"Cookie": cookie.split(";")[0]}) as reply:
            assert reply.status == 200
        async with client.get(made.address + "/live", headers={"Host": "evil.example"}) as reply:
            assert reply.status == 421  # no web site reaches a loopback page through a name of its own

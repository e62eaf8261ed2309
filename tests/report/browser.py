"""Opens a page in headless Chromium and says what came of it."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# A fresh profile each time, and no errand of the browser's own reaches the network.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--hide-scrollbars", "--enable-logging=stderr",
]  # fmt: skip

# What the tests look at, told at the end of the page's life in this element.
PROBE = """
<script>
const told = {};
function tell(name, value) { told[name] = value; document.getElementById("probe").textContent = JSON.stringify(told); }
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const box = where => {
  const r = document.querySelector(where).getBoundingClientRect();
  return [r.left, r.top, r.right, r.bottom];
};
document.body.append(Object.assign(document.createElement("pre"), {id: "probe", hidden: true}));
setTimeout(() => { %s }, 100);
</script>
"""


@dataclass
class Visit:
    """What came of opening a page.

    Attributes:
        dom: the document at the end, as HTML, without embedded images.
        pixels: [H, W, 3] uint8, what was to be seen.
        console: lines of errors and messages of the page's scripts.
        requests: addresses that the page asked for.
        told: what the probe told.
    """

    dom: str
    pixels: np.ndarray
    console: list[str]
    requests: list[str]
    told: dict[str, Any]

    def region(self, box: list[float]) -> np.ndarray:
        """[h, w, 3], the pixels within (left, top, right, bottom)."""
        left, top, right, bottom = (round(edge) for edge in box)
        return self.pixels[top:bottom, left:right]


def visit(
    chromium: str, page: Path, folder: Path, *, probe: str = "", size: tuple[int, int] = (1280, 2600),
    dark: bool = False, seconds: float = 1.0,
) -> Visit:  # fmt: skip
    """Open a copy of `page` that runs `probe` when it has drawn itself.

    Args:
        chromium: the program.
        page: an HTML file.
        folder: an empty place for the copy, the profile and what the browser writes.
        probe: JavaScript; tell(name, value), press(key) and box(selector) are at hand.
        size: width and height of the window, pixels.
        dark: prefer a dark colour scheme.
        seconds: of the page's own time, which passes faster.
    """
    folder.mkdir(exist_ok=True)
    copy, picture, log = (folder / name for name in ("page.html", "page.png", "net.json"))
    copy.write_text(page.read_text(encoding="utf-8") + PROBE % probe, encoding="utf-8")
    command = [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
    command += [f"--screenshot={picture}", f"--window-size={size[0]},{size[1]}"]
    command += [f"--virtual-time-budget={round(seconds * 1000)}", *(["--force-dark-mode"] if dark else [])]
    done = subprocess.run([*command, copy.as_uri()], capture_output=True, text=True, timeout=120)
    assert picture.exists(), done.stderr
    events = json.loads(log.read_text())["events"]
    asked = [event["params"] for event in events if "url" in event.get("params", {})]
    # The browser's own errands carry other keys.
    requests = sorted({one["url"] for one in asked if "file://" in str(one.get("network_isolation_key"))})
    dom = re.sub(r'data:image[^"]*', "", done.stdout)
    told = re.search(r'<pre id="probe"[^>]*>(.*?)</pre>', dom, re.DOTALL)
    return Visit(
        dom=dom[: dom.index("<script>")] if "<script>" in dom else dom,
        pixels=np.asarray(Image.open(picture).convert("RGB")),
        console=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
        requests=[url for url in requests if not url.startswith(("data:", copy.as_uri()))],
        told=json.loads(html.unescape(told[1])) if told and told[1] else {},
    )

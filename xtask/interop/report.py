"""Opens a run's report.html in headless Chromium, light and dark, on a desk and on a phone.

The pictures go beside the report where a folder is named in KEEP_SCREENSHOTS. CHROMIUM names the browser.
"""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What is measured in the page, told through its title.
MEASURE = """
<script>
addEventListener("load", () => {
  const number = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = ([r, g, b]) => (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  const style = getComputedStyle(document.body);
  document.title = JSON.stringify({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    charts: [...document.querySelectorAll("svg")].map((svg) => svg.getBoundingClientRect().width),
    lines: document.querySelectorAll("polyline").length,
    height: document.documentElement.scrollHeight,
    back: light(number(style.backgroundColor)),
    ink: light(number(style.color)),
    loaded: performance.getEntriesByType("resource").length,
  });
});
</script>
"""


def open_page(browser, page, size, dark, *what):
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [scheme, f"--window-size={size}", f"--user-data-dir={page.parent / 'profile'}", *what]
    ended = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, f"{command}: {ended.stderr[-2000:]}"
    return ended.stdout


run = Path(sys.argv[1])
names = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
browser = next((path for path in (shutil.which(name) for name in names if name) if path), None)
if browser is None:
    print("skipped: report.html in a browser: there is no Chromium")
    sys.exit()

text = (run / "report.html").read_text()
for sign in ["<script", "<link", "<img", "url(", "http:", "https:"]:
    where = text.find(sign)
    assert where < 0, f"report.html must stand alone, but holds {text[where:where + 60]!r}"
keep = os.environ.get("KEEP_SCREENSHOTS")
with tempfile.TemporaryDirectory() as folder:
    page = Path(folder) / "report.html"
    page.write_text(text.replace("</body>", MEASURE + "</body>"))
    for dark in [False, True]:
        for size in ["1280,2400", "500,3000"]:
            dom = open_page(browser, page, size, dark, "--dump-dom")
            seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S).group(1)))
            where = f"{'dark' if dark else 'light'}, {size}: {seen}"
            assert seen["overflow"] <= 0, f"wider than the window: {where}"
            assert len(seen["charts"]) >= 4 and min(seen["charts"]) > 200, f"charts are missing or tiny: {where}"
            assert seen["loaded"] == 0, f"something was loaded: {where}"
            assert abs(seen["back"] - seen["ink"]) > 0.6, f"text is hard to read: {where}"
            assert (seen["back"] < 0.5) == dark, f"not the scheme that was asked for: {where}"
            if keep:
                name = Path(keep) / f"report-{'dark' if dark else 'light'}-{size.split(',')[0]}.png"
                open_page(browser, page, size, dark, f"--screenshot={name}")
print(f"report.html: {len(seen['charts'])} charts, {seen['lines']} curves, light and dark, wide and narrow")

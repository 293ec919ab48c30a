# What one writes first: click, wait for the list to grow, read the text of every item again.
import json, os, subprocess, sys, time
from playwright.sync_api import sync_playwright

def memory(group):
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = open(f"/proc/{pid}/cmdline").read()
            if group not in stat: continue
            for line in open(f"/proc/{pid}/smaps_rollup"):
                if line.startswith("Pss:"): total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total

url, chromium, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
with sync_playwright() as p:
    started = time.monotonic()
    profile = os.path.realpath(os.popen("mktemp -d").read().strip())
    context = p.chromium.launch_persistent_context(profile, executable_path=chromium, headless=True, args=["--no-sandbox", "--disable-gpu"])
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#_review_list > li")
    marks, memory_early, texts = [], 0, []
    while True:
        # One call for all of them: a call an item would be over a million calls.
        texts = page.eval_on_selector_all("#_review_list > li", "items => items.map(item => item.innerText)")
        marks.append((len(texts), time.monotonic() - started))
        if not memory_early and len(texts) >= 1000: memory_early = memory(profile)
        if len(texts) >= wanted: break
        buttons = page.query_selector_all("#_review_list ~ * a.fvwqf, #_review_list ~ a.fvwqf")
        if not buttons: break
        buttons[-1].evaluate("it => it.click()")
        page.wait_for_function("n => document.querySelectorAll('#_review_list > li').length > n", arg=len(texts))
    print(json.dumps({"marks": marks, "reviews": len(texts), "total": time.monotonic() - started, "memory_early": memory_early, "memory_end": memory(profile)}))
    context.close()

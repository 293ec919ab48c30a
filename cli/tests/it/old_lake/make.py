"""Makes a lake over some days with the `onggi` that it is given, and packs it with the project, the site's answers and its rows.

    python3 make.py PATH_OF_ONGGI OUT.tar.gz

The site is a list of shelves and a list of items for each shelf, on loopback. Shelves go wrong in every way that a record of an
old lake can show: one key of the weekly source fails each time, one shelf is forbidden by robots.txt, one is not there, one sends
no JSON, and one item has no name. On the last day the program is killed when the first task of the daily source has landed; a program
that is built without the feature `failpoints` ends that day.
"""

import datetime
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading

DAYS = ["2026-11-22", "2026-11-23", "2026-11-24"]
# The day after, with the older program gone: on it the site is well.
NEXT = "2026-11-25"
ROBOTS = "User-agent: *\nDisallow: /list/items?key=oil\n"

CONFIG = """[project]
name = "shop"
timezone = "Asia/Seoul"
sources = "sources"
models = "sql"

[identity]
key = "file:identity.key"

[hosts."shop.example"]
url = "SITE"
rate = 1000000

[enrich."staging.shelf_summaries"]
from = "marts.shelf_texts"
key = "shelf"
texts = "texts"

[sync."marts.shelves"]
key = "shelf"
sinks = ["sqlite", "keywords", "vectors"]
title = "title"
text = ["title", "summary"]
vector = "embedding"
"""

SOURCE = """name = "{name}"
fetch = "http"
every = "{every}"
max_receives = 2

[keys]
{keys}
per_task = {per_task}

[http]
url = "http://shop.example/list/{name}?key={{key}}&page={{page}}"
page_size = 3
max_pages = 20

[items]
path = "/items"
total = "/total"
key = "id"

[fields]
id = {{ path = "/id", type = "id", required = true }}
name = {{ path = "/name", type = "string", required = true }}
{fields}
"""

MODELS = {
    "staging/shelves": """-- materialize: latest by shelf order by fetched_at
-- key: shelf
select id as shelf, name as title, _key as area, _fetched_at as fetched_at, dt
from raw.shelves
where dt = $dt and _error is null
""",
    "staging/items": """-- materialize: latest by item order by fetched_at
-- key: item
-- check: not_null(shelf, name), between(price, 0, 1000000), references(shelf, staging.shelves)
select id as item, _key as shelf, name, price, stars, seen_at, seller, tags, _fetched_at as fetched_at, dt
from raw.items
where dt = $dt and _error is null
""",
    "staging/cheap": """-- materialize: view
select item, shelf, price from staging.items where price < 500
""",
    "marts/daily": """-- materialize: partition
-- key: dt, shelf
select $dt as dt, _key as shelf, count(*) as items, sum(price) as total, max(seen_at) as last_seen
from raw.items
where dt = $dt and _error is null
group by _key
""",
    "marts/totals": """-- materialize: table
-- key: shelf
select shelf, count(*) as items, sum(price) as total, max(seen_at) as last_seen from staging.items group by shelf
""",
    "marts/cheap": """-- materialize: table
-- key: shelf
select shelf, count(*) as items from staging.cheap group by shelf
""",
    "marts/known": """-- materialize: table
select $dt as day, count(*) as items from staging.items
""",
    "marts/shelf_texts": """-- materialize: table
-- key: shelf
select shelf, array_agg(name order by name) as texts from staging.items group by shelf
""",
    "marts/shelves": """-- materialize: table
-- key: shelf
select s.shelf, s.title, t.items, t.total, t.last_seen, e.summary, e.embedding
from staging.shelves as s
join marts.totals as t on t.shelf = s.shelf
left join staging.shelf_summaries as e on e.shelf = s.shelf
""",
}

SHELVES = {"north": ["soup", "rice", "oil"], "south": ["tea", "salt", "fish"]}
ITEMS = {"soup": 5, "rice": 4, "tea": 3}


def item(shelf, number, day):
    """An item as it is on a day: prices move, and a time has microseconds that no reader of milliseconds can keep."""
    at = DAYS.index(day) if day in DAYS else len(DAYS)
    name = f"{shelf} number {number}: a thing that is good to have in the house on a cold day"
    found = {
        "id": f"{shelf}-{number}",
        "name": name,
        "price": 100 * number + 10 * at,
        "stars": None if number == 2 else number - 0.5,
        "seenAt": f"{day}T0{number}:59:59.99{number}7{at}6+09:00",
        "seller": {"id": f"seller-{number % 2}"},
        "tags": [{"name": "warm"}, {"name": shelf}][: number % 3],
    }
    if (shelf, number) == ("rice", 3) and day != NEXT:
        del found["name"]
    return found


def answers(day):
    """Path with query → status and body, for everything that can be asked for on a day."""
    found = {"/robots.txt": [200, "" if day == NEXT else ROBOTS]}

    def pages(name, key, items):
        for page in range(1, len(items) // 3 + 3):
            body = {"total": len(items), "items": items[3 * page - 3 : 3 * page]}
            found[f"/list/{name}?key={key}&page={page}"] = [200, json.dumps(body, ensure_ascii=False)]

    for area, shelves in SHELVES.items():
        pages("shelves", area, [{"id": shelf, "name": f"{shelf} from the {area}"} for shelf in shelves])
    more = DAYS.index(day) if day in DAYS else len(DAYS)
    for shelf, count in ITEMS.items():
        pages("items", shelf, [item(shelf, number, day) for number in range(1, count + 1 + more)])
    found["/list/items?key=salt&page=1"] = [404, "no such shelf"]
    if day == NEXT:
        pages("shelves", "east", [{"id": "bread", "name": "bread from the east"}])
        for shelf in ["bread", "fish", "oil"]:
            pages("items", shelf, [item(shelf, number, day) for number in [1, 2]])
    else:
        found["/list/shelves?key=east&page=1"] = [503, "closed for today"]
        found["/list/items?key=fish&page=1"] = [200, "<html>no JSON"]
    return found


class Site(http.server.BaseHTTPRequestHandler):
    now = {}

    def do_GET(self):
        status, body = self.now.get(self.path, [404, "nothing here"])
        body = body.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain" if self.path == "/robots.txt" else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def write_project(folder):
    def put(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    put("onggi.toml", CONFIG)
    put("identity.key", "a key that only this lake knows")
    keys = 'list = ["north", "south", "east"]'
    put("sources/shelves.toml", SOURCE.format(name="shelves", every="7d", keys=keys, per_task=1, fields=""))
    keys = 'query = "select shelf as key from staging.shelves"'
    fields = """price = { path = "/price", type = "int64" }
stars = { path = "/stars", type = "float64" }
seen_at = { path = "/seenAt", type = "timestamp" }
seller = { path = "/seller/id", type = "hash" }
tags = { path = "/tags/*/name", type = "list<string>" }
"""
    put("sources/items.toml", SOURCE.format(name="items", every="1d", keys=keys, per_task=2, fields=fields))
    for name, text in MODELS.items():
        put(f"sql/{name}.sql", text)


def aged(entry):
    """As old as the last day, and nobody's: what is left over from old days is then old wherever it is unpacked."""
    entry.mtime = int(datetime.datetime.fromisoformat(f"{NEXT}T00:00:00+00:00").timestamp())
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def main(onggi, out):
    work = pathlib.Path(tempfile.mkdtemp())
    project = work / "project"
    write_project(project)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = project / "onggi.toml"
    config.write_text(CONFIG.replace("SITE", f"http://127.0.0.1:{server.server_port}"))

    def run(*arguments, **environment):
        environment = {**os.environ, **environment}
        done = subprocess.run([onggi, "--project", project, *arguments], capture_output=True, text=True, env=environment)
        print("$ onggi", *arguments, "->", done.returncode, done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
        return done.stdout

    for day in DAYS:
        Site.now = answers(day)
        # Named, as newer programs ask it of who fills a day that is over.
        killed = {"ONGGI_FAILPOINT": "extract.land.after:1"} if day == DAYS[-1] else {}
        run("run", "--dt", day, "--select", "shelves+", "--select", "items+", **killed)
    rows = {}
    for layer in ["raw", "staging", "marts"]:
        for table in sorted(path.name for path in (project / "lake" / layer).iterdir()):
            text = run("sql", "--json", f"select * from {layer}.{table}")
            rows[f"{layer}.{table}"] = [json.loads(line) for line in text.splitlines()]
    config.write_text(CONFIG)
    (work / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    site = {day: answers(day) for day in [*DAYS, NEXT]}
    (work / "site.json").write_text(json.dumps(site, ensure_ascii=False, indent=1))
    with tarfile.open(out, "w:gz") as packed:
        for name in ["project", "rows.json", "site.json"]:
            packed.add(work / name, name, filter=aged)
    shutil.rmtree(work)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

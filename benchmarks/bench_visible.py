"""Ask at once for an answer that counts in an event which has just been acknowledged, while other events come.

    python benchmarks/bench_visible.py --items 100000 --users 100000 --events 1000

The world is that of `bench_serve.py`. A compiled client sends events at a fixed rate; beside it an event is sent every
20 ms on one connection and, as soon as it is acknowledged, a question with `at_least` on another. What counts is the
time from the one reply to the other, and that the answer has seen the event and no longer lists its item. Writes
results/visible-ITEMS.json.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from http.client import HTTPConnection

import numpy as np
from bench_serve import HERE, Load, Server, add_world, event, loads, running, send, served, show
from load.world import copies_of, zipf_users

EVERY_S = 0.02


def call(connection: HTTPConnection, method: str, path: str, body: str | None = None) -> dict[str, object]:
    """Send a request and return the answer."""
    connection.request(method, path, body, {} if body is None else {"Content-Type": "application/json"})
    reply = connection.getresponse()
    said = reply.read()
    assert reply.status == 200, said
    answer: dict[str, object] = json.loads(said)
    return answer


def probe(server: Server, users: int, ended: threading.Event, waits: list[float]) -> None:
    """Tell events and ask for answers that count them in, until the load has ended."""
    random = np.random.default_rng(4)
    told, asked = (HTTPConnection("127.0.0.1", server.port) for _ in range(2))
    while not ended.wait(EVERY_S):
        user = int(zipf_users(users, 1, random)[0])
        liked = call(asked, "GET", f"/v1/users/{user}/recommendations?k=1")["items"]
        assert isinstance(liked, list)
        item = liked[0]["item_id"]
        body = json.dumps({"user_id": str(user), "item_id": item})
        sequence = call(told, "POST", "/v1/events", body)["sequence"]
        stored = time.perf_counter()
        answer = call(asked, "GET", f"/v1/users/{user}/recommendations?k=20&at_least={sequence}")
        waits.append(time.perf_counter() - stored)
        assert isinstance(answer["events_seen"], int)
        assert answer["events_seen"] >= int(str(sequence))


def main() -> None:
    """Parse the command line, serve and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=float, default=1000, help="events a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    add_world(parser, users=100_000)
    options = parser.parse_args()
    random = np.random.default_rng(3)
    chosen, met, command = served(options)
    rows = []
    with running(command, {"HEADRACE_SERVING__STATE_BYTES": "2000000000"}) as server:
        time.sleep(12)  # lists of near items
        send(server, loads(chosen, met, 6000, random), 600, options.connections)
        for run in range(options.runs):
            n = int(options.events * options.seconds)
            users = zipf_users(options.users, n, random).tolist()
            items = copies_of(random.choice(met, n), chosen.trained, options.items, random).tolist()
            load = Load([event(user, item) for user, item in zip(users, items, strict=True)], np.ones(n, np.bool_))
            waits: list[float] = []
            ended = threading.Event()
            probing = threading.Thread(target=probe, args=(server, options.users, ended, waits))
            probing.start()
            said, found = send(server, load, options.events, options.connections)
            ended.set()
            probing.join()
            row = {"events_per_s": round(n / said["wall_s"], 1), "asked": len(waits)}
            row |= {f"visible_p{p}_ms": round(float(np.percentile(waits, p)) * 1e3, 2) for p in (50, 90, 99)}
            row |= {f"event_p{p}_ms": round(float(np.percentile(found["latencies"], p)) / 1e6, 2) for p in (50, 99)}
            rows.append(row | {"failed": int((found["statuses"] != 200).sum())})
            show(f"run {run + 1}", rows[-1])
    about = {name: str(value) for name, value in vars(options).items()}
    result = HERE / "results" / f"visible-{options.items}.json"
    result.write_text(json.dumps({"options": about, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

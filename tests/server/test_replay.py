"""`replay`: it finds nothing wrong with a server that is right, also where it dies meanwhile, and finds what is."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deskwire.cli.replay.conversations import read
from deskwire.cli.replay.listening import Heard
from deskwire.cli.replay.playing import Tally
from deskwire.cli.replay.report import compared, history, tell
from deskwire.cli.store import CannotDo
from models import Channel
from tests.databases import Sqlite, plain_connection
from tests.factories import World
from tests.server.conftest import Start
from tests.server.process import CHECKOUT, Done, Server, command, deskwire, environment, refused, together
from tests.server.stage import SLUG, staged

ROWS: list[list[str]] = [
    ["Where is my parcel? 📦", "On its way 🚚💨", "Thanks! 🙏🏽"],
    ["متى يصل طلبي؟", "غداً إن شاء الله.", "شكراً \u200fجزيلاً"],
    ["Three lines:\n\none\n  two\n\tthree ", "Noted.\nAll of them."],
    ["Is anybody there?"],
    ["👩‍👩‍👧‍👦 need four seats", "Row 12 🪑🪑🪑🪑", "Together?", "Together."],
    ["שלום, איפה ההזמנה?", "היא בדרך"],
    ["Ça coûte combien ?", "12,50 €", "Trop cher…", "Moins 10 % pour vous"],
    ["こんにちは", "はい、どうぞ", "注文を取り消したい"],
    ["Zu groß & <b>fett</b>?", "„Nein“ — it's \\fine\\"],
    ["e\u0301 is not é", "Indeed"],
    ["  leading and trailing  ", "ok"],
    ["x" * 5000, "That was long."],
]
COUNT = len(ROWS)
WROTE = sum(map(len, ROWS))
# Numbers 3, 7 and 11 are not ended, and of the others the even ones write again.
ENDED, AGAIN = 9, 6


def conversation(bodies: list[str]) -> str:
    sides = ("customer", "agent")
    messages = [{"from": sides[place % 2], "body": body} for place, body in enumerate(bodies)]
    return json.dumps({"id": uuid4().hex, "messages": messages}, ensure_ascii=False)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "conversations.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(conversation, ROWS)).encode()))
    return path


@pytest.fixture(scope="module")
def server(url: str, start: Start) -> Server:
    staged(url)
    return start(url)


def arguments(server: Server, file: Path) -> list[str]:
    return ["replay", str(file), "--url", server.address, "--account", SLUG, "--json"]


def ticket_events(url: str) -> int:
    connection = plain_connection(url)
    try:
        (row,) = connection.execute("SELECT count(*) FROM events WHERE ticket_id IS NOT NULL").fetchall()
        return int(row[0])
    finally:
        connection.close()


def expected(events: int) -> dict[str, Any]:
    """The whole report, but for the reconnects."""
    received = {"ended": ENDED, "created": COUNT + AGAIN, "inbox": events}
    heard = {f"Replay agent {agent}: {kind}": count for agent in (1, 2) for kind, count in received.items()}
    # The first and the third customer write again.
    heard |= {f"Replay customer {n + 1}: received": len(ROWS[n]) + (n in (0, 2)) for n in range(3)}
    right = {"lost": 0, "repeated": 0, "out_of_order": 0, "unexpected": 0}
    return {
        "conversations": COUNT,
        "messages": WROTE + AGAIN,
        "sessions_ended": ENDED,
        "follow_up_tickets": AGAIN,
        "history": {"missing": 0, "unexpected": 0},
        "listeners": [{"who": who, "received": count} | right for who, count in heard.items()],
    }


def reconnects(report: dict[str, Any]) -> list[int]:
    """Taken out of the report."""
    return [each.pop("reconnects") for each in report["listeners"]]


def test_a_replay_finds_nothing_wrong(server: Server, file: Path) -> None:
    before = ticket_events(server.url)
    done = deskwire(server.url, *arguments(server, file))
    report = done.json()
    assert set(reconnects(report)) == {0}
    assert report == expected(ticket_events(server.url) - before)
    assert done.status == 0


def test_a_server_that_is_killed_meanwhile_loses_nothing(server: Server, file: Path) -> None:
    before = ticket_events(server.url)
    replay = subprocess.Popen(
        command(*arguments(server, file), "--rate", "12"),
        cwd=CHECKOUT,
        env=environment(server.url, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for written in (before + 15, before + 60):
            _wait_for(server.url, written)
            server.kill()
            server.start()
        out, err = replay.communicate(timeout=120)
    finally:
        replay.kill()
    done = Done(replay.returncode, out, err)
    report = done.json()
    assert min(reconnects(report)) >= 2
    assert report == expected(ticket_events(server.url) - before)
    assert done.status == 0


def _wait_for(url: str, events: int) -> None:
    deadline = time.monotonic() + 60
    while ticket_events(url) < events:
        assert time.monotonic() < deadline, "nothing is replayed"
        time.sleep(0.05)


def test_a_changed_text_is_found(sqlite: Sqlite, start: Start, file: Path) -> None:
    with sqlite.fresh() as url:
        staged(url)
        connection = plain_connection(url)
        connection.execute(
            "CREATE TRIGGER forger AFTER INSERT ON comments WHEN NEW.body = 'Noted.\nAll of them.' "
            "BEGIN UPDATE comments SET body = 'Noted. All of them.' WHERE id = NEW.id; END"
        )
        connection.close()
        server = start(url)
        done = deskwire(url, *arguments(server, file), "--conversations", "4")
        assert done.json()["history"] == {"missing": 1, "unexpected": 1}
        assert done.status == 1
        server.close()


SENT = [(True, "one"), (False, "two"), (True, "three")]


@pytest.mark.parametrize(
    ("told", "missing", "unexpected"),
    [
        (SENT, 0, 0),
        (SENT[:2], 0, 1),
        ([*SENT, (True, "four")], 1, 0),
        ([*SENT, (True, "one")], 1, 0),
        ([SENT[0], SENT[2], SENT[1]], 0, 1),
        ([(True, "one"), (True, "two"), (True, "three")], 1, 1),
        ([(True, "one "), *SENT[1:]], 1, 1),
    ],
    ids=["right", "too much", "lost", "lost one of two", "order", "author", "text"],
)
async def test_the_history_is_compared_text_by_text(
    world: World, told: list[tuple[bool, str]], missing: int, unexpected: int
) -> None:
    customer, agent = await world.customer(), await world.agent()
    ticket = await world.live_ticket(customer=customer)
    assert customer.id is not None
    connection = ticket._meta.db
    await connection.execute_query("UPDATE comments SET body = 'one'")
    await world.comment(ticket, agent, "not for the customer")
    await world.comment(ticket, agent, "two", Channel.MESSAGING)
    await world.message(customer, "three")
    assert await history(Tally(sent={customer.id: told})) == {"missing": missing, "unexpected": unexpected}


KINDS = ("lost", "repeated", "out_of_order", "unexpected")


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("abc", (0, 0, 0, 0)),
        ("abcd", (0, 0, 0, 0)),
        ("ab", (1, 0, 0, 0)),
        ("ac", (1, 0, 0, 0)),
        ("abbc", (0, 1, 0, 0)),
        ("abcb", (0, 1, 1, 0)),
        ("acb", (0, 0, 1, 0)),
        ("abcx", (0, 0, 0, 1)),
        ("", (3, 0, 0, 0)),
    ],
)
def test_what_a_listener_heard_is_compared(
    keys: str, found: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    # "d" came from somebody else while the replay ended: it may arrive, and need not.
    told = compared(Heard("somebody", list(keys)), ["a", "b", "c"], known=["a", "b", "c", "d"])
    assert tuple(told[kind] for kind in KINDS) == found
    report = {"conversations": 1, "messages": 1, "sessions_ended": 0, "follow_up_tickets": 0, "listeners": [told]}
    report["history"] = {"missing": 0, "unexpected": 0}
    right = not any(found)
    assert tell(report, as_json=False) == (0 if right else 1)
    assert capsys.readouterr().out.endswith("PASSED\n" if right else "FAILED\n")
    assert tell(report, as_json=True) == (0 if right else 1)


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, Path]:
    texts = {
        "no JSON": conversation(["Hello"]) + "\nHello?\n",
        "no messages": '{"id": "1"}\n',
        "no text": '{"messages": [{"from": "customer", "body": 5}]}\n',
        "an empty text": conversation([" "]),
        "an agent first": '{"messages": [{"from": "agent", "body": "Hello"}]}\n',
        "nothing": "",
    }
    files = {name: tmp_path / f"{number}.jsonl" for number, name in enumerate(texts)}
    for name, path in files.items():
        path.write_text(texts[name])
    files["no gzip"] = tmp_path / "file.jsonl.gz"
    files["no gzip"].write_text("Hello")
    files["half a gzip"] = tmp_path / "half.jsonl.gz"
    files["half a gzip"].write_bytes(gzip.compress(conversation(["Hello"]).encode())[:-12])
    files["no file"] = tmp_path / "nowhere.jsonl"
    return files


def test_a_broken_file_is_said(broken: dict[str, Path]) -> None:
    words = {"no JSON": "line 2", "an empty text": "line 1", "an agent first": "begins with its customer"}
    words |= {"nothing": "holds no conversations", "no file": "cannot be read", "no gzip": "cannot be read"}
    for name, path in broken.items():
        with pytest.raises(CannotDo) as caught:
            read(path, 100)
        assert path.name in str(caught.value), name
        assert words.get(name, "") in str(caught.value), name


def test_a_wrong_call_is_said(sqlite: Sqlite, sqlite_url: str, start: Start, file: Path, tmp_path: Path) -> None:
    staged(sqlite_url)
    with sqlite.fresh() as other:
        staged(other)
        server = start(other)
        calls = {
            "Same database?": arguments(server, file),
            "No Deskwire answers": ["replay", str(file), "--url", "http://127.0.0.1:1", "--account", SLUG],
            f"no account 'nobody'. There are: {SLUG}": ["replay", str(file), "--account", "nobody"],
            f"{tmp_path} cannot be read": ["replay", str(tmp_path), "--account", SLUG],
        }
        done = together([partial(deskwire, sqlite_url, *call) for call in calls.values()])
        server.close()
    assert all(refused(each, words) for words, each in zip(calls, done, strict=True))


def test_a_routed_replay_is_given_out_evenly_and_ends_every_session_once(server: Server, file: Path) -> None:
    """R92, R94–R97: the ledger sums to zero, and nobody had more than his capacity."""
    staged(server.url, "routed")  # where nothing else waits for an agent
    words = ["replay", str(file), "--url", server.address, "--account", "routed", "--json"]
    done = deskwire(server.url, *words, "--agents", "3", "--capacity", "2", "--at-once", "8")
    report = done.json()
    assert done.status == 0
    routing = report["routing"]
    assert report["sessions_ended"] == routing["sessions"] == COUNT + 3
    assert routing["most_at_once"] <= 2
    wrong = {key: routing[key] for key in ("not_ended", "ended_twice", "ledger_sum", "wrong_counts")}
    assert wrong == dict.fromkeys(wrong, 0)
    checked = deskwire(server.url, "capacity", "--account", "routed", "--json")
    assert (checked.status, checked.json()) == (0, {"account": "routed", "differences": []})

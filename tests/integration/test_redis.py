"""WebSocketBus redis: servers that hear each other through a Redis, which comes and goes."""

import contextlib
import json
import os
import signal
import time

import pytest

from harness import Server, eventually, free_port
from redis_support import LOCAL_ONLY, Redis, Speaker, publish_until, script

AWAY = r"WebSocketBus redis: .*; until it is back, publications reach this server alone"
BACK = r"WebSocketBus redis: .* is back; \d+ publications that waited are sent"


def config_of(redis, handlers, *lines, options="", query=""):
    return "\n".join([f'WebSocketBus "{redis.url(query)}" {options}', *lines,
                      f'<Location /bus>\n WebSocketHandler "{handlers}/bus.so"\n</Location>',
                      "<Location /chat>\n WebSocketHandler topics\n WebSocketParam publish on\n</Location>"])


@contextlib.contextmanager
def servers_of(redis, handlers, *lines, count=2, options="", query="", expect=(), **how):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Server(config_of(redis, handlers, *lines, options=options, query=query), **how))
                   for _ in range(count)]
        for server in servers:
            server.expect(*expect)
        yield servers


def test_servers_hear_each_other(mpm, handlers):
    with Redis() as redis, servers_of(redis, handlers, mpm=mpm) as servers, \
            Speaker(servers[0]) as one, Speaker(servers[1]) as other:
        one.subscribe("news")
        other.subscribe("news")
        told = one.publish("news", "hello")
        assert told["result"] == 0 and told["id"] > 0 and told["subscribers"] == 1
        for speaker in [one, other]:
            message = speaker.next("message")
            assert (message["topic"], message["data"], message["id"]) == ("news", "hello", told["id"])
        assert other.publish("news", "again")["id"] > told["id"]
        assert one.data(1) == other.data(1) == ["again"]


def two_children(server):
    """Two who speak to different child processes."""
    one = Speaker(server)

    def another():
        other = Speaker(server)
        if server.child_of(other.client) != server.child_of(one.client):
            return other
        other.client.connection.close()
        return None

    return one, eventually(another, "all connections go to one child")


def test_child_processes_hear_each_other_and_other_servers(handlers):
    with Redis() as redis, servers_of(redis, handlers, mpm="prefork") as servers, contextlib.ExitStack() as stack:
        speakers = [stack.enter_context(each) for server in servers for each in two_children(server)]
        for each in speakers:
            each.subscribe("t")
        for i, each in enumerate(speakers):
            assert each.publish("t", str(i))["subscribers"] == 2
        for each in speakers:
            assert each.data(4) == list("0123")


def test_a_client_resumes_on_another_server(handlers):
    with Redis() as redis, servers_of(redis, handlers) as servers, \
            Speaker(servers[0]) as one, Speaker(servers[1]) as other, Speaker(servers[1]) as third:
        ids = [one.publish("t", str(i))["id"] for i in range(6)]
        assert ids == sorted(set(ids))
        assert other.subscribe("t", since=ids[2]) == ids[5]
        assert [each["id"] for each in other.messages(3)] == ids[3:]
        third.subscribe("t", last=2)
        one.post("t", "6")
        assert third.data(3) == ["4", "5", "6"] and other.data(1) == ["6"]


def test_what_a_history_keeps(handlers):
    with Redis() as redis, servers_of(redis, handlers, "WebSocketTopicHistory count=150 bytes=1000") as servers, \
            Speaker(servers[0]) as one, Speaker(servers[1]) as other:
        first = one.publish("t", "0")["id"]
        one.publish("t", "passes by", transient=True)
        assert one.publish("t", "1")["id"] > first
        other.subscribe("t", since=first)
        assert other.data(1) == ["1"] and not other.behind
        # Too large to be kept: a gap for who was not there.
        one.publish("t", "x" * 1001)
        assert other.data(1) == ["x" * 1001]
        with Speaker(servers[1]) as late:
            late.subscribe("t", since=first)
            assert [told["type"] for told in late.behind] == ["gap", "message"]
        # What is trimmed is a gap too; Redis keeps up to 100 more than were asked for.
        for i in range(300):
            one.post("t", str(i))
        assert other.until("299")
        with Speaker(servers[1]) as late:
            late.subscribe("t", since=first)
            assert late.next("gap")
            kept = [told["data"] for told in late.behind]
            assert 150 <= len(kept) <= 250 and kept == [str(i) for i in range(300 - len(kept), 300)]
        with Speaker(servers[1]) as late:
            late.subscribe("t", last=1000)
            assert [told["data"] for told in late.behind] == [str(i) for i in range(150, 300)]


def test_histories_end_with_their_age(handlers):
    with Redis() as redis, servers_of(redis, handlers, "WebSocketTopicHistory age=1s", count=1) as [server], \
            Speaker(server) as one, Speaker(server) as other:
        first = one.publish("t", "old")["id"]
        stream = "websocket:{t}:s"
        assert 0 < redis.command("TTL", stream) <= 2
        eventually(lambda: int("%d%06d" % tuple(map(int, redis.command("TIME")))) > first + 1_100_000, "time stands still")
        assert one.publish("t", "new")["id"] > first
        other.subscribe("t", since=first - 1)
        assert [told["type"] for told in other.behind] == ["gap", "message"] and other.data(1) == ["new"]
        eventually(lambda: redis.command("EXISTS", stream) == 0, "a dead topic stays")


def check_streams(subscribers, streams, count):
    """Each subscriber has got each publication of each stream once, in the stream's order; and all of them have the same."""
    orders = []
    for each in subscribers:
        got = each.data(count * streams)
        for stream in range(streams):
            assert [data for data in got if data.startswith(f"{stream} ")] == [f"{stream} {i}" for i in range(count)]
        orders.append(got)
    assert all(order == orders[0] for order in orders)


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_each_publication_comes_once_and_in_the_same_order_everywhere(mpm, handlers):
    with Redis() as redis, servers_of(redis, handlers, mpm=mpm) as servers, contextlib.ExitStack() as stack:
        speakers = [stack.enter_context(Speaker(server)) for server in servers * 4]
        for each in speakers[:4]:
            each.subscribe("t")
        for i in range(500):
            for stream, each in enumerate(speakers):
                each.post("t", f"{stream} {i}", binary=False)
        check_streams(speakers[:4], len(speakers), 500)


NAMES = ["a b", "{", "}", "{}", "a{b}c", "%7B", "%", '"', "'", "\\", "\n", "\r\n", "\x00", "\x7f", "*", "?", "[a]", "^", ":s", "{t}:c",
         "ü", "日本", "\U0001f600", "a/b?c=d#e", "$6", "x" * 255, "é" * 127 + "x", "{" * 255]


def test_any_name_is_a_topic_of_its_own(handlers):
    with Redis() as redis, servers_of(redis, handlers, query="?prefix=a%20b%25") as servers, \
            Speaker(servers[0]) as one, Speaker(servers[1]) as other:
        for i, name in enumerate(NAMES):
            one.publish(name, str(i))
        for i, name in enumerate(NAMES):
            other.subscribe(name, last=5)
            message = other.next("message")
            assert (message["topic"], message["data"]) == (name, str(i))
            one.post(name, "live")
            message = other.next("message")
            assert (message["topic"], message["data"]) == (name, "live") and not other.behind
        keys = redis.command("KEYS", "*")
        assert len(keys) == 2 * len(NAMES)
        for key in keys:  # what decides about the node is the same for all keys of a topic, and not empty
            assert key.startswith(b"a b%{") and key.count(b"{") == key.count(b"}") == 1 and key.index(b"}") > key.index(b"{") + 1


def test_binary_data_comes_as_it_was(handlers):
    with Redis() as redis, servers_of(redis, handlers) as servers, Speaker(servers[0]) as one, Speaker(servers[1]) as other:
        other.subscribe("t", last=1)
        one.post("t", "\x00\r\n{}", binary=True)
        message = other.next("message")
        assert (message["data"], message["encoding"]) == ("AA0Ke30=", "base64")


def test_databases_and_prefixes_are_apart(handlers):
    with Redis() as redis, contextlib.ExitStack() as stack:
        speakers = []
        for query in ["?db=0", "?db=1", "?prefix=x", "?db=1&prefix=x"]:
            server = stack.enter_context(servers_of(redis, handlers, query=query, count=1))[0]
            speakers.append(stack.enter_context(Speaker(server)))
            speakers[-1].subscribe("t")
        for i, each in enumerate(speakers):
            each.publish("t", str(i))
        for i, each in enumerate(speakers):
            assert each.data(1) == [str(i)]
            each.publish("t", "end")
            assert each.data(1) == ["end"] and not each.behind


def test_a_server_that_only_publishes(mpm, handlers):
    with Redis(appendonly=True) as redis, servers_of(redis, handlers, count=1, expect=[AWAY, BACK]) as [server], \
            Server(f"WebSocketBus {redis.url()}\n<Location /publish>\nSetHandler websocket-publish\nRequire ip 127.0.0.1\n</Location>", mpm=mpm) as publisher, \
            Speaker(server) as one:
        publisher.expect(AWAY, BACK)
        one.subscribe("t")

        def post(data):
            status, _, body = publisher.http("/publish/t", f"Content-Length: {len(data)}", "Content-Type: text/plain", method="POST", body=data.encode())
            return status, json.loads(body)

        status, answer = post("hello")
        message = one.next("message")
        assert status == 200 and (message["data"], message["id"]) == ("hello", answer["id"])
        redis.stop()
        eventually(lambda: post("away")[1].get("local"), "nobody knows that Redis is gone")
        redis.start()
        eventually(lambda: post("again")[0] == 200, "nobody knows that Redis is back")
        got = set()
        while not {"away", "again"} <= got:  # each child sends its own when it is back
            got.update(one.data(1))


# --- What Redis holds ---


def take(redis, process, number, previous=0):
    """What a child asks of Redis for a publication, on keys of its own."""
    return redis.command("EVAL", script("kPublishScript"), 2, "s", "f", process, number, 0, 10, 100, 100, "c", f"{process} {number}", previous)


def test_redis_takes_no_publication_before_the_one_that_precedes_it():
    with Redis() as redis:
        take(redis, "p1", 1)
        with pytest.raises(RuntimeError, match="TRYAGAIN"):  # 2 was refused for a moment
            take(redis, "p1", 3, previous=2)
        ids = [take(redis, "p1", 2), take(redis, "p1", 3, previous=2)]
        assert take(redis, "p1", 2) == take(redis, "p1", 3, previous=2) == ids[1]  # once more
        assert [fields[1] for _, fields in redis.command("XRANGE", "s", "-", "+")] == [b"p1 1", b"p1 2", b"p1 3"]


def test_redis_forgets_only_processes_of_long_ago():
    with Redis() as redis:
        now = int(redis.command("TIME")[0])
        for i in range(150):
            redis.command("HSET", "f", f"pnew{i}", f"5 {now - 3600}", f"pold{i}", f"5 {now - 90_000}")
        take(redis, "p1", 1)
        names = [name.decode() for name in redis.command("HKEYS", "f") if name.startswith(b"p")]
        assert sorted(names) == sorted(["p1", *(f"pnew{i}" for i in range(150))])
        assert len(redis.command("XRANGE", "s", "-", "+")) == 1
        take(redis, "pnew0", 5)  # still known
        assert len(redis.command("XRANGE", "s", "-", "+")) == 1


def test_who_only_asks_leaves_little_in_redis(handlers):
    lines = "<Location /publish>\nSetHandler websocket-publish\nRequire ip 127.0.0.1\n</Location>"
    with Redis() as redis, servers_of(redis, handlers, lines, count=1) as [server], Speaker(server) as one:
        assert server.http("/publish/asked")[0] == 200
        assert redis.command("KEYS", "*") == []
        one.subscribe("t")
        facts = "websocket:{t}:f"
        assert redis.command("KEYS", "*") == [facts.encode()] and 0 < redis.command("TTL", facts) <= 600
        one.publish("t", "")
        assert redis.command("TTL", facts) > 600_000
        with Speaker(server) as other:
            other.subscribe("t", last=1)
        assert redis.command("TTL", facts) > 600_000


def test_a_history_with_much_of_somebody_else_is_read_to_its_end(handlers):
    with Redis() as redis, servers_of(redis, handlers, count=1) as [server], Speaker(server) as one, Speaker(server) as late:
        first = one.publish("t", "first")["id"]
        for i in range(1, 41):  # more than is read at once
            redis.command("XADD", "websocket:{t}:s", f"{first + i}-0", "r", "x" * 20_000)
        one.publish("t", "last")
        late.subscribe("t", since=first)
        assert late.data(1) == ["last"] and not late.behind


def test_what_redis_refuses_for_good_reaches_this_server_in_its_order(handlers):
    with Redis() as redis, servers_of(redis, handlers, count=1, expect=["refuses a publication, which reaches this server alone"]) as [server], \
            Speaker(server) as one, Speaker(server) as other:
        one.subscribe("t")
        redis.command("SET", "websocket:{t}:s", "not a stream")
        for i in range(100):
            other.post("t", str(i))
        assert one.data(100) == [str(i) for i in range(100)]
        assert one.publish("u", "")["result"] == 0


# --- Redis comes and goes ---


def lose(redis, *speakers):
    """Ends Redis, and waits until their servers know."""
    redis.stop()
    for each in speakers:
        publish_until(each, "elsewhere", lambda told: told["result"] == LOCAL_ONLY, "nobody knows that Redis is gone")


def find_again(*speakers):
    for each in speakers:
        publish_until(each, "elsewhere", lambda told: told["result"] == 0, "nobody knows that Redis is back")


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_while_redis_is_away_a_server_goes_on_by_itself(mpm, handlers):
    with Redis(appendonly=True) as redis, servers_of(redis, handlers, mpm=mpm, expect=[AWAY, BACK]) as servers, \
            Speaker(servers[0]) as one, Speaker(servers[0]) as near, Speaker(servers[1]) as far:
        for each in [one, near, far]:
            each.subscribe("t")
        before = one.publish("t", "before")["id"]
        for each in [one, near, far]:
            assert each.data(1) == ["before"]
        lose(redis, one, near, far)
        ids = []
        for i in range(20):
            told = one.publish("t", f"one {i}")
            assert told["result"] == LOCAL_ONLY and told["subscribers"] == 2
            ids.append(told["id"])
        assert [before, *ids] == sorted({before, *ids})
        for each in [one, near]:  # at once
            assert [told["id"] for told in each.messages(20)] == ids
        with Speaker(servers[0]) as late:
            late.subscribe("t", last=5)
            assert late.data(5) == [f"one {i}" for i in range(15, 20)]
            far.post("t", "far 0")
            assert far.data(1) == ["far 0"]
            redis.start()
            find_again(one, near, far)
            near.publish("t", "after")
            ones = [f"one {i}" for i in range(20)]
            # What was published elsewhere comes late; nothing comes twice, and what came before is in its order.
            assert sorted(far.until("after")) == sorted([*ones, "after"])
            for each in [one, near, late]:
                assert sorted(each.until("after")) == ["after", "far 0"]
            ends = [f"end {i}" for i in range(4)]
            for each, end in zip([one, near, far, late], ends):
                each.publish("t", end)
            for each in [one, near, far, late]:
                assert each.data(4) == ends
        # Whoever comes then gets all that there was.
        with Speaker(servers[1]) as late:
            late.subscribe("t", since=before)
            assert sorted(told["data"] for told in late.behind) == sorted([*ones, "far 0", "after", *ends])


def test_a_redis_without_its_data_leaves_a_gap_and_nothing_else(handlers):
    with Redis() as redis, servers_of(redis, handlers, expect=[AWAY, BACK]) as servers, Speaker(servers[0]) as one, Speaker(servers[1]) as other:
        for each in [one, other]:
            each.subscribe("t")
        before = one.publish("t", "before")["id"]
        assert one.data(1) == other.data(1) == ["before"]
        lose(redis, one, other)
        away = one.publish("t", "away")["id"]
        redis.start()
        find_again(one, other)
        after = one.publish("t", "after")["id"]
        assert before < away < after
        assert one.data(2) == ["away", "after"]
        assert other.data(2) == ["away", "after"]
        for each in [one, other]:
            assert {told["type"] for told in each.behind} <= {"gap"}
        with Speaker(servers[1]) as late:
            late.subscribe("t", since=before)
            assert late.next("gap") and late.data(2) == ["away", "after"]


def stream_through(one, other, subscribers, trouble, count=400):
    """Two publish numbers while something happens; each subscriber gets each once."""
    for i in range(count):
        if i == count // 4:
            trouble()
        one.post("t", f"one {i}")
        other.post("t", f"other {i}")
    yield
    for each in subscribers:
        got = each.data(2 * count)
        assert sorted(got) == sorted([f"one {i}" for i in range(count)] + [f"other {i}" for i in range(count)])


@pytest.mark.parametrize("frozen_s", [0, pytest.param(20, marks=pytest.mark.soak)])
def test_a_frozen_redis_is_noticed_and_what_it_did_not_say_is_not_done_twice(frozen_s, handlers):
    lines = "WebSocketTopicHistory count=10000 bytes=16M memory=64M"
    with Redis(appendonly=True) as redis, servers_of(redis, handlers, lines, expect=[AWAY, BACK]) as servers, \
            Speaker(servers[0]) as one, Speaker(servers[1]) as other, Speaker(servers[0]) as near, Speaker(servers[1]) as far:
        for each in [near, far]:
            each.subscribe("t")
        streams = stream_through(one, other, [near, far], redis.freeze)
        next(streams)
        for each in [one, other]:
            assert each.publish("elsewhere", "")["result"] == LOCAL_ONLY
        time.sleep(frozen_s)
        redis.thaw()
        find_again(one, other)
        next(streams, None)
        for each in [near, far]:
            each.subscribe("u")
        one.publish("u", "end")
        for each in [near, far]:
            assert each.data(1) == ["end"] and not each.behind


def test_a_redis_that_is_killed_in_mid_stream(handlers):
    lines = "WebSocketTopicHistory count=10000 bytes=16M memory=64M"
    with Redis(appendonly=True) as redis, servers_of(redis, handlers, lines, expect=[AWAY, BACK]) as servers, \
            Speaker(servers[0]) as one, Speaker(servers[1]) as other, Speaker(servers[0]) as near, Speaker(servers[1]) as far:
        for each in [near, far]:
            each.subscribe("t")
        for _ in range(3):
            streams = stream_through(one, other, [near, far], redis.stop)
            next(streams)
            for each in [one, other]:
                publish_until(each, "elsewhere", lambda told: told["result"] == LOCAL_ONLY, "nobody knows that Redis is gone")
            redis.start()
            find_again(one, other)
            next(streams, None)
            assert not near.behind and not far.behind


@pytest.mark.parametrize("limit, kept", [("outbox-count=7", 7), ("outbox-bytes=2K", 4)], ids=["count", "bytes"])
def test_an_outbox_has_an_end(limit, kept, handlers):
    with Redis() as redis, servers_of(redis, handlers, options=limit, expect=[AWAY, BACK, r"the outbox is full; .* will not get: \d+"]) as servers, \
            Speaker(servers[0]) as one, Speaker(servers[1]) as other:
        for each in [one, other]:
            each.subscribe("t")
        redis.stop()
        eventually(lambda: all("until it is back" in server.error_log() for server in servers), "nobody knows that Redis is gone")
        for i in range(20):
            assert one.publish("t", f"{i} ".ljust(300))["result"] == LOCAL_ONLY
        assert [data.strip() for data in one.data(20)] == [str(i) for i in range(20)]
        assert "the outbox is full" in servers[0].error_log() and "the outbox is full" not in servers[1].error_log()
        redis.start()
        find_again(one, other)
        one.publish("t", "end")
        assert [data.strip() for data in other.until("end")] == [*map(str, range(kept)), "end"]


def test_what_an_outbox_sends_after_a_long_absence_does_not_come_twice(handlers):
    with Redis() as redis, servers_of(redis, handlers, options="outbox-count=10", count=1, expect=[AWAY, BACK, "the outbox is full"]) as [server], \
            Speaker(server) as one, Speaker(server) as near, Speaker(server) as another:
        near.subscribe("t")
        another.subscribe("elsewhere")
        redis.stop()
        eventually(lambda: "until it is back" in server.error_log(), "nobody knows that Redis is gone")
        for i in range(10):
            one.post("t", str(i))
        for _ in range(70_000):  # more than a child remembers each of
            one.post("elsewhere", "", transient=True)
        redis.start()
        find_again(one)
        one.publish("t", "end")
        assert near.until("end") == [*map(str, range(10)), "end"]


def test_redis_may_come_later_than_its_servers(handlers):
    with Redis() as redis:
        redis.stop()
        with servers_of(redis, handlers, expect=[AWAY, BACK]) as servers, Speaker(servers[0]) as one, Speaker(servers[1]) as other:
            for each in [one, other]:
                each.subscribe("t")
            assert one.publish("t", "early")["result"] == LOCAL_ONLY
            assert one.data(1) == ["early"]
            redis.start()
            find_again(one, other)
            one.publish("t", "later")
            assert one.data(1) == ["later"] and other.data(2) == ["early", "later"]


def test_scripts_that_redis_forgets_are_told_again(handlers):
    with Redis() as redis, servers_of(redis, handlers, count=1, expect=[AWAY, BACK]) as [server], Speaker(server) as one:
        one.subscribe("t")
        one.publish("t", "0")
        redis.command("SCRIPT", "FLUSH")
        for i in range(1, 10):
            one.post("t", str(i))
        find_again(one)
        assert one.data(10) == [str(i) for i in range(10)] and not one.behind


# --- Child processes come and go ---


def test_a_child_that_is_killed_in_mid_stream(handlers):
    with Redis() as redis, servers_of(redis, handlers, "WebSocketTopicHistory count=10000 bytes=16M memory=64M", mpm="prefork") as servers, \
            Speaker(servers[1]) as far, Speaker(servers[1]) as one:
        servers[0].expect(r"AH00052: child pid \d+ exit signal Killed \(9\)")
        victim, near = two_children(servers[0])
        for each in [near, far, victim]:
            each.subscribe("t")
        for i in range(100):
            one.post("t", str(i))
        last = victim.messages(20)[-1]
        os.kill(servers[0].child_of(victim.client), signal.SIGKILL)
        for i in range(100, 200):
            one.post("t", str(i))
        victim.client.await_cut()
        with Speaker(servers[0]) as again:
            again.subscribe("t", since=last["id"])
            assert again.data(180) == [str(i) for i in range(20, 200)]
        for each in [near, far]:
            assert each.data(200) == [str(i) for i in range(200)]


def test_a_publisher_that_is_killed_in_mid_stream_leaves_whole_ones_in_their_order(handlers):
    with Redis() as redis, servers_of(redis, handlers, mpm="prefork") as servers, \
            Speaker(servers[1]) as far:
        servers[0].expect(r"AH00052: child pid \d+ exit signal Killed \(9\)")
        victim, near = two_children(servers[0])
        for each in [near, far]:
            each.subscribe("t")
        for i in range(500):
            victim.post("t", str(i))
        os.kill(servers[0].child_of(victim.client), signal.SIGKILL)
        victim.client.await_cut()
        near.publish("t", "end")
        got = near.until("end")
        assert got == [*map(str, range(len(got) - 1)), "end"] and far.until("end") == got


def test_a_graceful_restart_in_mid_stream(mpm, handlers):
    with Redis() as redis, servers_of(redis, handlers, "WebSocketTopicHistory count=10000 bytes=16M memory=64M", mpm=mpm) as servers, \
            Speaker(servers[0]) as moved, Speaker(servers[1]) as one, Speaker(servers[1]) as far:
        moved.subscribe("t")
        far.subscribe("t")
        old = servers[0].children()
        for i in range(300):
            if i == 100:
                servers[0].process.send_signal(signal.SIGUSR1)
            one.post("t", str(i))
        got = []
        with pytest.raises(AssertionError):  # what comes last is the close frame
            while True:
                got.append(moved.next("message"))
        servers[0].await_new_children(old)
        with Speaker(servers[0]) as again:
            again.subscribe("t", since=got[-1]["id"] if got else 1)
            rest = [again.next("message") for _ in range(300 - len(got))]
        assert [told["data"] for told in [*got, *rest]] == far.data(300) == [str(i) for i in range(300)]


def test_what_was_published_last_leaves_a_child_that_ends(handlers):
    with Redis() as redis, servers_of(redis, handlers) as servers, Speaker(servers[0]) as one, Speaker(servers[1]) as far:
        far.subscribe("t")
        for i in range(500):
            one.post("t", str(i))
        one.client.close()
        servers[0].stop()
        assert far.data(500) == [str(i) for i in range(500)]


# --- Configuration ---

SECRET = "s3cret/%40:?"


def test_a_password_is_given_and_never_told(handlers, tmp_path):
    with Redis(password="s3cretword") as redis:
        file = tmp_path / "password"
        file.write_text("s3cretword\n")
        without = redis.url().replace(":s3cretword@", "")
        for bus in [redis.url(), f"{without} password-file={file}"]:
            with Server(f"WebSocketBus {bus}\n" + config_of(redis, handlers).split("\n", 1)[1], log_level="trace1") as server:
                server.expect(".")
                with Speaker(server) as one:
                    one.subscribe("t")
                    assert one.publish("t", "hello")["result"] == 0
                server.stop()
                for each in ["error.log", "access.log", "output"]:
                    assert "s3cretword" not in (server.folder / each).read_text(errors="replace")


@pytest.mark.parametrize("url", ["redis+unix://:wr0ngword@{}", "redis+unix://user:wr0ngword@{}", "redis+unix:{}"], ids=["wrong", "user", "none"])
def test_a_wrong_password_is_logged_but_not_told(url, handlers):
    with Redis(password="right") as redis:
        config = f"WebSocketBus {url.format(redis.socket)}\n" + config_of(redis, handlers).split("\n", 1)[1]
        with Server(config) as server, Speaker(server) as one:
            server.expect(r"WebSocketBus redis: .*socket: Redis does not let this server in: (WRONGPASS|NOAUTH|ERR invalid|ERR AUTH)")
            one.subscribe("t")
            assert one.publish("t", "here")["result"] == LOCAL_ONLY and one.data(1) == ["here"]
            assert "wr0ngword" not in server.error_log()


def test_a_redis_that_knows_no_passwords_is_logged_without_what_it_repeats(handlers):
    with Redis(config=['rename-command AUTH ""']) as redis:
        config = f"WebSocketBus redis+unix://b0b:s3cretword@{redis.socket}\n" + config_of(redis, handlers).split("\n", 1)[1]
        with Server(config) as server, Speaker(server) as one:
            server.expect(r"WebSocketBus redis: .*socket: Redis does not let this server in: ERR unknown command")
            assert one.publish("t", "here")["result"] == LOCAL_ONLY
            assert "ERR unknown command" in server.error_log()
            assert "s3cretword" not in server.error_log() and "b0b" not in server.error_log()


def test_a_user_of_redis_with_few_rights(handlers):
    rights = "on >word ~websocket:* &websocket:* -@all +eval +evalsha +script|load +auth +ping +select +subscribe +unsubscribe +publish +time " \
             "+hmget +hset +hget +hlen +hgetall +hdel +xadd +xrange +xrevrange +xlen +xinfo|stream +expire +del"
    with Redis(config=[f"user friend {rights}"]) as redis:
        url = redis.url().replace("redis+unix://", "redis+unix://friend:word@")
        with Server(f"WebSocketBus {url}\n" + config_of(redis, handlers).split("\n", 1)[1]) as server, Speaker(server) as one:
            one.subscribe("t", last=1)
            assert one.publish("t", "hello")["result"] == 0 and one.data(1) == ["hello"]


def test_redis_by_host_and_port(handlers):
    with Redis(port=free_port()) as redis:
        for host in ["127.0.0.1", "localhost"]:
            config = f"WebSocketBus redis://{host}:{redis.port}/1\n" + config_of(redis, handlers).split("\n", 1)[1]
            with Server(config) as server, Speaker(server) as one:
                one.subscribe("t")
                assert one.publish("t", "hello")["result"] == 0 and one.data(1) == ["hello"]


@pytest.mark.parametrize("host, reason", [("nowhere.invalid", "its name is not known"), ("127.0.0.1:1", "Connection refused")])
def test_a_redis_that_is_not_there(host, reason, handlers):
    config = f"WebSocketBus redis://{host}\n" + f'<Location /bus>\n WebSocketHandler "{handlers}/bus.so"\n</Location>'
    with Server(config) as server, Speaker(server) as one:
        server.expect(reason)
        one.subscribe("t")
        assert one.publish("t", "here")["result"] == LOCAL_ONLY and one.data(1) == ["here"]


@pytest.mark.parametrize("words, said", [
    ("", "WebSocketBus needs local, redis://host or redis+unix:/path"),
    ("elsewhere", "WebSocketBus needs local, redis://host or redis+unix:/path"),
    (f"redis://{SECRET}@host", "the address of Redis is wrong: "),
    (f"redis://:{SECRET}@host:99999", "the address of Redis is wrong: "),
    (f"redis://:{SECRET}@host?db=1", "the address of Redis is wrong: "),
    (f"redis://me:s3cret%@host", "the address of Redis is wrong: user or password has a"),
    ("redis:s3cret", "it is not of the form redis://"),
    ("rediss://:s3cret@host", "TLS is not spoken"),
    ("redis://:s3cret word@host", "the host is missing"),
    ("redis://host s3cret", "behind the address there may be"),
    ("redis://:s3cret@host outbox-count=s3cret", "outbox-count=NUMBER"),
    ("redis://:s3cret@host password=s3cret", "password-file=PATH"),
    ("redis://host password-file=/nowhere/at/all", "password-file=/nowhere/at/all cannot be read"),
    ("redis://host password-file=/dev/null", "does not begin with a line with a password"),
    ("local outbox-count=1", '"outbox-count=1" is not size=BYTES'),
])
def test_a_wrong_bus_is_refused_without_telling_the_password(words, said):
    server = Server(f"WebSocketBus {words}\n")
    try:
        status, output = server.configtest()
        assert status and said in output and "s3cret" not in output, output
        assert len([line for line in output.splitlines() if "WebSocketBus" in line]) == 1
    finally:
        server.kill()


def test_an_ordinary_bus_is_accepted():
    for words in ["local size=1M", "redis://host", "redis://user:pass@[::1]:7000/3?prefix=p size=1M outbox-count=5 outbox-bytes=1M", "redis+unix:/tmp/socket?db=2&prefix=x"]:
        server = Server(f"WebSocketBus {words}\n")
        try:
            assert server.configtest()[0] == 0
        finally:
            server.kill()


# --- Much ---

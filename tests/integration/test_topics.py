"""The handler topics, as its clients see it: bare ones, and those that speak topics.v1."""

import base64
import itertools
import json
import re
import signal

import pytest

from harness import BINARY, CLOSE, ECHO, TEXT, UPGRADE, Server, close_payload, eventually, frame, password_file
from hostile import serving, unharmed
from topics_support import OFFER, messages, talking

CONFIG = """
<Location /chat>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketParam history 3
</Location>
<Location /feed>
    WebSocketHandler topics
    WebSocketParam subscribe "news public/*"
    WebSocketParam publish "public/*/in *end"
</Location>
<Location /few>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketMaxSubscriptions 2
</Location>
<Location /none>
    WebSocketHandler topics
    WebSocketMaxSubscriptions 0
</Location>
<Location /workers>
    WebSocketHandler topics
    WebSocketParam publish on
    WebSocketWorkers 4
    WebSocketMaxSubscriptions 2
</Location>
"""
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module", params=["tcp", "tls", "resident-tls", "prefork"])
def server(request):
    how = {"mpm": "prefork"} if request.param == "prefork" else {"mooring": request.param}
    with Server(ECHO + CONFIG, **how) as running:
        yield running
        running.await_idle()


@pytest.fixture
def topic():
    """One that no other test uses."""
    return f"topic-{next(NUMBERS)}"


def heard_by(client):
    opcode, payload = client.read_frame()
    assert opcode in (TEXT, BINARY), (opcode, payload)
    return payload.decode() if opcode == TEXT else payload


# --- Without the subprotocol ---

@pytest.mark.parametrize("path", ["/chat/TOPIC", "/chat?topic=TOPIC", "/chat/?topic=TOPIC", "/chat/TOPIC?topic=other"])
def test_who_connects_gets_what_is_published(server, topic, path):
    with server.websocket(path.replace("TOPIC", topic)) as one, server.websocket(f"/chat/{topic}") as other:
        for text in ["grüße", "", "x" * 100_000]:
            one.send_text(text)
            assert heard_by(one) == heard_by(other) == text
        other.send(frame(BINARY, bytes(range(256))))
        assert heard_by(one) == heard_by(other) == bytes(range(256))
        one.close()
        other.close()


def test_a_newcomer_gets_the_history_first(server, topic):
    with server.websocket(f"/chat/{topic}") as one:
        for number in range(5):
            one.send_text(f"message {number}")
            heard_by(one)
        with server.websocket(f"/chat/{topic}") as other:
            assert [heard_by(other) for _ in range(3)] == ["message 2", "message 3", "message 4"]
            other.send_text("and on")
            assert heard_by(other) == heard_by(one) == "and on"


def test_topics_do_not_mix(server, topic):
    with server.websocket(f"/chat/{topic}/a") as a, server.websocket(f"/chat/{topic}/A") as other:
        other.send_text("not for a")
        assert heard_by(other) == "not for a"
        a.send_text("for a")
        assert heard_by(a) == "for a"


@pytest.mark.parametrize("path, status, body", [
    ("/chat", 400, "a topic is missing: name it behind the path, or by ?topic=\n"),
    ("/chat/", 400, "a topic is missing: name it behind the path, or by ?topic=\n"),
    ("/chat?topic=", 400, "a topic is missing: name it behind the path, or by ?topic=\n"),
    ("/chat/" + "x" * 256, 400, "a topic is UTF-8 of 1 to 255 bytes\n"),
    ("/chat/%ff", 400, "a topic is UTF-8 of 1 to 255 bytes\n"),
    ("/chat?topic=%ed%a0%80", 400, "a topic is UTF-8 of 1 to 255 bytes\n"),
    ("/feed/private", 403, "not allowed to subscribe to this topic\n"),
    ("/feed?topic=newsletter", 403, "not allowed to subscribe to this topic\n"),
])
def test_what_cannot_be_subscribed_to_is_refused_in_the_handshake(server, path, status, body):
    got, headers, text = server.http(path, *UPGRADE)
    assert (got, headers["content-type"], text.decode()) == (status, "text/plain", body)


def test_the_longest_topic(server):
    with server.websocket("/chat/" + "%c3%a4" * 127 + "x") as one, server.websocket("/chat?topic=" + "ä".encode().decode("latin-1") * 127 + "x") as other:
        one.send_text("here")
        assert heard_by(one) == heard_by(other) == "here"


def test_who_may_not_publish_and_does_is_closed(server):
    with server.websocket("/feed/news") as client:
        client.send_text("my news")
        assert client.read_close() == (1008, "not allowed to publish to this topic")


def test_who_may_publish_by_a_pattern_does(server):
    with server.websocket("/feed/public/a/in") as client:
        client.send_text("said")
        assert heard_by(client) == "said"


@pytest.mark.parametrize("path", ["/none/a"])
def test_without_room_for_a_subscription_it_is_closed(server, path):
    with server.websocket(path) as client:
        assert client.read_close() == (1013, "no room for another subscriber")


# --- topics.v1 ---

@pytest.mark.parametrize("where", ["/chat", "/workers"])
def test_many_topics_over_one_socket(server, topic, where):
    with talking(server, where) as one, talking(server, where) as other:
        for name in ["a", "b"]:
            one.subscribe(topic + name)
        first = other.publish(topic + "b", "to b")
        assert one.hear() == {"type": "message", "topic": topic + "b", "id": first, "data": "to b"}
        second = other.publish(topic + "a", "to a")
        assert second > 0
        assert one.hear() == {"type": "message", "topic": topic + "a", "id": second, "data": "to a"}
        assert one.ask(type="unsubscribe", topic=topic + "a") == {"type": "unsubscribed", "topic": topic + "a"}
        other.publish(topic + "a", "no more")
        other.publish(topic + "b", "still")
        assert one.hear()["data"] == "still"


def test_the_topic_of_the_address_is_subscribed_to_at_once(server, topic):
    with talking(server, "/chat") as one:
        ids = [one.publish(topic, f"m{number}") for number in range(5)]
        with talking(server, f"/chat/{topic}") as other:
            heard = other.hear_until(type="subscribed")
            assert [(each["id"], each["data"]) for each in heard[:-1]] == [(ids[i], f"m{i}") for i in (2, 3, 4)]
            assert heard[-1] == {"type": "subscribed", "topic": topic, "id": ids[-1]}


@pytest.mark.parametrize("path, code, named", [("/feed/private", "forbidden", "private"), ("/chat/%ff", "bad-request", None),
                                               ("/chat/" + "x" * 256, "bad-request", None), ("/none/some", "limit", "some")])
def test_a_topic_of_the_address_that_cannot_be_is_told(server, path, code, named):
    with talking(server, path) as talk:
        heard = talk.hear()
        assert (heard["type"], heard["code"], heard.get("topic")) == ("error", code, named)


def test_who_comes_back_goes_on_where_it_was(server, topic):
    with talking(server, "/chat") as one:
        begin = one.subscribe(topic)
        one.say(type="unsubscribe", topic=topic)
        one.hear()
        ids = [one.publish(topic, f"m{number}") for number in range(6)]
        for since, expected in [(0, 6), (begin, 6), (ids[0], 5), (ids[3], 2), (ids[5], 0)]:
            with talking(server, "/chat") as other:
                other.say(type="subscribe", topic=topic, since=since)
                heard = other.hear_until(type="subscribed")
                assert messages(heard) == [f"m{i}" for i in range(6 - expected, 6)]
                assert heard[-1]["id"] == ids[-1]
        for last, expected in [(0, 0), (1, 1), (4, 4), (100, 6), (9007199254740991, 6)]:
            with talking(server, "/chat") as other:
                other.say(type="subscribe", topic=topic, last=last)
                assert messages(other.hear_until(type="subscribed")) == [f"m{i}" for i in range(6 - expected, 6)]


def test_what_is_not_kept_any_more_is_a_gap(topic):
    with Server("WebSocketTopicHistory count=3\n" + CONFIG) as server, talking(server, "/chat") as one:
        begin = one.publish(topic, "first")
        for number in range(5):
            one.publish(topic, f"m{number}")
        one.say(type="subscribe", topic=topic, since=begin)
        heard = one.hear_until(type="subscribed")
        assert heard[0] == {"type": "gap", "topic": topic}
        assert messages(heard) == ["m2", "m3", "m4"]


def test_transient_publications_are_not_kept(server, topic):
    with talking(server, "/chat") as one, talking(server, "/chat") as other:
        one.subscribe(topic)
        other.publish(topic, "kept")
        other.publish(topic, "passing", transient=True)
        assert [one.hear()["data"] for _ in range(2)] == ["kept", "passing"]
        other.say(type="subscribe", topic=topic, last=10)
        assert messages(other.hear_until(type="subscribed")) == ["kept"]


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256)), b"\xff" * 1000])
def test_binary_data_is_base64(server, topic, data):
    with talking(server, "/chat") as one, server.websocket(f"/chat/{topic}") as bare:
        one.subscribe(topic)
        bare.send(frame(BINARY, data))
        heard = one.hear()
        assert heard["encoding"] == "base64" and base64.b64decode(heard["data"], validate=True) == data
        assert heard_by(bare) == data
        one.say(type="publish", topic=topic, data=heard["data"], encoding="base64")
        assert heard_by(bare) == data


@pytest.mark.parametrize("ref", ["", "r", "x" * 255, "ä\"\\\n\u2028\U0001f600", 0, -1, 9007199254740991, -9007199254740991])
def test_a_ref_comes_back(server, topic, ref):
    with talking(server, "/chat") as talk:
        assert talk.ask(type="publish", topic=topic, data="d", ref=ref)["ref"] == ref
        assert talk.ask(type="publish", topic=topic, data=7, ref=ref)["ref"] == ref


def test_texts_arrive_as_they_are(server, topic):
    text = "".join(map(chr, [*range(0, 0x180), 0x2028, 0x2029, 0xd7ff, 0xe000, 0xfffd, 0xffff, 0x10000, 0x10ffff]))
    with talking(server, "/chat") as one, server.websocket(f"/chat/{topic}") as bare:
        one.subscribe(topic)
        bare.send_text(text)
        assert one.hear()["data"] == heard_by(bare) == text
        one.say(type="publish", topic=topic, data=text)
        assert one.hear()["data"] == heard_by(bare) == text


WRONG = [
    ("", "not JSON"), ("{", "not JSON"), ("nonsense", "not JSON"), ('{"type":"subscribe","topic":"a"} x', "not JSON"),
    ("[]", "not a JSON object"), ("7", "not a JSON object"), ("null", "not a JSON object"), ('"text"', "not a JSON object"),
    ("{}", "type is none of subscribe, unsubscribe and publish"),
    ('{"type":"message","topic":"a"}', "type is none of subscribe, unsubscribe and publish"),
    ('{"type":1,"topic":"a"}', "type is none of subscribe, unsubscribe and publish"),
    ('{"type":"subscribe"}', "topic is not a text of 1 to 255 bytes"),
    ('{"type":"subscribe","topic":""}', "topic is not a text of 1 to 255 bytes"),
    ('{"type":"subscribe","topic":["a"]}', "topic is not a text of 1 to 255 bytes"),
    ('{"type":"subscribe","topic":"' + "x" * 256 + '"}', "topic is not a text of 1 to 255 bytes"),
    ('{"type":"subscribe","topic":"\\ud800"}', "not JSON"),
    ('{"type":"subscribe","topic":"a","topic":"b"}', "a member is there twice"),
    ('{"type":"subscribe","topic":"a","since":1,"last":1}', "since and last are both there"),
    ('{"type":"subscribe","topic":"a","since":-1}', "since is not an integer from 0 to 9007199254740991"),
    ('{"type":"subscribe","topic":"a","since":1.0}', "since is not an integer from 0 to 9007199254740991"),
    ('{"type":"subscribe","topic":"a","since":9007199254740992}', "since is not an integer from 0 to 9007199254740991"),
    ('{"type":"subscribe","topic":"a","last":1e400}', "not JSON"),
    ('{"type":"subscribe","topic":"a","last":' + "9" * 400 + "}", "not JSON"),
    ('{"type":"subscribe","topic":"a","last":"1"}', "last is not an integer from 0 to 9007199254740991"),
    ('{"type":"publish","topic":"a"}', "data is not a text"),
    ('{"type":"publish","topic":"a","data":{}}', "data is not a text"),
    ('{"type":"publish","topic":"a","data":"x","encoding":"base64"}', "data is not Base64"),
    ('{"type":"publish","topic":"a","data":"YR==","encoding":"base64"}', "data is not Base64"),
    ('{"type":"publish","topic":"a","data":"YQ==\\n","encoding":"base64"}', "data is not Base64"),
    ('{"type":"publish","topic":"a","data":"x","encoding":"hex"}', "encoding is not base64"),
    ('{"type":"publish","topic":"a","data":"x","transient":1}', "transient is neither true nor false"),
    ('{"type":"publish","topic":"a","data":"x","ref":1.5}', "ref is neither a text of at most 255 bytes nor an integer of at most 53 bits"),
    ('{"type":"publish","topic":"a","data":"x","other":' + "[" * 16 + "]" * 16 + "}", "nested too deeply"),
    ("[" * 100_000, "not a JSON object"), ('{"a":' * 100_000, "nested too deeply"),
]


def test_what_is_wrong_is_answered_and_the_connection_goes_on(server, topic):
    with talking(server, "/chat") as talk:
        for text, message in WRONG:
            talk.client.send_text(text)
            heard = talk.hear()
            assert (heard["type"], heard["code"], heard["message"]) == ("error", "bad-request", message), text[:100]
        talk.client.send(frame(BINARY, b'{"type":"subscribe","topic":"a"}'))
        assert talk.hear()["message"] == "messages of topics.v1 are texts"
        talk.subscribe(topic)


def test_what_is_not_known_is_ignored(server, topic):
    with talking(server, "/chat") as talk:
        talk.client.send_text('{"x":[1.5,{"type":"publish"},null],"type":"subscribe","x":{"topic":{}},"topic":"%s","y":%s}' % (topic, "[" * 15 + "]" * 15))
        assert talk.hear()["type"] == "subscribed"


def test_a_hundred_wrong_messages_in_a_row_are_the_end(server, topic):
    with talking(server, "/chat") as talk:
        for _ in range(99):
            assert talk.ask(type="nonsense")["code"] == "bad-request"
        talk.subscribe(topic)
        for _ in range(99):
            assert talk.ask(type="nonsense")["code"] == "bad-request"
        talk.say(type="nonsense")
        assert talk.client.read_close() == (1008, "too many wrong messages in a row")


def test_what_is_not_allowed_is_answered(server):
    with talking(server, "/feed") as talk:
        talk.subscribe("news")
        talk.subscribe("public/x")
        for name in ["new", "newss", "xnews", "private", "publi/x"]:
            heard = talk.ask(type="subscribe", topic=name, ref=name)
            assert (heard["code"], heard["topic"], heard["ref"]) == ("forbidden", name, name)
        for name in ["public/a/in", "public//in", "end", "the end"]:
            talk.publish(name, "x")
        for name in ["public/in", "public/a/inn", "ending", "news"]:
            heard = talk.ask(type="publish", topic=name, data="x", ref=1)
            assert (heard["code"], heard["topic"], heard["ref"]) == ("forbidden", name, 1)


def test_a_second_subscription_to_a_topic_is_answered(server, topic):
    with talking(server, f"/chat/{topic}") as talk:
        assert talk.hear()["type"] == "subscribed"
        assert talk.ask(type="subscribe", topic=topic)["message"] == "subscribed to this topic already"
        talk.ask(type="unsubscribe", topic=topic)
        talk.subscribe(topic)
        assert talk.ask(type="unsubscribe", topic="never heard of")["type"] == "unsubscribed"


@pytest.mark.parametrize("where", ["/few", "/workers"])
def test_no_more_subscriptions_than_allowed(server, topic, where):
    with talking(server, where) as talk:
        talk.subscribe(topic + "a")
        talk.subscribe(topic + "b")
        heard = talk.ask(type="subscribe", topic=topic + "c")
        assert (heard["code"], heard["topic"]) == ("limit", topic + "c")
        talk.ask(type="unsubscribe", topic=topic + "a")
        talk.subscribe(topic + "c")


def test_users_have_topics_of_their_own():
    config = """
<Location /users>
    WebSocketHandler topics
    WebSocketParam subscribe "user/{user}/* *"
    WebSocketParam publish "user/{user}/in {user}"
    AuthType Basic
    AuthName users
    AuthUserFile users
    Require valid-user
</Location>
<Location /nobody>
    WebSocketHandler topics
    WebSocketParam publish "{user} user/{user}* all"
</Location>
"""
    server = Server(config, modules=["auth_basic", "authn_file", "authz_user"])
    (server.folder / "users").write_text(password_file(alice="open sesame"))
    with server:
        with talking(server, "/users", "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=") as talk:
            talk.publish("user/alice/in", "x")
            talk.publish("alice", "x")
            for name in ["user/bob/in", "user/{user}/in", "{user}", "user//in", "bob", "user/alice/in/"]:
                assert talk.ask(type="publish", topic=name, data="x")["code"] == "forbidden"
        with talking(server, "/nobody") as talk:
            talk.publish("all", "x")
            for name in ["{user}", "user/", "user/x", "user/{user}"]:
                assert talk.ask(type="publish", topic=name, data="x")["code"] == "forbidden"


def test_what_is_too_big_to_be_published_is_told(topic):
    with Server("WebSocketBus local size=64K\n" + CONFIG) as server:
        with talking(server, "/chat") as talk:
            for how in [{"ref": "r"}, {}]:
                heard = talk.ask(type="publish", topic=topic, data="x" * 16385, **how)
                assert (heard["code"], heard["topic"], heard.get("ref")) == ("too-big", topic, how.get("ref"))
            talk.publish(topic, "x" * 16384)
        with server.websocket(f"/chat/{topic}2") as client:
            client.send_text("x" * 16385)
            assert client.read_close() == (1009, "too big to be published")


def kept(talk, topic):
    talk.say(type="subscribe", topic=topic, last=1000)
    data = messages(talk.hear_until(type="subscribed"))
    talk.ask(type="unsubscribe", topic=topic)
    return data


@pytest.mark.parametrize("directive, expected", [
    ("", range(20, 120)), ("WebSocketTopicHistory count=7", range(113, 120)), ("WebSocketTopicHistory count=0", []),
    ("WebSocketTopicHistory bytes=16", range(116, 120)), ("WebSocketTopicHistory bytes=3", []),
    ("WebSocketTopicHistory count=1000 memory=64K", None),
])
def test_so_much_of_a_topic_is_kept(topic, directive, expected):
    with Server(directive + CONFIG) as server, talking(server, "/chat") as talk:
        for number in range(120):
            talk.publish(topic, f"{number:04}")
        if expected is not None:
            assert kept(talk, topic) == [f"{number:04}" for number in expected]
        else:
            for number in range(120):
                talk.publish(topic, "x" * 1000)
            assert 10 < len(kept(talk, topic)) < 66


def test_what_is_too_old_is_kept_no_more(topic):
    with Server("WebSocketTopicHistory age=200ms" + CONFIG) as server, talking(server, "/chat") as talk:
        talk.publish(topic, "old")
        eventually(lambda: not kept(talk, topic), "it stays for ever")
        talk.publish(topic, "new")
        assert kept(talk, topic) in (["new"], [])  # where the machine stood still


def test_the_history_outlives_a_graceful_restart_and_sizes_stay_as_they_were(topic):
    with Server(CONFIG) as server:
        server.expect(r"WebSocketBus size=, WebSocketTopicHistory memory= and WebSocketMaxTopics stay as they were at the server's start: stop it and start it")
        old = server.children()
        with talking(server, "/chat") as talk:
            talk.publish(topic, "before")
            server.replace_config("WebSocketMaxTopics 99" + CONFIG)
            server.process.send_signal(signal.SIGUSR1)
            server.await_new_children(old)
            with talking(server, "/chat") as newcomer:
                assert kept(newcomer, topic) == ["before"]
        server.await_gone(old)
        assert "stay as they were" in server.error_log()


@pytest.mark.parametrize("way", ["bare", "closed", "told"])
def test_a_client_that_does_not_read_misses_some(topic, way):
    """It goes on behind the gap; unless the location closes such clients, or it is told of it."""
    config = CONFIG.replace("WebSocketParam history 3", "WebSocketParam gap close") if way == "closed" else CONFIG
    with Server(config) as server, server.websocket(f"/chat/{topic}", *([OFFER] if way == "told" else [])) as slow, talking(server, "/chat") as publisher:
        # Subscribed it is when its own comes back.
        slow.send_text("!" if way != "told" else json.dumps({"type": "publish", "topic": topic, "data": "!"}))
        while b"!" not in slow.read_frame()[1]:
            pass
        for number in range(300):
            publisher.publish(topic, f"{number:04}" + "x" * 60_000)
        publisher.publish(topic, "the end")
        texts, gaps, opcode = [], 0, TEXT
        while opcode == TEXT and texts[-1:] != ["the end"]:
            opcode, payload = slow.read_frame()
            if opcode == CLOSE:
                break
            text = payload.decode()
            if way == "told":
                envelope = json.loads(text)
                gaps += envelope["type"] == "gap"
                text = envelope.get("data", "")
            texts.append(text)
        assert len(texts) < 250
        if way == "closed":
            assert payload == close_payload(1013, "too slow")
        else:
            assert texts[-1] == "the end" and gaps == (way == "told")


def test_answers_that_nobody_reads_take_no_memory():
    with serving("LogLevel warn\n" + ECHO + CONFIG) as server, unharmed(server), talking(server, "/chat") as talk:
        talk.client.start_sending(frame(TEXT, '{"type":"unsubscribe","topic":"%s"}' % ("x" * 200)) * 200_000)
        talk.client.send_until_blocked()
        assert talk.client.unsent, "it read all"
        talk.client.stop_sending()
        talk.client.reset()


@pytest.mark.parametrize("parameter, complaint", [
    ('publish ""', "WebSocketParam"), ('publish " "', "publish is on, off, or topics separated by blanks.*: it is empty"),
    ('publish "a on"', 'publish is .*: "on" is no topic here'), ("subscribe 'a off'", 'subscribe is on, off, or topics .*: "off" is no topic here'),
    ('publish "a/{group}"', r'publish is .*: behind \{ comes user\} in "a/\{group\}"'),
    ("subscribe " + "x" * 256, "subscribe is .*: a topic is UTF-8 of at most 255 bytes"),
    ("history -1", "history is a number of publications from 0 to 1000000, not \"-1\""), ("history 1000001", "history is a number"),
    ("history 5x", "history is a number"), ("gap maybe", 'gap is ignore or close, not "maybe"'),
])
def test_a_wrong_parameter_fails_the_configtest(parameter, complaint):
    server = Server(f"<Location /t>\nWebSocketHandler topics\nWebSocketParam {parameter}\n</Location>")
    try:
        status, text = server.configtest()
    finally:
        server.kill()
    assert status != 0
    assert re.search(complaint, text), text

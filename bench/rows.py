"""The rows of the table: what is measured, and how well it has to be. bench/README.md describes them."""

import parts
from servers import TOP, Failed, floor, held, httpd, load, subscribed
from table import Measured, Row

MESSAGE_BYTES, CLIENTS = 64, 100  # of rows that do not say otherwise
IDLE, TLS_IDLE, RESIDENT_IDLE = 15000, 10000, 400  # connections
SUBSCRIBERS, FANOUT_BYTES = 10000, 100
CHURN_CLIENTS, HTTP_CLIENTS = 8, 8
PINGED, PING_S, PING_USUAL_S = 15000, 3, 30  # connections, the time after which each is pinged, and that for which the figure is
TOPICS = "--param", "publish=on"
QUIET = "WebSocketPing off\nMaxKeepAliveRequests 0\n"  # idle connections do nothing, and those of HTTP last
FOUR_CHILDREN = """StartServers 4
ServerLimit 8
ThreadsPerChild 17
MaxRequestWorkers 68
MinSpareThreads 1
MaxSpareThreads 100
"""
RESIDENT = f"""ServerLimit 2
ThreadLimit {RESIDENT_IDLE + 100}
ThreadsPerChild {RESIDENT_IDLE + 100}
MaxRequestWorkers {RESIDENT_IDLE + 100}
MinSpareThreads 1
MaxSpareThreads {RESIDENT_IDLE + 100}
WebSocketMaxResident {RESIDENT_IDLE + 1}
WebSocketDetach off
"""
WORKERS = f"""<Location "/workers">
    WebSocketHandler {TOP}/build/handlers/echo.so
    WebSocketWorkers 2
</Location>
"""


def cpu_ratio(first, second):
    return second["cpu_us"] / first["cpu_us"]


def in_turns(options, first, second, figure=cpu_ratio):
    """Rounds of two measurements and a figure that compares the second to the first."""
    rounds = []
    for _ in range(options.rounds):
        pair = first(), second()
        if pair[0].get("cipher") != pair[1].get("cipher"):
            raise Failed(f"compares {pair[0]['cipher']} and {pair[1]['cipher']}")
        rounds.append((figure(*pair), *pair))
    return rounds


def pace(first, second, named="floor"):
    """Throughput and latency of both."""
    return (f"{second['replies_s']:.0f}/s, {named} {first['replies_s']:.0f}; p50 {second['p50_us']:.0f} us, {named} {first['p50_us']:.0f}; "
            f"p99 {second['p99_us']:.0f} us, {named} {first['p99_us']:.0f}")


def tls_of(options, tls):
    """The files for a server and the words for a load."""
    return (options.certificate, ["--tls"]) if tls else ((), [])


def echo(connections, size, depth, tls=False):
    def measure(options):
        files, words = tls_of(options, tls)

        def run(one):
            return load("echo", one.port, "/echo", connections, size, depth, options.seconds, one.pid, options=words)

        with httpd(tls=files) as server, floor(size, tls=files) as bottom:
            rounds = in_turns(options, lambda: run(bottom), lambda: run(server))
        return Measured(rounds, lambda low, high: f"CPU {high['cpu_us']:.3f} us per message, floor {low['cpu_us']:.3f}; {pace(low, high)}")
    return measure


def half_load(options):
    """Latency of messages that come at half of the rate that both can take."""
    def run(one, *words):
        mode, *words = words
        return load(mode, one.port, "/echo", CLIENTS, MESSAGE_BYTES, *words, options.seconds, one.pid)

    with httpd() as server, floor(MESSAGE_BYTES) as bottom:
        rate = min(run(one, "echo", 1)["replies_s"] for one in (bottom, server)) / 2
        rounds = in_turns(options, lambda: run(bottom, "paced", rate), lambda: run(server, "paced", rate), lambda low, high: high["usual_p99_us"] / low["usual_p99_us"])
    return Measured(rounds, lambda low, high: f"p99 of 50 ms {high['usual_p99_us']:.0f} us, floor {low['usual_p99_us']:.0f}, at {rate:.0f}/s; in all {pace(low, high)}; CPU {high['cpu_us']:.2f} us, floor {low['cpu_us']:.2f}")


def deflate(options):
    """The default level of WebSocketCompression beside zlib's own. The verdict is on the CPU time; the sizes stand beside it."""
    def run(server):
        return load("deflate", server.port, "/echo", CLIENTS, options.seconds, server.pid)

    with httpd(config="WebSocketCompression on level=6\n") as stock, httpd() as server:
        rounds = in_turns(options, lambda: run(stock), lambda: run(server))
    return Measured(rounds, lambda zlib, own: f"CPU {own['cpu_us']:.2f} us per message, {own['reply_bytes']:.0f} bytes of answer; "
                    f"zlib level 6 {zlib['cpu_us']:.2f} us, {zlib['reply_bytes']:.0f} bytes; {own['replies_s']:.0f}/s, zlib {zlib['replies_s']:.0f}")


def fanned_out(options, bottom, server):
    with bottom as bottom_once, server as server_once:
        rounds = in_turns(options, bottom_once, server_once)
    return Measured(rounds, lambda low, high: f"CPU {high['cpu_us']:.2f} us per delivery, floor {low['cpu_us']:.2f}; "
                    f"to {SUBSCRIBERS} in {high['burst_ms']:.0f} ms, floor {low['burst_ms']:.0f}")


def fanout(options):
    words = SUBSCRIBERS, FANOUT_BYTES, options.seconds
    with httpd(*TOPICS) as server, floor("fanout", FANOUT_BYTES) as bottom:
        return fanned_out(options, subscribed(bottom, "fanout", "/", *words), subscribed(server, "fanout", "/topics/bench", *words))


def fanout_deflate(options):
    """The floor sends as many bytes as a frame takes compressed."""
    with httpd(*TOPICS) as server:
        with subscribed(server, "fanout-deflate", "/topics/first", CLIENTS, 0.1) as once:
            size = round(once()["reply_bytes"]) - 4
        with floor("fanout", size) as bottom:
            return fanned_out(options, subscribed(bottom, "fanout", "/", SUBSCRIBERS, size, options.seconds),
                              subscribed(server, "fanout-deflate", "/topics/bench", SUBSCRIBERS, options.seconds))


def among_children(rounds, of_all):
    """Measurements with one child and with four of which each has some of the clients. `of_all` is the unit of the CPU time."""
    _, one, four = rounds[0]
    if (one["processes"], four["processes"]) != (1, 4):
        raise Failed(f"compares {one['processes']:.0f} and {four['processes']:.0f} children")
    return Measured(rounds, lambda one, four: f"CPU {four['cpu_us']:.2f} us per {of_all}, four children of at least {four['fewest']:.0f} sockets; "
                    f"one child {one['cpu_us']:.2f}" + (f"; {pace(one, four, 'one')}" if "p50_us" in one else ""))


def fanout_children(options):
    words = "fanout", "/topics/bench", SUBSCRIBERS, FANOUT_BYTES, options.seconds
    with httpd(*TOPICS) as one, httpd(*TOPICS, config=FOUR_CHILDREN) as four, subscribed(one, *words) as one_once, subscribed(four, *words, children=4) as four_once:
        return among_children(in_turns(options, one_once, four_once), "delivery")


def short_echo(options, server, path="/echo", children=1):
    return load("echo", server.port, path, CLIENTS, MESSAGE_BYTES, 1, options.seconds, server.pid, options=["--children", children])


def children(options):
    with httpd() as one, httpd(config=FOUR_CHILDREN) as four:
        return among_children(in_turns(options, lambda: short_echo(options, one), lambda: short_echo(options, four, children=4)), "message")


def loops(options):
    """A child gives connections to its loops in turn."""
    with httpd() as one, httpd(config="WebSocketThreads 2\n") as two:
        rounds = in_turns(options, lambda: short_echo(options, one), lambda: short_echo(options, two))
    return Measured(rounds, lambda one, two: f"CPU {two['cpu_us']:.2f} us per message, one loop {one['cpu_us']:.2f}; {pace(one, two, 'one')}")


def workers(options):
    """The same handler twice in one server, on the loop and on workers."""
    with httpd(config=WORKERS) as server:
        rounds = in_turns(options, lambda: short_echo(options, server), lambda: short_echo(options, server, "/workers"),
                          lambda inline, pool: pool["cpu_us"] - inline["cpu_us"])
    return Measured(rounds, lambda inline, pool: f"CPU {pool['cpu_us']:.2f} us per message on workers, {inline['cpu_us']:.2f} inline; {pace(inline, pool, 'inline')}")


def beside_idle(options, figure, mode, *words):
    """A server that nothing else is connected to, and one with many connections that do nothing."""
    def run(server):
        return load(mode, server.port, *words, options.seconds, server.pid)

    with httpd(config=QUIET) as empty, httpd(config=QUIET) as full, held(full.port, IDLE):
        return in_turns(options, lambda: run(empty), lambda: run(full), figure)


def growth(options):
    rounds = beside_idle(options, cpu_ratio, "echo", "/echo", CLIENTS, MESSAGE_BYTES, 1)
    return Measured(rounds, lambda none, idle: f"CPU {idle['cpu_us']:.2f} us per message beside {IDLE} idle, {none['cpu_us']:.2f} beside none; {pace(none, idle, 'none')}")


def http(options):
    rounds = beside_idle(options, lambda none, idle: idle["replies_s"] / none["replies_s"], "http", "/small.txt", HTTP_CLIENTS)
    return Measured(rounds, lambda none, idle: f"beside {IDLE} idle, {pace(none, idle, 'none')}; CPU {idle['cpu_us']:.1f} us per request, none "
                    f"{none['cpu_us']:.1f}: {cpu_ratio(none, idle):.2f} x")


def idle(connections, tls=False, config=""):
    """A new server each round, as memory once taken is kept."""
    def measure(options):
        files, words = tls_of(options, tls)
        rounds = []
        for _ in range(min(options.rounds, 3)):
            with httpd(tls=files, config=config) as server:
                run = load("idle", server.port, "/echo", connections, server.pid, options=words)
            rounds.append((run["kb"], run))
        return Measured(rounds, lambda run: f"per connection, {run['connections']:.0f} open, all of httpd's processes, PSS")
    return measure


def pings(options):
    with httpd(config=f"WebSocketPing {PING_S} 60\n") as server:
        run = load("pings", server.port, "/echo", PINGED, max(3 * PING_S, options.seconds), server.pid)
    percent = 100 * run["cpu_us"] * 1e-6 * 100_000 / PING_USUAL_S
    return Measured([(percent, run)], lambda run: f"of a processor for 100,000 idle connections pinged every {PING_USUAL_S} s; {run['cpu_us']:.1f} us a ping, "
                    f"measured at {run['pings_s']:.0f}/s with {PINGED}")


def churn(tls=False):
    def measure(options):
        files, words = tls_of(options, tls)

        def run(mode, path):
            return load(mode, server.port, path, CHURN_CLIENTS, options.seconds, server.pid, options=words)

        with httpd(tls=files) as server:
            rounds = in_turns(options, lambda: run("get", "/empty.txt"), lambda: run("churn", "/echo"))
        return Measured(rounds, lambda get, churn: f"CPU {churn['cpu_us']:.0f} us, GET {get['cpu_us']:.0f}; {churn['connections_s']:.0f} connections/s, GET {get['connections_s']:.0f}")
    return measure


FLOOR, KB = "x floor", "KB"
ALL = [
    Row("echo-64-1", "echo, 100 connections, 64 B, depth 1: CPU per message", echo(100, 64, 1), FLOOR, 1.03),
    Row("echo-64-16", "echo, 100 connections, 64 B, depth 16: CPU per message", echo(100, 64, 16), FLOOR, 1.10),
    Row("echo-16k-1", "echo, 100 connections, 16 KiB, depth 1: CPU per message", echo(100, 16384, 1), FLOOR, 1.12),
    Row("echo-1m-1", "echo, 16 connections, 1 MiB, depth 1: CPU per message", echo(16, 1 << 20, 1), FLOOR, 1.35),
    Row("tls-64-1", "echo-64-1 over TLS", echo(100, 64, 1, tls=True), FLOOR, 1.03),
    Row("tls-64-16", "echo-64-16 over TLS", echo(100, 64, 16, tls=True), FLOOR, 1.05),
    Row("tls-16k-1", "echo-16k-1 over TLS", echo(100, 16384, 1, tls=True), FLOOR, 1.05),
    Row("p99", "p99 latency at half load, 100 connections, 64 B", half_load, FLOOR, 1.20),
    Row("idle", "idle memory per connection", idle(IDLE), KB, 0.50),
    Row("tls-idle", "idle memory per connection over TLS", idle(TLS_IDLE, tls=True), KB, 14.50),
    Row("resident-idle", "idle memory per connection that keeps its thread", idle(RESIDENT_IDLE, config=RESIDENT), KB),
    Row("resident-tls-idle", "the same over TLS", idle(RESIDENT_IDLE, tls=True, config=RESIDENT), KB),
    Row("churn", "connect, upgrade, one echo, reset: CPU, to that of connect, GET an empty file, reset", churn(), "x GET", 1.20),
    Row("tls-churn", "churn over TLS", churn(tls=True), "x GET", 1.10),
    Row("fanout-100", "one publication of 100 B to 10,000 subscribers of one child: CPU per delivery", fanout, FLOOR, 1.10),
    Row("fanout-deflate", "the same with 1 KB of JSON and permessage-deflate", fanout_deflate, FLOOR, 1.25),
    Row("fanout-4", "fanout-100 with four children: CPU per delivery", fanout_children, "x one child", 1.10),
    Row("deflate-1k", "permessage-deflate echo of 1 KB of JSON: CPU per message, to that with zlib level 6", deflate, "x zlib", 0.70),
    Row("worker", "echo on workers: CPU per message above the inline path", workers, "us", 3.0),
    Row("growth", "echo-64-1 beside 15,000 idle connections: CPU per message, to that beside none", growth, "x none", 1.15),
    Row("loops-2", "echo-64-1 with two loops in a child: CPU per message", loops, "x one loop", 1.10),
    Row("children-4", "echo-64-1 with four children: CPU per message", children, "x one child", 1.10),
    Row("http", "plain HTTP beside 15,000 idle WebSockets: throughput, to that beside none", http, "x none", 0.97, at_least=True),
    Row("pings", "100,000 idle connections pinged every 30 s: CPU", pings, "%", 3.0),
    Row("bus", "publications of 100 B from one process to another", parts.bus, "k/s", parts.BUS_TARGET / 1000, at_least=True),
    Row("redis", "publication through the bus between servers: p50, to that of redis-benchmark", parts.redis, "x redis", 1.30),
    Row("utf8-ascii", "validating ASCII", parts.in_memory("gb_s", "utf8-ascii"), "GB/s", 8, at_least=True),
    Row("utf8-mixed", "validating text of many scripts", parts.in_memory("gb_s", "utf8-mixed"), "GB/s", 1, at_least=True),
    Row("unmask", "unmasking: speed", parts.in_memory("ratio", "unmask", "unmask-to"), "x memcpy", 0.80, at_least=True),
]

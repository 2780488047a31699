"""Rows of single parts, without httpd: the two buses, and what walks over bytes."""

import statistics
import subprocess

from servers import BUS, BYTES, REDIS, STOP_LIMIT_S, TOP, load, redis_server
from table import Measured

BUS_TARGET, BUS_LATENCY_TARGET_US = 300_000, 200  # publications/s; above that in the same process, at half of them
REDIS_RECORD = 127  # bytes of 100 of payload
BYTES_SIZES = 4096, 65536, 1048576


def bus(options):
    """A loss counts in any of the rounds, the time to another process by its median."""
    rounds = []
    for _ in range(options.rounds):
        fast, half = load("throughput", options.seconds, program=BUS), load("latency", options.seconds / 2, BUS_TARGET / 2, program=BUS)
        rounds.append((fast["published_s"] / 1000, fast, half))
    later_us = statistics.median(half["p50_us"] - half["own_p50_us"] for _, _, half in rounds)
    lost = sum(fast["lost"] + half["lost"] for _, fast, half in rounds)
    flaws = [f"{lost:.0f} lost"] if lost else []
    if later_us > BUS_LATENCY_TARGET_US:
        flaws.append(f"slow at {BUS_TARGET / 2000:.0f} k/s")
    return Measured(rounds, lambda fast, half: f"CPU {fast['publish_cpu_us']:.2f} us to publish, {fast['hear_cpu_us']:.2f} to hear; {lost:.0f} lost; "
                    f"at {BUS_TARGET / 2000:.0f} k/s another process hears {later_us:.0f} us later than the own (<= {BUS_LATENCY_TARGET_US})", ", ".join(flaws))


def redis(options):
    """Publishing until it comes back by Redis, beside redis-benchmark with the same script and a subscriber, as a bus has one."""
    with redis_server() as path:
        def client(*words, text=None):
            return subprocess.run(["redis-cli", "-s", path, *words], input=text, capture_output=True, text=True, check=True).stdout.strip()

        def benchmark():
            lines = subprocess.run(["redis-benchmark", "-s", path, "-c", "1", "-n", str(count), "--csv", "EVALSHA", sha, "2", *words, "x" * REDIS_RECORD, "0"],
                                   capture_output=True, text=True, check=True).stdout.replace('"', "").splitlines()
            return {"p50_us": 1000 * float(dict(zip(lines[0].split(","), lines[1].split(",")))["p50_latency_ms"])}

        count = max(1, round(options.seconds * 5000))
        script, words = subprocess.run([REDIS, path, "script"], capture_output=True, text=True, check=True).stdout.split("\n--\n")
        words = words.splitlines()
        sha = client("-x", "SCRIPT", "LOAD", text=script)
        subscriber = subprocess.Popen(["redis-cli", "-s", path, "SUBSCRIBE", words[-1]], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        subscriber.stdout.readline()
        rounds = []
        try:
            for _ in range(options.rounds):
                pair = benchmark(), load(path, count, program=REDIS)
                rounds.append((pair[1]["p50_us"] / pair[0]["p50_us"], *pair))
        finally:
            subscriber.terminate()
            subscriber.wait(STOP_LIMIT_S)
    return Measured(rounds, lambda bare, run: f"p50 {run['p50_us']:.0f} us from publishing to hearing, redis-benchmark {bare['p50_us']:.0f}; {run['pipelined_s']:.0f}/s when none waits")


def in_memory(key, *kinds):
    """The slowest of some kinds and all sizes."""
    def measure(options):
        cases = [(kind, size) for kind in kinds for size in BYTES_SIZES]
        budget_ms = max(1, round(options.seconds * 1000 / len(cases)))
        rounds = []
        for _ in range(options.rounds):
            runs = {f"{kind} {size >> 10}K": load(kind, size, budget_ms, program=BYTES) for kind, size in cases}
            rounds.append((min(run[key] for run in runs.values()), runs))
        return Measured(rounds, lambda runs: "; ".join(f"{name} {run['gb_s']:.1f} GB/s, {run['ratio']:.2f} x memcpy" for name, run in runs.items()))
    return measure

"""The monitor as a process, against a real broker: what it shows equals what Kafka's own tools say."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from hocket.contracts.codec import Codec
from hocket.contracts.records import Answer, DeadLetter, Heartbeat, Receipt
from hocket.core.donemap import DoneMap, Flight, encode
from hocket.kafka.admin import apply_topics
from hocket.kafka.client import topics_of
from hocket.local.broker import EmbeddedBroker
from hocket.local.process import free_ports
from hocket.runtime.clock import now_ms

pytestmark = pytest.mark.kafka
LIST_GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


def _get(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode()
    except OSError as e:
        return 0, str(e)


class Monitor:
    """A running monitor process and what its pages say."""

    def __init__(self, settings, log, **env):
        self.port = free_ports(1)[0]
        self.settings, self.log, self.env, self.process = settings, log, env, None

    async def start(self):
        s = self.settings
        own = {
            "HOCKET_BOOTSTRAP": s.bootstrap,
            "HOCKET_PREFIX": s.prefix,
            "HOCKET_PARTITIONS": str(s.partitions),
            "HOCKET_STATE_DIR": str(s.state_dir),
            "HOCKET_HTTP_PORT": str(self.port),
            "HOCKET_LOG_FORMAT": "json",
        }
        with self.log.open("a") as out:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.monitor", env=os.environ | own | self.env, stdout=out, stderr=out
            )

    async def get(self, path):
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.port}{path}")

    async def json(self, path):
        return json.loads((await self.get(path))[1])

    async def until(self, path, holds, within=60.0):
        """The first body for which `holds` is true."""
        give_up = time.monotonic() + within
        while True:
            status, body = await self.get(path)
            with contextlib.suppress(json.JSONDecodeError, LookupError):
                if status == 200 and holds(json.loads(body) if path != "/metrics" else body):
                    return json.loads(body) if path != "/metrics" else body
            assert self.process.returncode is None, self.log.read_text()
            assert time.monotonic() < give_up, f"{path} still says {body[:3000]}\n{self.log.read_text()}"
            await asyncio.sleep(0.1)

    async def stop(self):
        """Seconds it took to end after SIGTERM, and the exit code."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), 60)
        return time.monotonic() - began, code


@pytest.fixture
async def monitor(request, settings, topics_ready, tmp_path):
    running = Monitor(settings, tmp_path / "monitor.log", **getattr(request, "param", {}))
    await running.start()
    yield running
    if running.process.returncode is None:
        running.process.kill()
        await running.process.wait()


@contextlib.asynccontextmanager
async def producing(settings):
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()
    codec = Codec()

    async def send(topic, key, record, partition=None):
        value = record if isinstance(record, bytes) else codec.encode(record, topic)
        await producer.send_and_wait(topic, value, key=key.encode(), partition=partition)

    yield send
    await producer.stop()


@pytest.fixture
async def produce(settings):
    async with producing(settings) as send:
        yield send


def beat(worker, specialty="extraction", **more):
    now = now_ms()
    return Heartbeat(worker=worker, service="worker", specialty=specialty, started_at=now, at=now, **more)


def answer(request_id, status="completed", millis=300):
    receipt = Receipt(submitted_at=1_000, admitted_at=1_100, answered_at=1_000 + millis)
    return Answer(request_id=request_id, status=status, receipt=receipt)


def metrics(body):
    """Samples by name and sorted label values."""
    families = list(text_string_to_metric_families(body))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def total_of(found, name):
    return sum(v for (n, _), v in found.items() if n == name)


def tool_offsets(broker, group):
    """Committed offset and log end by topic and partition as kafka-consumer-groups tells them."""
    told = broker.run_tool(LIST_GROUPS, "--bootstrap-server", broker.bootstrap, "--describe", "--group", group)
    assert told.returncode == 0, told.stderr
    rows = [line.split() for line in told.stdout.splitlines()]
    return {(r[1], int(r[2])): (int(r[3]), int(r[4])) for r in rows if len(r) > 5 and r[0] == group and r[5] != "-"}


def tool_lag(broker, group):
    """Lag by topic and partition as kafka-consumer-groups tells it."""
    return {place: end - committed for place, (committed, end) in tool_offsets(broker, group).items()}


async def test_heartbeats_answers_and_dead_letters_appear(monitor, settings, produce):
    topics = topics_of(settings)
    await monitor.until("/ready", lambda body: body["ready"])
    await produce(topics.heartbeats, "w1", beat("w1", in_flight=3, completed=7))
    await produce(topics.heartbeats, "w1", b"not avro")
    await produce(topics.answers, "a", answer("a"))
    await produce(topics.answers, "b", answer("b", "failed", millis=7_000))
    letter = DeadLetter(topic=topics.requests, partition=0, offset=1, kind="invalid", reason="x", service="t", at=1)
    await produce(topics.dead_letters, "a", letter)

    health = await monitor.until("/api/health", lambda body: body["workers"])
    assert [(w["worker"], w["verdict"], w["in_flight"]) for w in health["workers"]] == [("w1", "alive", 3)]
    verdicts = {s["name"]: s["verdict"] for s in health["services"]}
    assert (verdicts["worker-extraction"], verdicts["planner"]) == ("alive", "absent")

    body = await monitor.until("/metrics", lambda text: total_of(metrics(text), "hocket_dead_letters_total") == 1)
    body = await monitor.until("/metrics", lambda text: total_of(metrics(text), "hocket_answers_total") == 2)
    found = metrics(body)
    assert found["hocket_answers_total", (("status", "failed"),)] == 1
    assert found["hocket_dead_letters_total", (("kind", "invalid"), ("topic", topics.requests))] == 1
    assert found["hocket_monitor_undecodable_total", (("topic", topics.heartbeats),)] == 1
    assert found["hocket_answer_seconds_count", ()] == 2
    assert found["hocket_answer_seconds_sum", ()] == pytest.approx(7.3)
    assert found["hocket_answer_seconds_bucket", (("le", "0.5"),)] == 1
    worker = (("service", "worker"), ("specialty", "extraction"), ("worker", "w1"))
    assert found["hocket_worker_up", worker] == 1
    assert found["hocket_worker_tasks_total", (("outcome", "completed"), *worker)] == 7


def hocket_lag(settings):
    """What `hocket lag -o json` prints."""
    told = subprocess.run(
        [sys.executable, "-c", "from hocket.cli.app import main; main()", "lag", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"HOCKET_BOOTSTRAP": settings.bootstrap, "HOCKET_PREFIX": settings.prefix},
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


@contextlib.asynccontextmanager
async def member(settings, role, topic):
    """A member of a service's group that reads nothing by itself, with every partition."""
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.bootstrap, group_id=settings.group(role), enable_auto_commit=False
    )
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


async def test_lag_equals_what_kafkas_own_tool_says(monitor, broker, settings, produce):
    topic, group = topics_of(settings).tasks("extraction"), settings.group("worker-extraction")
    for n in range(50):
        await produce(topic, f"r{n}", b"task", partition=n % 2)
    done = DoneMap(base=10, top=25, open={10: Flight(owner="w1@ab.1"), 20: None}, holder="w1@ab.1")
    async with member(settings, "worker-extraction", topic) as reader:
        places = {p: TopicPartition(topic, p) for p in range(3)}
        await reader.commit({places[0]: (10, encode(done)), places[1]: 25, places[2]: 0})

        shown = await monitor.until("/api/lag", lambda body: body["groups"][group]["lag"] == 15)
        told = await asyncio.to_thread(tool_lag, broker, group)
        shown = (await monitor.until("/api/lag", lambda body: body["groups"][group]["members"] == 1))["groups"][group]
        printed = await asyncio.to_thread(hocket_lag, settings)
    partitions = shown["topics"][topic]["partitions"]
    assert {(topic, int(p)): at["lag"] for p, at in partitions.items() if at["committed"] is not None} == told
    assert told == {(topic, 0): 15, (topic, 1): 0, (topic, 2): 0}
    assert shown["net"] == 2  # thirteen of the fifteen are finished already
    assert 0 < partitions["0"]["age_ms"] < 60_000
    assert partitions["1"]["age_ms"] == 0
    assert partitions["0"]["owner"]["client_id"].startswith("aiokafka")
    body = (await monitor.get("/metrics"))[1]
    labels = (("group", group), ("partition", "0"), ("topic", topic))
    assert metrics(body)["hocket_consumer_group_lag", labels] == 15
    assert metrics(body)["hocket_consumer_group_net_lag", labels] == 2
    rows = {(r["topic"], r["partition"]): r for r in printed if r["group"] == group}
    assert {place: r["lag"] for place, r in rows.items() if r["committed"] is not None} == told
    assert rows[topic, 0]["net"] == 2


async def test_all_views_agree_with_the_tool_while_things_move_and_a_member_dies(monitor, broker, settings, produce):
    """Offsets only rise: what the tool says before and after a look are the bounds of what the look may say."""
    topic, group = topics_of(settings).tasks("extraction"), settings.group("worker-extraction")
    await monitor.until("/ready", lambda body: body["ready"])

    enough = asyncio.Event()

    async def work():
        n = 0
        while not enough.is_set():
            async with member(settings, "worker-extraction", topic) as reader:  # joins, dies, and another one joins
                while not enough.is_set() and (n := n + 1) % 150:
                    await produce(topic, f"r{n}", b"task", partition=n % 4)
                    if n % 5 == 0:
                        for place in (await reader.getmany(timeout_ms=5, max_records=3)) or ():
                            await reader.commit({place: await reader.position(place)})

    working = asyncio.create_task(work())
    try:
        await monitor.until("/api/lag", lambda body: body["groups"][group]["lag"] > 20)
        before = await asyncio.to_thread(tool_offsets, broker, group)
        for _ in range(2):  # the second look after this began after it, too
            began = now_ms()
            shown = await monitor.until("/api/lag", lambda body, began=began: now_ms() - body["age_ms"] > began + 100)
        scraped = metrics((await monitor.get("/metrics"))[1])
        page = await monitor.json("/api/top")
        printed = await asyncio.to_thread(hocket_lag, settings)
        after = await asyncio.to_thread(tool_offsets, broker, group)
    finally:
        enough.set()  # cancelled while it joins, a consumer would not be closed
        await working
    least = most = 0
    for place in set(before) & set(after):
        (low_done, low_end), (high_done, high_end) = before[place], after[place]
        cli = next(r for r in printed if (r["group"], r["topic"], r["partition"]) == (group, *place))
        api = shown["groups"][group]["topics"][place[0]]["partitions"][str(place[1])]
        for found in (api, cli):
            assert low_done <= found["committed"] <= high_done
            assert low_end <= found["end"] <= high_end
            assert found["lag"] == found["end"] - found["committed"]
        labels = (("group", group), ("partition", str(place[1])), ("topic", place[0]))
        assert low_end - high_done <= scraped["hocket_consumer_group_lag", labels] <= high_end - low_done
        least, most = least + low_end - high_done, most + high_end - low_done
    if set(before) == set(after):
        of_page = next(r for r in page["specialties"] if r["specialty"] == "extraction")["lag"]
        unread = sum(r["lag"] for r in printed if r["group"] == group and r["committed"] is None)
        assert least <= of_page <= most + unread
    assert before


async def test_transaction_markers_are_lag_for_the_tool_and_no_work(monitor, broker, settings):
    topic, group = topics_of(settings).tasks("sentiment"), settings.group("worker-sentiment")
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, transactional_id=f"{settings.prefix}t")
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(topic, b"task", key=b"r", partition=0)
    await producer.stop()
    async with member(settings, "worker-sentiment", topic) as reader:
        await reader.commit({TopicPartition(topic, 0): 1})  # the record is done, its marker stands behind it
    told = await asyncio.to_thread(tool_lag, broker, group)
    shown = await monitor.until("/api/lag", lambda body: body["groups"][group]["net"] == 0)
    partition = shown["groups"][group]["topics"][topic]["partitions"]["0"]
    assert (told[topic, 0], partition["lag"], partition["net"], partition["age_ms"]) == (1, 1, 0, 0)


async def test_the_scaling_signal_follows_the_backlog(monitor, settings, produce):
    topics = topics_of(settings)
    await monitor.until("/ready", lambda body: body["ready"])

    async def beating():
        while True:  # a machine may be so slow that one heartbeat is too old before it is looked at
            await produce(topics.heartbeats, "w1", beat("w1", concurrency=2, mean_millis=60_000.0, completed=5))
            now = now_ms()
            more = {"started_at": now, "at": now, "expected": {"summarisation": 4}}
            await produce(topics.heartbeats, "a", Heartbeat(worker="a", service="aggregator", **more))
            await asyncio.sleep(0.5)

    beats = asyncio.create_task(beating())
    for n in range(6):
        await produce(topics.tasks("extraction"), f"r{n}", b"task", partition=n % 4)

    def told(body):
        found = body["specialties"]
        return found["extraction"]["backlog"] == 6 and found["summarisation"]["expected"] == 4

    everyone = (await monitor.until("/scaling", told))["specialties"]
    extraction = await monitor.json("/scaling/extraction")
    found = metrics((await monitor.get("/metrics"))[1])
    beats.cancel()
    await asyncio.wait([beats])
    assert (extraction["concurrency"], extraction["partitions"], extraction["workers"]) == (2, 4, 1)
    # 6 in 60 s of 60 s each are 3 workers of 2; that they have just arrived adds some, and there are 4 partitions.
    assert extraction["desired_workers"] in (3, 4)
    assert everyone["sentiment"]["desired_workers"] == 0
    assert everyone["summarisation"]["desired_workers"] == 1
    assert found["hocket_scaling_desired_workers", (("specialty", "extraction"),)] in (3, 4)
    status, body = await monitor.get("/scaling/nothing")
    assert (status, "extraction" in body) == (404, True)


async def test_a_restart_keeps_the_counts_and_counts_nothing_twice(monitor, settings, produce):
    topic = topics_of(settings).answers

    def counted(n):
        return lambda text: total_of(metrics(text), "hocket_answers_total") == n

    for n in range(20):
        await produce(topic, f"r{n}", answer(f"r{n}"))
    await monitor.until("/metrics", counted(20))
    monitor.process.kill()  # before it has committed all it counted
    await monitor.process.wait()
    for n in range(20, 30):
        await produce(topic, f"r{n}", answer(f"r{n}"))
    await monitor.start()
    await monitor.until("/metrics", counted(30))
    await monitor.until("/api/lag", lambda body: body["groups"][settings.group("monitor")]["lag"] == 0)
    assert counted(30)((await monitor.get("/metrics"))[1])


async def test_answers_of_an_aborted_transaction_do_not_count(monitor, settings, produce):
    topic, codec = topics_of(settings).answers, Codec()
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, transactional_id=f"{settings.prefix}t")
    await producer.start()
    for aborted in (True, False):
        await producer.begin_transaction()
        await producer.send_and_wait(topic, codec.encode(answer("r"), topic), key=b"r", partition=0)
        await (producer.abort_transaction() if aborted else producer.commit_transaction())
    await producer.stop()
    await produce(topic, "s", answer("s", "failed"), partition=0)
    body = await monitor.until("/metrics", lambda text: total_of(metrics(text), "hocket_answers_total") >= 2)
    assert metrics(body)["hocket_answers_total", (("status", "completed"),)] == 1


async def test_a_second_monitor_is_not_ready_and_says_why(monitor, settings, tmp_path):
    await monitor.until("/ready", lambda body: body["ready"])
    second = Monitor(settings, tmp_path / "second.log")
    await second.start()
    try:
        await second.until("/startup", lambda body: body["startup"])
        answers = await asyncio.gather(*(m.get("/ready") for m in (monitor, second)))
        assert [status for status, _ in answers].count(503) >= 1
        assert any("run one replica" in body for _, body in answers)
    finally:
        await second.stop()
    await monitor.until("/ready", lambda body: body["ready"])


@pytest.mark.slow
async def test_it_outlives_a_broker_crash_and_ends_while_the_broker_is_away(settings, tmp_path):
    with EmbeddedBroker() as own:
        settings = settings.model_copy(update={"bootstrap": own.bootstrap})
        await apply_topics(settings, ["extraction"])
        monitor = Monitor(settings, tmp_path / "monitor.log")
        await monitor.start()
        try:
            await monitor.until("/ready", lambda body: body["ready"])
            await asyncio.to_thread(own.kill)
            await asyncio.to_thread(own.start)
            async with producing(settings) as send:
                await send(topics_of(settings).heartbeats, "w1", beat("w1"))
            await monitor.until("/api/health", lambda body: body["workers"][0]["worker"] == "w1")
            await monitor.until("/ready", lambda body: body["ready"])
            await asyncio.to_thread(own.kill)
            seconds, code = await monitor.stop()
        finally:
            if monitor.process.returncode is None:
                monitor.process.kill()
                await monitor.process.wait()
    assert (code, seconds < 10) == (0, True), monitor.log.read_text()


@pytest.mark.parametrize("monitor", [{"HOCKET_SESSION_TIMEOUT_MS": "120000"}], indirect=True)
async def test_it_starts_with_the_long_sessions_of_workers_and_sigterm_ends_it_at_once(monitor):
    await monitor.until("/ready", lambda body: body["ready"])
    assert (await monitor.get("/live"))[0] == 200
    seconds, code = await monitor.stop()
    assert code == 0, monitor.log.read_text()
    assert seconds < 10

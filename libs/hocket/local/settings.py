"""The embedded broker's configuration files, as pure functions of ports and folders."""

from collections.abc import Mapping
from pathlib import Path

from hocket.local.process import HOST

CLIENT = "PLAINTEXT"
CONTROLLER = "CONTROLLER"

# One node can't replicate, and a developer's machine has few cores and many restarts.
_SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": CONTROLLER,
    "inter.broker.listener.name": CLIENT,
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Internal topics come up on first use; 50 partitions each would take seconds.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.num.partitions": "2",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "group.coordinator.threads": "1",
    "share.coordinator.threads": "1",
    # A killed broker may register again only when its former session has ended, 9 s by default: the most that
    # a restart in a test would wait. Not lower, since a stalled machine must not look like a dead broker.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # Held whole in the heap; the default is 128 MB.
    "log.cleaner.dedupe.buffer.size": "8388608",
}

_BEHAVIOUR = {
    "auto.create.topics.enable": "false",  # a misspelt topic must fail, not appear
    "log.message.timestamp.type": "LogAppendTime",
    "group.initial.rebalance.delay.ms": "0",
    # Both group protocols may notice a dead consumer within seconds; the new one's floor is 45 s by default.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "300",
}


def server_properties(
    *, data: Path, ports: Mapping[str, int], listeners: Mapping[str, str], extra: Mapping[str, str]
) -> dict[str, str]:
    """What `server.properties` says.

    `ports` has a port for CLIENT, CONTROLLER and each of `listeners` (listener name to security protocol);
    `extra` wins over everything.
    """
    names = [CLIENT, *listeners]
    addresses = {name: f"{name}://{HOST}:{ports[name]}" for name in [*names, CONTROLLER]}
    protocols = {CLIENT: "PLAINTEXT", CONTROLLER: "PLAINTEXT", **listeners}
    return {
        **_SINGLE_NODE,
        **_BEHAVIOUR,
        "log.dirs": str(data),
        "controller.quorum.voters": f"1@{HOST}:{ports[CONTROLLER]}",
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(addresses[name] for name in names),
        "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
        **extra,
    }


def log_properties(log: Path) -> dict[str, str]:
    """What `log4j2.properties` says: warnings and the consumer groups' doings, in one small rotated file."""
    return {
        "status": "off",
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": str(log),
        "appender.file.filePattern": f"{log}.%i",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "%d{ISO8601} %p %m (%c{1})%n",
        "appender.file.policies.type": "Policies",
        "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size.size": "5MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": "2",
        "rootLogger.level": "warn",
        "rootLogger.appenderRef.file.ref": "file",
        "logger.groups.name": "org.apache.kafka.coordinator.group",
        "logger.groups.level": "info",
    }


def render(properties: Mapping[str, str]) -> str:
    """A Java properties file; also right for values with line breaks, backslashes or letters beyond ASCII."""
    return "".join(f"{_escape(key, ' :=#!')}={_escape(value)}\n" for key, value in properties.items())


def _escape(text: str, special: str = "") -> str:
    escaped = "".join(f"\\{letter}" if letter in f"\\{special}" else letter for letter in text)
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    if escaped.startswith(" "):
        escaped = f"\\{escaped}"
    return "".join(letter if letter.isascii() else _unicode_escape(letter) for letter in escaped)


def _unicode_escape(letter: str) -> str:
    units = letter.encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))

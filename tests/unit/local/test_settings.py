from pathlib import Path

from hocket.local import settings

PORTS = {"PLAINTEXT": 20001, "CONTROLLER": 20002, "SASL": 20003}


def properties(listeners=(), **extra):
    return settings.server_properties(data=Path("/d/kafka"), ports=PORTS, listeners=dict(listeners), extra=extra)


def test_every_listener_binds_and_advertises_loopback_only():
    made = properties({"SASL": "SASL_PLAINTEXT"})
    assert made["listeners"] == ("PLAINTEXT://127.0.0.1:20001,SASL://127.0.0.1:20003,CONTROLLER://127.0.0.1:20002")
    assert made["advertised.listeners"] == "PLAINTEXT://127.0.0.1:20001,SASL://127.0.0.1:20003"
    assert made["listener.security.protocol.map"] == ("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT")
    assert made["controller.quorum.voters"] == "1@127.0.0.1:20002"


def test_internal_topics_fit_one_node():
    made = properties()
    factors = [value for name, value in made.items() if name.endswith(("replication.factor", "min.isr"))]
    assert len(factors) == 6
    assert set(factors) == {"1"}


def test_given_properties_win():
    assert properties(**{"auto.create.topics.enable": "true"})["auto.create.topics.enable"] == "true"
    assert properties()["auto.create.topics.enable"] == "false"


def test_values_are_escaped_as_java_reads_them():
    text = settings.render({"a b:c": " x\\y\nz", "jaas": 'user="ü" 𝄞;'})
    assert text == 'a\\ b\\:c=\\ x\\\\y\\nz\njaas=user="\\u00fc" \\ud834\\udd1e;\n'


def test_the_log_is_one_small_rotated_file():
    made = settings.log_properties(Path("/d/logs/broker.log"))
    assert made["appender.file.fileName"] == "/d/logs/broker.log"
    assert made["appender.file.policies.size.size"] == "5MB"
    assert made["rootLogger.level"] == "warn"

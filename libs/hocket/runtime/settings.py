"""Settings of every process, from the environment (`HOCKET_...`). A wrong value stops it, naming the field."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def data_home() -> Path:
    """Where local data lives: HOCKET_DATA, else the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(os.environ.get("HOCKET_DATA") or Path(base) / "hocket")


def _default_store() -> str:
    return (data_home() / "blobs").absolute().as_uri()


class Settings(BaseSettings):
    """What an operator may set; each field is the environment variable HOCKET_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="HOCKET_", extra="ignore", frozen=True)

    bootstrap: str = Field(default="127.0.0.1:9092", description="Kafka bootstrap servers, host:port,host:port")
    prefix: str = Field(default="", description="Put before every topic and group name; no dots")
    partitions: int = Field(default=12, ge=1, description="Partitions of joined and task topics when they are created")
    replication: int = Field(default=-1, description="Replication factor of created topics; -1 is the broker's default")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    sasl_username: str | None = Field(default=None, description="User name; with OAUTHBEARER the client id")
    sasl_password: SecretStr | None = Field(default=None, description="Password; with OAUTHBEARER the client secret")
    sasl_token_url: str | None = Field(
        default=None, description="Where OAUTHBEARER gets its tokens (OAuth 2.0, client credentials)"
    )
    sasl_scope: str | None = Field(default=None, description="Scope that OAUTHBEARER asks for, if the issuer wants one")
    ssl_cafile: Path | None = Field(default=None, description="PEM file of the brokers' CAs; default: the system's")
    ssl_certfile: Path | None = Field(default=None, description="Client certificate for mTLS, PEM")
    ssl_keyfile: Path | None = Field(default=None, description="Its private key, PEM")
    ssl_key_password: SecretStr | None = Field(default=None, description="Password of the private key, if it has one")

    registry_url: str | None = Field(
        default=None, description="Schema registry; without one, single-object encoding is used"
    )
    registry_basic_auth: SecretStr | None = Field(default=None, description="user:password for the registry")
    registry_auto_register: bool = Field(default=False, description="Register missing schemas (development)")

    blob_store: str = Field(default_factory=_default_store, description="fsspec URL for large payloads")
    allowed_uris: tuple[str, ...] = Field(
        default=(), description="URL prefixes that attachments may be fetched from (JSON list)"
    )
    max_attachment_bytes: int = Field(
        default=20 * 1024 * 1024, description="Largest single attachment that is accepted"
    )

    done_marker: int = Field(
        default=8 * 86_400,
        ge=1,
        description="Seconds that an answered request is remembered; keep it longer than the topics keep records",
    )
    bundles: bool = Field(
        default=True, description="Let workers do chains of simple tasks in one go while the aggregator is behind"
    )
    session_ttl: int = Field(default=3_600, ge=1, le=7 * 86_400, description="Seconds that an idle session is kept")
    tenant_daily_usd: dict[str, float] = Field(
        default_factory=dict, description='Daily budgets of tenants in US dollars (JSON object, {"acme": 20})'
    )
    tenant_weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description='Shares of tenants in a busy worker, by estimated cost; 1 if not named (JSON object, {"acme": 3})',
    )

    reply_topics: tuple[str, ...] = Field(
        default=("answers-*",),
        description="Patterns (after the prefix) of topics that a request may name for its answer",
    )

    specialties: Path | None = Field(default=None, description="Folder with specialties of your own")
    workflows: Path | None = Field(default=None, description="Folder with declared workflows of your own")
    patterns: Path | None = Field(
        default=None,
        description="Folder with your own rules for local engines: extraction, sentiment, analysis, research (.toml)",
    )

    instance: str = Field(default_factory=socket.gethostname, description="Stable name of this process among its peers")
    state_dir: Path = Field(
        default_factory=lambda: data_home() / "state",
        description="Local state: the aggregator's tables, and outcomes that workers have not sent yet",
    )
    concurrency: int = Field(default=64, ge=1, description="Model calls in flight per worker")
    window: int | None = Field(
        default=None, ge=1, description="Tasks fetched ahead per worker; default is 4 x concurrency, at least 5,000"
    )
    grace_seconds: float = Field(default=30.0, description="How long a stopping worker may finish what it has begun")
    session_timeout_ms: int = Field(default=6_000, description="A dead member's partitions move after this time")

    journal: bool = Field(
        default=True,
        description="Keep outcomes, which hold answers, in HOCKET_STATE_DIR until Kafka has them, so that a process "
        "that is killed and comes back on the same disk repeats no call that had ended",
    )

    http_host: str = Field(default="127.0.0.1", description="Bind address of health and metrics")
    http_port: int | None = Field(default=None, description="Port of health and metrics; none means not served")
    scaling_drain_seconds: float = Field(
        default=60.0, gt=0, description="The scaling signal asks for workers that work a backlog off within this time"
    )
    scaling_start_seconds: float = Field(
        default=15.0,
        ge=0,
        description="What of that time passes before a new worker works (the autoscaler's looks, a pod's start)",
    )
    scaling_keep_seconds: float = Field(
        default=300.0, ge=0, description="While Kafka gives no figures, the last scaling signal is kept for this time"
    )
    scaling_fallback_workers: int = Field(
        default=1, ge=0, description="Workers of each specialty that are asked for after that"
    )
    lag_metrics: tuple[Literal["kafka_exporter", "kafka_lag_exporter"], ...] = Field(
        default=(), description="Also publish lag under the names of these exporters, for dashboards that expect them"
    )
    monitor_token: SecretStr | None = Field(
        default=None,
        description="Asked of whoever opens the monitor's page; without one, it is open to all who reach it",
    )
    monitor_replay: bool = Field(
        default=False,
        description="Let whoever has HOCKET_MONITOR_TOKEN send dead letters again from the monitor's page",
    )
    cluster_name: str = Field(default="kafka", description="The cluster_name of kafka_lag_exporter's metrics")

    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_tasks: bool | None = Field(
        default=None, description="A line for each task's end (65 us of CPU); unless set, when lines are JSON"
    )
    log_content: bool = Field(
        default=False, description="Also log what was asked and answered. Think of who may read the logs"
    )

    @field_validator("prefix")
    @classmethod
    def _no_dots(cls, value: str) -> str:
        if "." in value:
            raise ValueError("no dots: Kafka's metrics cannot tell them from _")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Half a login would fail at the broker with words that nobody understands."""
        if self.security_protocol.startswith("SASL"):
            wanted = {"sasl_username": self.sasl_username, "sasl_password": self.sasl_password}
            if self.sasl_mechanism == "OAUTHBEARER":
                wanted["sasl_token_url"] = self.sasl_token_url
            if missing := [f"HOCKET_{n.upper()}" for n, value in wanted.items() if not value]:
                raise ValueError(f"HOCKET_SASL_MECHANISM={self.sasl_mechanism} needs {' and '.join(missing)}")
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("HOCKET_SSL_CERTFILE and HOCKET_SSL_KEYFILE go together")
        if self.monitor_replay and self.monitor_token is None:
            raise ValueError("HOCKET_MONITOR_REPLAY needs HOCKET_MONITOR_TOKEN: not everybody may write")
        return self

    def group(self, role: str) -> str:
        """Consumer group of a role, such as `worker-extraction`."""
        return f"{self.prefix}hocket-{role}"

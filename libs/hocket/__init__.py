"""Hocket splits one request between specialist LLM workers over Apache Kafka and joins their parts into one answer."""

__version__ = "0.1.0"

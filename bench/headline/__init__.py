"""The two headline figures, cost and latency, on a simulated provider: `python -m bench.headline`."""

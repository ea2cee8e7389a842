"""Deciding when to stop: a criterion in use, the rule, and both together for any loop."""

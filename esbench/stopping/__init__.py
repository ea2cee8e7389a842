"""Deciding when to stop: a criterion at work, the rule, and both together for any loop."""

"""The engine: one optimisation, block by block."""

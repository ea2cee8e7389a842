"""The benchmark: many units, all criteria measured on the same optimisation of each."""

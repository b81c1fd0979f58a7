"""Each module measures the ids of one family; ``measure(ground)`` yields their figures."""

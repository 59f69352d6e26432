"""Servers that do the same job by other means: paths by prefix, a ratio, two tags, two histograms."""

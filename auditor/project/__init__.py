"""Facts of all files -> linked project, in strata: names, types and calls, contexts, summaries."""

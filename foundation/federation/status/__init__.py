"""How a run stands while it goes on: sites, round, progress, last errors, next deadline."""

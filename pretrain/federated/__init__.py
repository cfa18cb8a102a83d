"""The same training across hospitals: only weights and counts travel, weighted by who trained what."""

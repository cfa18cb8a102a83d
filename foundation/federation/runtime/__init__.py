"""Where a run's sites are: simulated, in this process, or on machines of their own."""

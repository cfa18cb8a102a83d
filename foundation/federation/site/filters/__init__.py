"""What everything that leaves a site passes, one filter a file; `site/outgoing.py` has their order."""

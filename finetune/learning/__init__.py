"""Learning on from a release, of patients who came later, without forgetting those before them."""

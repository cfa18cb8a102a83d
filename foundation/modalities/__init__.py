"""One file a modality: input, transform, corruption and encoder side by side."""

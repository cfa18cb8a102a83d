"""Protected embeddings of patients, shared across hospitals as further negatives."""

"""Serving: from a fine-tuned model to an endpoint and a model card."""

import foundation as foundation

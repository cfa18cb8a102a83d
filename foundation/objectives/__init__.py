"""Objectives: from encoder outputs and a batch to a loss and the count of samples that it trained on."""

"""Feedback: what a release answered, held against what came of its patients, at the hospital where both lie."""

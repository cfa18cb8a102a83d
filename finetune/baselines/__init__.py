"""Plain models and controls that a task model must beat, each fitted on the same training patients."""

"""CDS Hooks at the endpoint: an electronic record opens a patient, and the answer comes as cards."""

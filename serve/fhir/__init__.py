"""FHIR R4 at the endpoint: a patient's Bundle in, RiskAssessment with Provenance and DiagnosticReport out."""

"""The model in a hospital's archive: studies in by DICOMweb, structured reports and heat maps out, each study once."""

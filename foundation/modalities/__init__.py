"""The modalities, a package each, and what they share.

| in a modality's package | is |
| --- | --- |
| `encoder.py` | transform and encoder: a subclass of `Modality`, named by its config |
| `storage.py` | `STORAGE`: how a prepared cohort keeps a patient's value, and what of it a task may hide |
| `preparation.py` | `PREPARATION`: where hospitals keep it, how that is read, checked and packed |
| `request.py` | `FORM`: what a request to a served model holds |
| `description.py` | `describe`: its part of a cohort's page; optional |

Nothing outside names a modality: packages are found by looking (`foundation.data.packages`).
"""

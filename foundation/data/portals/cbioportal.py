"""cBioPortal: copy number calls and clinical attributes of a study.

Interface: https://www.cbioportal.org/api; calls: GISTIC 2 (Mermel et al. 2011), -2 deep loss to 2 high gain.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from foundation.data.portals.attempts import plain_url
from foundation.data.portals.transfer import Transfer
from foundation.data.problems import refuse

PORTAL = "cbioportal"
_SAMPLES = 10  # asked for at a time: some 25,000 genes each
_GENES = 5000


class _Info(BaseModel):
    portalVersion: str  # noqa: N815


class _Study(BaseModel):
    studyId: str  # noqa: N815
    importDate: str = ""  # noqa: N815


class _Profile(BaseModel):
    molecularProfileId: str  # noqa: N815
    molecularAlterationType: str  # noqa: N815
    datatype: str


class _Call(BaseModel):
    sampleId: str  # noqa: N815
    patientId: str  # noqa: N815
    entrezGeneId: int  # noqa: N815
    alteration: Annotated[int, Field(ge=-2, le=2)]


class _Gene(BaseModel):
    entrezGeneId: int  # noqa: N815
    hugoGeneSymbol: str  # noqa: N815


class _Attribute(BaseModel):
    patientId: str  # noqa: N815
    value: str


class Label(BaseModel):
    """A label of 0 and 1, made of a clinical attribute of the study; patients of other values have none.

    Args:
        attribute: its id, for example `SUBTYPE`.
        level: `PATIENT` or `SAMPLE`, by what the study keeps it.
        positive: values that mean 1.
        negative: values that mean 0.
        above: numbers above mean 1, others 0.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    attribute: str
    level: str = Field("PATIENT", pattern="^(PATIENT|SAMPLE)$")
    positive: list[str] = []
    negative: list[str] = []
    above: float | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Label":
        if (self.above is None) == (not self.positive or not self.negative):
            raise ValueError("give either above, or both positive and negative")
        return self

    def of(self, value: str) -> float | None:
        """The label of a value; None where it says nothing.

        Raises:
            ValueError: if numbers are compared, and it is none.
        """
        if self.above is not None:
            return float(float(value) > self.above)
        return 1.0 if value in self.positive else 0.0 if value in self.negative else None


class CBioPortal:
    """The portal.

    Args:
        transfer: asks it.
        url: of the interface.
        study: its id there, for example `luad_tcga_pan_can_atlas_2018`.
    """

    def __init__(self, transfer: Transfer, url: str, study: str) -> None:
        self._transfer, self._url, self.study = transfer, url.rstrip("/"), study

    def release(self) -> dict[str, str]:
        """The portal's version, and when it took in the study.

        Raises:
            DataError: if it has no such study.
        """
        study = self._transfer.ask(PORTAL, f"{self._url}/studies/{self.study}", _Study)
        return {
            "version": self._transfer.ask(PORTAL, f"{self._url}/info", _Info).portalVersion,
            "study": study.studyId,
            "imported": study.importDate,
        }

    def copy_number_samples(self, codes: list[str]) -> dict[str, str]:
        """Patient → the sample whose copy number was called.

        Args:
            codes: of the barcode, for the sample types that are taken, in order of preference.
        """
        url = f"{self._url}/sample-lists/{self.study}_cna/sample-ids"
        sample_of: dict[str, str] = {}
        rank = {code: place for place, code in enumerate(codes)}
        samples = [sample for sample in self._transfer.ask(PORTAL, url, list[str]) if sample[-2:] in rank]
        for sample in sorted(samples, key=lambda sample: (rank[sample[-2:]], sample)):
            sample_of.setdefault(sample.rpartition("-")[0], sample)
        return sample_of

    def copy_number(self, samples: dict[str, str], genes: list[str], done: Callable[[int], None]) -> pd.DataFrame:
        """Calls `[patients, symbols]`, float32, NaN where there is none.

        Args:
            samples: patient → sample.
            genes: symbols asked for; all if empty.
            done: told of the patients of each answer.

        Raises:
            DataError: if the study has no such calls, a gene is unknown to it, or an answer is of somebody else.
        """
        profile = self._profile("COPY_NUMBER_ALTERATION", "DISCRETE")
        url = f"{self._url}/molecular-profiles/{profile}/discrete-copy-number/fetch"
        params = {"discreteCopyNumberEventType": "ALL", "projection": "SUMMARY"}
        asked = {"entrezGeneIds": self._entrez(genes)} if genes else {}
        patients, parts = sorted(samples), []
        for start in range(0, len(patients), _SAMPLES):
            some = {samples[patient]: patient for patient in patients[start : start + _SAMPLES]}
            body = {"sampleIds": sorted(some), **asked}
            calls = self._transfer.ask(PORTAL, url, list[_Call], params=params, body=body)
            parts.append(_wide(calls, some, plain_url(url)))
            done(len(some))
        table = pd.concat(parts)
        symbols = self._genes([str(gene) for gene in table.columns], "ENTREZ_GENE_ID")
        table = table[[gene for gene in sorted(table.columns) if gene in symbols]].rename(columns=symbols)
        return table.loc[:, ~table.columns.duplicated()].sort_index(axis=1)

    def labels(self, wanted: dict[str, Label]) -> dict[str, dict[str, float]]:
        """Name → patient → 0 or 1.

        Raises:
            DataError: if nobody has an attribute, or it is no number where one is compared.
        """
        url = f"{self._url}/studies/{self.study}/clinical-data"
        labels: dict[str, dict[str, float]] = {}
        for name, label in wanted.items():
            params = {
                "clinicalDataType": label.level,
                "attributeId": label.attribute,
                "projection": "SUMMARY",
            }
            rows = self._transfer.ask(PORTAL, url, list[_Attribute], params=params)
            labels[name] = {}
            for row in sorted(rows, key=lambda row: (row.patientId, row.value)):
                try:
                    value = label.of(row.value)
                except ValueError as error:
                    advice = "give positive and negative for it"
                    raise refuse(plain_url(url), "no number", advice, label.attribute, value=row.value) from error
                if value is not None:
                    labels[name].setdefault(row.patientId, value)
            if not labels[name]:
                advice = f"look up its id, level and values in the study {self.study}"
                raise refuse(f"labels.{name}", "no patient has it", advice, label.attribute)
        return labels

    def _profile(self, kind: str, datatype: str) -> str:
        url = f"{self._url}/studies/{self.study}/molecular-profiles"
        profiles = self._transfer.ask(PORTAL, url, list[_Profile], params={"projection": "SUMMARY"})
        for profile in profiles:
            if (profile.molecularAlterationType, profile.datatype) == (kind, datatype):
                return profile.molecularProfileId
        advice = "give another study, or take copy_number out of modalities"
        raise refuse(plain_url(url), f"no profile {kind} {datatype}", advice, field="study", value=self.study)

    def _entrez(self, symbols: list[str]) -> list[int]:
        symbols_by_id = self._genes(symbols, "HUGO_GENE_SYMBOL")
        unknown = sorted(set(symbols) - set(symbols_by_id.values()))
        if unknown:
            advice = "give symbols that cBioPortal knows"
            raise refuse(f"{plain_url(self._url)}/genes", "no such gene", advice, "copy_number_genes", value=unknown[0])
        return sorted(symbols_by_id)

    def _genes(self, names: list[str], kind: str) -> dict[int, str]:
        url = f"{self._url}/genes/fetch"
        symbols: dict[int, str] = {}
        for start in range(0, len(names), _GENES):
            params = {"geneIdType": kind, "projection": "SUMMARY"}
            genes = self._transfer.ask(PORTAL, url, list[_Gene], params=params, body=names[start : start + _GENES])
            symbols |= {gene.entrezGeneId: gene.hugoGeneSymbol for gene in genes}
        return symbols


def _wide(calls: list[_Call], samples: dict[str, str], where: str) -> pd.DataFrame:
    """`[patients, Entrez ids]` of one answer, float32."""
    rows: dict[str, dict[int, int]] = {patient: {} for patient in samples.values()}
    for call in calls:
        if samples.get(call.sampleId) != call.patientId:
            advice = "report it to cBioPortal"
            raise refuse(where, "not the sample asked for", advice, "sampleId", value=call.sampleId)
        if call.entrezGeneId in rows[call.patientId]:
            finding = f"two calls of patient {call.patientId}"
            raise refuse(where, finding, "report it to cBioPortal", "entrezGeneId", value=call.entrezGeneId)
        rows[call.patientId][call.entrezGeneId] = call.alteration
    return pd.DataFrame.from_dict(rows, orient="index", dtype=np.float32)

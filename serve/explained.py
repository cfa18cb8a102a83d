"""The form of an explanation: what an answer goes by, part by part."""

from pydantic import BaseModel, ConfigDict

FILE = "explanation.json"  # of an export: what the answer to its example goes by
HEADER = "explain"  # of a call that asks for one, as TorchServe marks those to /explanations
METHOD = "occlusion: the change of the number when a part is taken away"


class PartChange(BaseModel):
    """A part of the request.

    Attributes:
        field: where it is, such as `pathology[3]`, `record.age` or `report[0:46]` (characters).
        change: of the number that is explained: as it is, less what it is without the part; positive raises it.
    """

    field: str
    change: float


class ImageChanges(BaseModel):
    """Squares of an image.

    Attributes:
        field: of the image.
        changes: as for a part, row by row from the top, `[rows][columns]`.
    """

    field: str
    changes: list[list[float]]


class Faithfulness(BaseModel):
    """Mean fall of the number over a modality's deletion curve.

    Attributes:
        ordered: parts of the largest change taken away first.
        random: parts in random order; an account that says nothing falls no further.
    """

    ordered: float
    random: float


class Explanation(BaseModel):
    """What an answer goes by.

    Attributes:
        request_id: of the sender, echoed.
        model: its name.
        version: its version.
        explained: the number, in words.
        value: of the number.
        method: by which.
        modalities: each taken away whole, where there are several.
        parts: by modality, the parts that it was sent in.
        images: squares of some images.
        faithfulness: by modality.
        not_looked_at: by modality, parts that were left out of this: there are many, or they take long.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    request_id: str
    model: str
    version: str
    explained: str
    value: float
    method: str = METHOD
    modalities: list[PartChange]
    parts: dict[str, list[PartChange]]
    images: list[ImageChanges]
    faithfulness: dict[str, Faithfulness]
    not_looked_at: dict[str, int]

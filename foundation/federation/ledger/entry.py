"""One entry of a ledger, and the one way in which it is written as a line.

An entry has room for counts, lengths, digests and names of parameter groups, and for nothing that a patient brought
along: no array, no identifier, no free text but one short line.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Direction = Literal["out", "in"]
Role = Literal["site", "server"]
# What a message is about; the direction says who speaks. `evaluation` from a server is the order, from a site the
# answer. `opened` and `recovered` are the ledger's own words about itself, `approval` its owner's on a plan, `reset`
# its owner's on entries that were lost, and `failure` how an order ended that has no answer.
Kind = Literal[
    "opened",
    "recovered",
    "introduction",
    "order",
    "update",
    "evaluation",
    "statistics",
    "embeddings",
    "masking",
    "decline",
    "refusal",
    "approval",
    "failure",
    "reset",
    "note",
]
OrderKind = Literal["order", "evaluation", "statistics"]  # of them, what the server asks of a site
SERVER = "server"  # who owns the server's ledger, and whom a site's entries name as their peer
GENESIS = "0" * 64
_LONGEST = 300


def _one_line(text: str) -> str:
    if not text.isprintable() or len(text) > _LONGEST:
        raise ValueError(f"one printable line of at most {_LONGEST} characters")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Entry(BaseModel):
    """What happened, once.

    Attributes:
        index: from 0.
        previous: hash of the entry before.
        time: UTC, ISO 8601.
        kind: of message; see `Kind`.
        direction: as seen from the owner; None of what is no message.
        owner: whose ledger; in the first entry alone.
        role: of the owner; likewise.
        run: its name or digest.
        round: counted from 1.
        peer: who is at the other end.
        message: identifier of the message, if it has one that both ends know.
        groups: parameter groups that travelled.
        size: bytes of the arrays as they travelled.
        digest: of the arrays as they travelled; see `digest_of_weights`.
        masked: whether secure aggregation changes the arrays between the two ends, so that digests and bytes differ.
        norms: length of the difference by group; None where it is not finite.
        samples: patients' contributions by group, as they were told.
        metrics: that were told; None where one is no finite number.
        epsilon: differential privacy of this run, spent up to and with this entry by what left under noise.
        delta: that goes with it.
        policy: digest of the site's policy that let it pass.
        plan: digest of the run's plan.
        standing: of a plan that recurs, the digest by which it was approved.
        steps: of the optimiser that an order asks for.
        split: digest of who trains, validates and is held out at the site.
        query: digest of the set of patients behind an answer.
        witness: hash of the other side's latest entry, as it named it; its ledger must hold that for ever.
        note: a reason, without anything that a patient brought along.
        hash: SHA-256 of the canonical line without this field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: Count
    previous: Digest
    time: Line
    kind: Kind
    direction: Direction | None = None
    owner: Line = ""
    role: Role | None = None
    run: Line = ""
    round: Count | None = None
    peer: Line = ""
    message: Line = ""
    groups: tuple[Line, ...] = ()
    size: Count = 0
    digest: Digest = ""
    masked: bool = False
    norms: dict[Line, Amount | None] = {}
    samples: dict[Line, Count] = {}
    metrics: dict[Line, Finite | None] = {}
    epsilon: Amount | None = None
    delta: Amount | None = None
    policy: Digest = ""
    plan: Digest = ""
    standing: Digest = ""
    steps: Count | None = None
    split: Digest = ""
    query: Digest = ""
    witness: Digest = ""
    note: Line = ""
    hash: Digest = ""

    def sealed(self) -> "Entry":
        """The entry with its hash."""
        return self.model_copy(update={"hash": self.expected_hash()})

    def expected_hash(self) -> str:
        """The hash that its content calls for."""
        return hashlib.sha256(_canonical(self.model_dump(exclude_defaults=True, exclude={"hash"}))).hexdigest()

    def line(self) -> bytes:
        """As it stands in the file, without the line's end."""
        return _canonical(self.model_dump(exclude_defaults=True))


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def printable(text: str) -> str:
    """A line as a ledger takes it."""
    return "".join(character for character in text if character.isprintable())[:300]

"""The schema of `policy.yaml`: what a hospital lets a federation do, as its data protection officer signs it."""

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from foundation.documents import read_yaml
from foundation.errors import UserError
from foundation.run_record import digest_of


class Declined(UserError):  # noqa: N818 (a decision, not an accident)
    """The site does not take part; the line is its answer, and holds nothing that a patient brought along."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"policy: {reason}")


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("YAML reads this word as true or false; give a number")
    return value


Whole = Annotated[int, BeforeValidator(_no_switch), Field(ge=1)]
Positive = Annotated[float, BeforeValidator(_no_switch), Field(gt=0, allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class Strict(BaseModel):
    """A part of the policy; a field that nobody reads is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoiseRule(Strict):
    """How strongly differential privacy must protect.

    Args:
        min_noise_multiplier: least standard deviation of the noise, in units of the clip.
        max_clip: largest length to which a contribution may be clipped; any if None.
    """

    min_noise_multiplier: Positive
    max_clip: Positive | None = None


class Privacy(Strict):
    """Protection without which the site does not train, or gives no embeddings.

    Args:
        secure_aggregation: the server sees sums alone.
        min_sites: whose masked updates are summed at least, this site's among them.
        site_dp: noise on the whole site's update.
        example_dp: noise on each patient's gradient (DP-SGD).
        embeddings: noise on each patient's embeddings, in units of the farthest that they can move.
        server_noise: the server is trusted to add the noise that a plan says it adds, so that a budget may count it.
    """

    secure_aggregation: bool = False
    min_sites: Annotated[int, BeforeValidator(_no_switch), Field(ge=2)] = 2
    site_dp: NoiseRule | None = None
    example_dp: NoiseRule | None = None
    embeddings: NoiseRule | None = None
    server_noise: bool = False


class Budget(Strict):
    """Most that all runs together may spend; the site's ledger counts.

    Args:
        epsilon: sum over runs.
        delta: sum over runs.
        exact: evaluations and statistics may leave as well, which carry no noise, so that no epsilon covers them.
    """

    epsilon: Positive
    delta: Annotated[float, BeforeValidator(_no_switch), Field(gt=0, lt=1)]
    exact: bool = False


class Patients(Strict):
    """How many patients must stand behind what leaves.

    Args:
        training: distinct ones behind each parameter group that a round of training sends.
        batch: in each step of training.
        unprotected: behind an update without masks and without noise of this site's own.
        metrics: behind any metric; those of fewer are not sent.
        cell: behind any count; smaller ones are not sent.
        new: distinct ones since the runs before, that a plan which recurs must ask for.
    """

    training: Whole = 1
    batch: Whole = 1
    unprotected: Whole = 1
    metrics: Whole = 1
    cell: Whole = 1
    new: Whole = 1


class Limits(Strict):
    """How long a run may go on; None: as long as it likes.

    Args:
        rounds: of a run, and updates, and releases of embeddings, that leave for it, repeated rounds included.
        steps: of a round.
        seconds: of a round.
        queries: statistics and evaluations answered in a day, of all runs together.
        rounds_a_month: that a plan which recurs may ask for.
        epsilon_a_year: likewise.
    """

    rounds: Whole | None = None
    steps: Whole | None = None
    seconds: Positive | None = None
    queries: Whole | None = None
    rounds_a_month: Whole | None = None
    epsilon_a_year: Positive | None = None


class SitePolicy(Strict):
    """A site's rules. A list names all that is allowed; where none is given, anything is.

    The defaults suit a simulation: they ask for nothing, but no embedding of a patient leaves. A hospital starts from
    `template.yaml` beside this file.

    Args:
        tasks: `evaluate`, `statistics`, and names of federated tasks to train, such as `pretrain`.
        objectives: by their names in the run's config.
        modalities: likewise.
        strategies: by name; `fedavg`, `FedAvg` and `fed_avg` are one.
        releases: of this project; `*` stands for any characters.
        commits: of its code.
        config_digest: of run plans that were read and agreed.
        targets: federated tasks, by their classes' dotted names, that this site installed beside the release's.
        privacy: protection that is required.
        budget: of differential privacy; an order that cannot be counted is then declined.
        patients: least numbers.
        limits: of time.
        statistics: federated statistics that may be told.
        error_details: whether an error here is told word for word; it may quote a cell of a table.
        approval: who lets a plan in that all these rules allow: the `owner` (`consilium federation plans`), for one run
            each, or the `rules` by themselves.
        shared_embeddings: whether protected embeddings of patients may leave for a shared bank of negatives.
    """

    tasks: Names | None = None
    objectives: Names | None = None
    modalities: Names | None = None
    strategies: Names | None = None
    releases: Names | None = None
    commits: Names | None = None
    config_digest: Names | None = None
    targets: Names = ()
    privacy: Privacy = Privacy()
    budget: Budget | None = None
    patients: Patients = Patients()
    limits: Limits = Limits()
    statistics: Names | None = None
    error_details: bool = True
    shared_embeddings: bool = False
    approval: Literal["owner", "rules"] = "rules"

    @classmethod
    def load(cls, path: Path) -> "SitePolicy":
        """Reads a `policy.yaml`.

        Raises:
            UserError: if it is missing, no YAML, or a field is wrong: a site without a readable policy does nothing.
        """
        content = read_yaml(path, "give the path of the site's policy", _UniqueKeys)
        if not isinstance(content, dict):
            raise UserError(f"{path}: found {content!r}; a policy names its rules, see {TEMPLATE}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{path}: {_first_fault(error)}") from error

    @property
    def digest(self) -> str:
        """SHA-256 of the rules, for the ledger: under which policy something left."""
        return digest_of(self.model_dump(mode="json"))


TEMPLATE = Path(__file__).with_name("template.yaml")


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a rule that stands twice is an error, not a matter of which one comes last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{name}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{field}: {first['msg']}, found {first['input']!r}; see {TEMPLATE}"
    known = [*SitePolicy.model_fields]
    for part in (Privacy, NoiseRule, Budget, Patients, Limits):
        known += part.model_fields
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    return f"{field}: no such rule; {f'did you mean {near[0]}?' if near else f'see {TEMPLATE}'}"

"""The run plan: it travels whole, every config of the release fits into it, and no mutation of one reaches a site."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from foundation.contract import Part
from foundation.errors import UserError
from foundation.federation.plan import RunPlan, UnfitPlanError, read_plan
from foundation.federation.planning import plan_of
from foundation.federation.policy import SitePolicy
from foundation.federation.site.composition import compose_config
from foundation.federation.site.config import Site
from foundation.modalities.image_plan import BACKBONE
from foundation.modalities.plan import ModalityPart
from foundation.objectives.plan import ObjectivePart
from tests.foundation.federation.gates import TASKS, site_of

CONFIGS = Path(__file__).parents[4] / "configs"
SITES = "sites=[riverside,northgate,lakeview,summit]"
GROUPS = ("strategy", "privacy", "compression", "objective", "encoder", "bank", "secure")
CHOICES = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONFIGS / group).glob("*.yaml"))]
# What people try: interpolations, dotted names, paths, options of compilers, words that YAML turns into something else.
HOSTILE = [
    "${oc.env:HOSPITAL_DB_PASSWORD}",
    "${now:%Y}",
    "os.system",
    "__import__('os').system('id')",
    "../../etc/passwd",
    "/etc/passwd",
    "hf-hub:someone/model",
    "local-dir:/tmp/x",
    "off -wrapper sh,-c,id;false",
    "a\nb",
    "alignment\u202e",
    "",
    "x" * 100_000,
    True,
    None,
    -1,
    0,
    1e308,
    10**400,
    [],
    {},
    {"_target_": "os.system"},
    ["os.system"],
    {"$ref": "x"},
]


def parts(kind: type[Part]) -> set[str]:
    found = {kind.target} if "target" in vars(kind) else set()
    return found.union(*map(parts, kind.__subclasses__()))


def targets(group: str) -> set[str]:
    """Classes that the release's configs of a group name."""
    named: set[str] = set()
    for path in (CONFIGS / group).glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        nodes = [content] if "_target_" in content else content.values()
        named |= {node["_target_"] for node in nodes if isinstance(node, dict) and "_target_" in node}
    return named


@pytest.fixture
def cfg(configure) -> DictConfig:
    return configure(SITES, "output=x", command="federated")


def test_every_modality_and_objective_of_the_release_can_be_asked():
    assert targets("modality") == parts(ModalityPart)
    assert targets("objective") == parts(ObjectivePart)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_the_release_travels_as_a_plan_and_comes_out_as_it_was_meant(configure, tmp_path, choice: str):
    cfg = configure(SITES, "output=x", choice, command="federated")
    plan = plan_of(cfg)
    again = read_plan(plan.text(), TASKS)
    assert again == plan and again.digest == plan.digest and again.text() == plan.text()
    here = compose_config(site_of(cfg, tmp_path), again)
    meant = OmegaConf.to_container(cfg, resolve=True)
    for name in ("modality", "objective", "objective_weights", "optimizer", "encoder", "data", "bank", "ema", "seed"):
        assert here.get(name) == meant.get(name), name


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["untrained=true"], "untrained: a control of one place"),
        (
            ["optimizer.learning_rate=1000"],
            "asked of sites: optimizer.learning_rate: Input should be less than or",
        ),
        (
            ["+modality.genomics.mask_ratio=0.001"],
            "asked of sites: modality.genomics.genomics.mask_ratio: Input",
        ),
        (["modality.pathology.backbone=hf-hub:a/b"], "asked of sites: modality.pathology.pathology.backbone: String"),
        (["+modality.pathology.reader=x"], "modality.pathology.reader: cannot be asked of a site; drop it"),
        (["+objective.mine._target_=os.getcwd"], "objective.mine: a plan has no word for os.getcwd"),
        (["data.batch_size=0"], "asked of sites: data.batch_size: Input should be greater than or equal to 1"),
        (["statistics=[everything]"], "asked of sites: statistics.0: Input should be 'counts'"),
        (["sites=[riverside,'St. Mary, London']"], "sites: 'St. Mary, London' is no hospital's name in a plan: words,"),
    ],
)
def test_a_setting_that_cannot_be_asked_is_named(configure, overrides: list[str], line: str):
    with pytest.raises(UserError) as error:
        plan_of(configure(SITES, "output=x", *overrides, command="federated"))
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a tree."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, value in children for place in places(value, (*path, key)))]


def changed(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The tree with another value at a place; a key of its own where the place is an object."""
    if not path:
        return {**node, "compile": value} if isinstance(node, dict) else value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = changed(node[path[0]], path[1:], value)
    return copy


def strings(node: Any) -> list[str]:
    own = [node] if isinstance(node, str) else []
    if isinstance(node, dict):
        own += [text for key, value in node.items() for text in [str(key), *strings(value)]]
    elif isinstance(node, list):
        own += [text for value in node for text in strings(value)]
    return own


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """A plan with all its parts."""
    from hydra import compose, initialize_config_module

    more = ["privacy=central_adaptive", "bank=gaussian", "objective=full", "statistics=[counts]", "deadline=60"]
    more += ["strategy=fedprox", "+objective_weights.masked_genes={start: 1, end: 0}", "data.modalities=[genomics]"]
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("federated", ["experiment=demo", SITES, "output=x", *more, "bank.modalities=[genomics]"])
    return plan_of(cfg).values()


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_mutation_of_a_plan_brings_a_string_that_is_not_of_its_words(whole: dict[str, Any], data: st.DataObject):
    place = data.draw(st.sampled_from(places(whole)))
    value = data.draw(st.sampled_from(HOSTILE) | st.text(max_size=30) | st.integers() | st.floats(allow_nan=False))
    text = json.dumps(changed(whole, place, value))
    try:
        plan = read_plan(text, TASKS)
    except UnfitPlanError as error:
        line = str(error)
        assert line.startswith("plan") and "\n" not in line and len(line) < 600
        if isinstance(value, str) and len(value) > 12:
            assert value not in line, "what came is not repeated"
        return
    for word in strings(plan.values()):
        assert word not in HOSTILE
        assert not set('${}/\\:"\n;|`<>@') - {":"} & set(word), word
        assert not re.search(r"\W'|'\W|\w\(", word), "an apostrophe stands within a word, a bracket never behind one"
        assert len(word) <= 300


def test_no_place_of_a_plan_takes_a_hostile_word(whole: dict[str, Any]):
    words = [word for word in HOSTILE if isinstance(word, str)] + ["builtins.eval", "torch.load", "pickle.loads"]
    assert len(places(whole)) > 100
    for place in places(whole):
        for word in words:
            try:
                plan = read_plan(json.dumps(changed(whole, place, word)), TASKS)
            except UnfitPlanError:
                continue
            assert word not in strings(plan.values()), place


def test_every_model_of_timm_is_a_backbone_and_a_function_of_python_is_none(whole: dict[str, Any]):
    import timm

    names = [*timm.list_models(), *timm.list_models(pretrained=True)]
    assert [name for name in names if not re.fullmatch(BACKBONE, name)] == []
    for name in ("os.system", "builtins.eval", "torch.load"):
        text = json.dumps(changed(whole, ("settings", "modality", "pathology", "backbone"), name))
        with pytest.raises(UnfitPlanError, match="backbone"):
            read_plan(text, TASKS)


@pytest.mark.parametrize(
    "place", [("settings", "modality", "genomics", "kind"), ("settings", "objective", "masked_genes", "kind")]
)
def test_a_kind_that_no_plan_knows_is_not_repeated(whole: dict[str, Any], place: tuple[str, ...]):
    with pytest.raises(UnfitPlanError) as refused:
        read_plan(json.dumps(changed(whole, place, "${oc.env:HOSPITAL_DB_PASSWORD}")), TASKS)
    assert str(refused.value) == f"plan: settings: {place[1]}.a name: not what this release's plans know here"


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("riverside", True),
        ("St. Mary's (East)", True),
        ("Henry Ford & Sons - 2", True),
        ("55", True),
        ("U.S.C. Norris", True),
        ("os.system", False),
        ("__import__('os').system('id')", False),
        ("exit()", False),
        ("a b\n", False),
        ("../x", False),
        ("x" * 101, False),
    ],
)
def test_a_hospital_is_called_by_words(whole: dict[str, Any], name: str, fits: bool):
    text = json.dumps(changed(whole, ("training", 0), name))
    if fits:
        assert read_plan(text, TASKS).training[0] == name
    else:
        with pytest.raises(UnfitPlanError):
            read_plan(text, TASKS)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200) | st.sampled_from(["[" * 100_000, "null", "1", '{"task": ["pretrain"]}', "{" * 9]))
def test_what_is_no_plan_is_refused_in_one_line(text: str):
    with pytest.raises(UnfitPlanError):
        read_plan(text, TASKS)


def test_a_hospital_composes_its_own_config_and_keeps_what_is_its_own(
    cfg: DictConfig, small_cohort: Path, tmp_path: Path
):
    plan = plan_of(cfg)
    own = [
        "data.num_workers=3",
        "compile={}",
        "data.batch_size=999",
        "modality.pathology.weights=/models/uni.safetensors",
    ]
    site = Site("summit", small_cohort, SitePolicy(), tmp_path / "l", tmp_path / "s", {"devices": 2}, own)
    here = compose_config(site, plan)
    assert (here.data.num_workers, here.compile, here.trainer.devices) == (3, {}, 2)
    assert here.data.folder == str(small_cohort) and here.data.test_hospitals == ["summit"]
    assert here.data.batch_size == cfg.data.batch_size and here.modality.pathology.weights is None
    assert (here.data.folds, here.data.split_seed, here.data.validation_fraction) == (0, 0, 0.15)
    assert "/x" not in here.output and here.loggers == ["tensorboard", "csv"]


def test_weights_of_a_file_are_the_hospitals_own_or_the_plan_is_refused(configure, small_cohort: Path, tmp_path: Path):
    plan = plan_of(
        configure(SITES, "output=x", "modality.pathology.weights=/srv/weights.safetensors", command="federated")
    )
    assert "/srv" not in plan.text()
    site = Site("summit", small_cohort, SitePolicy(), tmp_path / "l", tmp_path / "s")
    with pytest.raises(UserError, match=r"plan: pathology\.weights: the site's own file is asked for"):
        compose_config(site, plan)
    site.settings = ["modality.pathology.weights=/models/uni.safetensors"]
    assert compose_config(site, plan).modality.pathology.weights == "/models/uni.safetensors"


def test_a_plan_is_read_by_its_digest(cfg: DictConfig):
    plan = plan_of(cfg)
    other = RunPlan.read({**plan.values(), "rounds": plan.rounds + 1, "settings": {}})
    assert other.digest != plan.digest and len(plan.digest) == 64

"""Statistics of sites: pooled as if nobody had been apart, small cells withheld, packed, told, and used in training."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.statistics import (
    NAMES,
    SiteStatistics,
    from_arrays,
    pool,
    stain_reference,
    statistics_page,
    suppress,
    to_arrays,
)
from foundation.federation.statistics.contract import Counts, Expression, Known, Numbers, Survival
from foundation.federation.statistics.moments import Moments, Spread
from foundation.federation.statistics.site import site_statistics, tissue_density
from foundation.federation.statistics.suppression import hide
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.stain import restain
from pretrain.federated.task import initial_moments

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def cohort(small_cohort: Path) -> Cohort:
    return Cohort(small_cohort)


@pytest.fixture(scope="module")
def parts(small_cohort: Path, cohort: Cohort) -> list[SiteStatistics]:
    views = [Cohort(small_cohort, [name]) for name in cohort.declared]
    return [site_statistics(view, list(view.patients.index)) for view in views]


@pytest.fixture(scope="module")
def pooled(parts: list[SiteStatistics]) -> SiteStatistics:
    return pool(parts)


def flat(content, path=""):
    """Every number and text of a nested value, by path."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {key: value for name, part in items for key, value in flat(part, f"{path}/{name}").items()}
    return {path: content}


def same(one: SiteStatistics, other: SiteStatistics) -> None:
    left, right = flat(one.model_dump()), flat(other.model_dump())
    assert left.keys() == right.keys()
    for path, value in left.items():
        if isinstance(value, float):
            assert np.isclose(value, right[path], **CLOSE), path
        else:
            assert value == right[path], path


tables = st.integers(1, 4).flatmap(
    lambda columns: st.lists(
        hnp.arrays(
            np.float64,
            st.tuples(st.integers(0, 6), st.just(columns)),
            elements=st.one_of(st.just(np.nan), st.floats(-1e4, 1e4, width=32)),
        ),
        min_size=1,
        max_size=5,
    )
)


@given(tables)
@settings(deadline=None)
def test_merged_moments_are_those_of_all_rows(rows):
    merged = Moments.of(rows[0])
    for part in rows[1:]:
        merged = merged.merge(Moments.of(part))
    together = np.concatenate(rows)
    for column in range(together.shape[1]):
        known = together[~np.isnan(together[:, column]), column]
        assert merged.count[column] == len(known)
        if len(known):
            scale = max(1.0, np.abs(known).max())
            np.testing.assert_allclose(merged.mean[column] / scale, known.mean() / scale, **CLOSE)
            np.testing.assert_allclose(merged.m2[column] / scale**2, known.var() * len(known) / scale**2, **CLOSE)


def test_means_far_from_zero_lose_no_variance():
    values = np.random.default_rng(0).normal(1e8, 1, (3000, 1))
    merged = Moments.of(values[:1000]).merge(Moments.of(values[1000:]))
    np.testing.assert_allclose(merged.m2[0] / 2999, values.var(ddof=1), rtol=1e-7)


def test_spread_is_the_covariance():
    values = np.random.default_rng(1).normal(size=(50, 3)) @ np.random.default_rng(2).normal(size=(3, 3))
    merged = Spread.of(values[:0]).merge(Spread.of(values[:7])).merge(Spread.of(values[7:]))
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), **CLOSE)
    np.testing.assert_allclose(merged.m2 / 49, np.cov(values.T), **CLOSE)


def test_pooled_sites_equal_one_place(cohort, parts, pooled):
    same(pooled, site_statistics(cohort, list(cohort.patients.index)))
    assert pooled.sites == cohort.declared
    assert pooled.names == NAMES
    assert parts[1].expression is None  # northgate has no genomics
    assert parts[2].stain is None  # lakeview has no images


def test_pooling_in_steps_is_pooling(parts, pooled):
    same(pool([pool(parts[:2]), pool(parts[2:])]), pooled)


def test_the_numbers_are_those_of_the_cohort(cohort, pooled):
    table = cohort.patients
    counts = pooled.counts
    assert counts.patients == len(table) == sum(counts.combination.values()) == sum(counts.hospital.values())
    assert counts.modality == {name: int(table[name].sum()) for name in counts.modality}
    assert counts.label["biomarker"] == Known(
        known=int(table["biomarker"].count()), positive=int(table["biomarker"].sum())
    )
    profiles = np.stack(
        [cohort.sample(patient)["genomics"]["expression"] for patient in table.index[table["genomics"]]]
    ).astype(np.float64)
    np.testing.assert_allclose(pooled.expression.mean, np.nanmean(profiles, axis=0), **CLOSE)
    np.testing.assert_allclose(
        pooled.expression.m2, np.nanvar(profiles, axis=0) * (~np.isnan(profiles)).sum(axis=0), **CLOSE
    )
    assert pooled.survival.events == int(table["os_event"].sum())
    assert pooled.survival.time.count * pooled.survival.time.mean == pytest.approx(table["os_days"].sum())
    ages = [value for patient in table.index[table["record"]] if (value := cohort.sample(patient)["record"]["age"])]
    assert pooled.record.numbers["age"].count == len(ages)
    assert pooled.record.numbers["age"].mean == pytest.approx(np.mean(ages))
    assert sum(pooled.record.levels["sex"].values()) <= pooled.record.patients


def test_only_what_is_asked_for_is_taken(cohort):
    own = list(cohort.patients.index[:5])
    assert site_statistics(cohort, own, ["counts", "survival"]).names == ("counts", "survival")
    assert site_statistics(cohort, own + own, ["counts"]).counts.patients == 5
    with pytest.raises(UserError, match="'mutations' is none; say some of counts, expression"):
        site_statistics(cohort, own, ["mutations"])
    with pytest.raises(UserError, match="patient nobody is not in this cohort"):
        site_statistics(cohort, ["nobody"])


def test_stain_looks_at_tissue_of_drawn_images(cohort):
    glass = np.full((4, 4, 3), 245, np.uint8)
    assert len(tissue_density(glass)) == 0
    glass[0, 0] = (255, 26, 0)
    np.testing.assert_allclose(tissue_density(glass), [[0, -np.log10(26 / 255), np.log10(255)]])
    patients = list(cohort.patients.index[cohort.patients["pathology"]][:3])
    stains = [site_statistics(cohort, patients, ["stain"], images=2, seed=seed).stain for seed in (0, 0, 1)]
    assert stains[0] == stains[1]
    assert stains[0].patients == 3
    assert stains[0].images <= 6


# ---- small cells


def test_no_small_number_leaves(parts):
    for part in parts:
        told = suppress(part, 8)
        left = flat(told.model_dump(exclude={"sites", "withheld"}))
        for path, value in left.items():
            if "/count" in path or path.startswith("/counts") or "/levels" in path or path.endswith("/patients"):
                assert not (isinstance(value, int) and 0 < value < 8), path
        assert SiteStatistics.model_validate_json(told.model_dump_json()) == told


def test_a_gene_of_few_patients_gives_nothing():
    expression = Expression(unit="tpm", genes=["A", "B", "C"], count=[4, 5, 0], mean=[1.0, 2, 0], m2=[1.0, 2, 0])
    told = suppress(SiteStatistics(sites=["x"], expression=expression), 5)
    assert told.expression.count == [None, 5, 0]
    assert told.expression.mean == told.expression.m2 == [None, 2, 0]
    assert told.withheld == ["x: expression/1 genes"]


def test_few_patients_tell_nothing(parts):
    few = parts[0].model_copy(update={"counts": parts[0].counts.model_copy(update={"patients": 3})})
    counts = suppress(few, 5).counts
    assert set(flat(counts.model_dump()).values()) == {None}


def test_label_of_several_classes_counts_all_but_the_first_as_positive(cohort):
    subtyped = copy.copy(cohort)
    subtyped.patients = cohort.patients.assign(biomarker=np.resize([0.0, 1.0, 2.0, np.nan], len(cohort.patients)))
    counts = site_statistics(subtyped, list(subtyped.patients.index[:8]), names=["counts"]).counts
    assert counts.label["biomarker"] == Known(known=6, positive=4)


def test_labels_and_events_need_enough_on_both_sides():
    def told(known: int, positive: int) -> tuple[int | None, int | None]:
        counts = Counts(
            patients=50, modality={}, combination={}, label={"l": Known(known=known, positive=positive)}, hospital={}
        )
        time = Numbers(count=known, mean=100.0, m2=5.0)
        found = suppress(SiteStatistics(sites=["x"], counts=counts, survival=Survival(events=positive, time=time)), 5)
        assert found.survival.time.count == found.counts.label["l"].known
        assert found.survival.events == found.counts.label["l"].positive
        return found.counts.label["l"].known, found.counts.label["l"].positive

    assert told(20, 10) == (20, 10)
    assert told(20, 0) == (20, 0)
    assert told(20, 20) == (20, 20)
    assert told(20, 2) == told(20, 18) == (20, None)
    assert told(4, 2) == (None, None)


def test_a_single_small_cell_is_not_left_to_a_subtraction():
    assert hide({"a": 20, "b": 9, "c": 2}, [{"a", "b", "c"}], 5) == {"a": 20, "b": None, "c": None}
    assert hide({"a": 20, "b": 9, "c": 2}, [], 5) == {"a": 20, "b": 9, "c": None}
    assert hide({"a": 20, "b": 9, "c": 0}, [{"a", "b", "c"}], 5) == {"a": 20, "b": 9, "c": 0}
    assert hide({"a": 20, "b": 1, "c": 1}, [{"a", "b", "c"}], 5) == {"a": None, "b": None, "c": None}


def test_a_modality_that_few_lack_is_withheld_with_those_who_lack_it():
    counts = Counts(
        patients=19,
        modality={"pathology": 19, "radiology": 16},
        combination={"pathology": 3, "pathology+radiology": 16},
        label={},
        hospital={"x": 19},
    )
    told = suppress(SiteStatistics(sites=["x"], counts=counts), 5)
    assert told.counts.modality == {"pathology": 19, "radiology": None}
    assert told.counts.combination == {"pathology": None, "pathology+radiology": None}
    assert told.withheld == [
        "x: counts/modality/radiology",
        "x: counts/combination/pathology",
        "x: counts/combination/pathology+radiology",
    ]


def test_a_table_that_its_sums_give_away_is_withheld_whole():
    counts = Counts(
        patients=14,
        modality={"pathology": 7, "radiology": 8},
        combination={"pathology": 6, "pathology+radiology": 1, "radiology": 7},
        label={},
        hospital={"x": 14},
    )
    whole = SiteStatistics(sites=["y"], counts=counts)
    told = suppress(whole.model_copy(update={"sites": ["x"]}), 5)
    assert told.counts.modality == counts.modality
    assert told.counts.combination == {}
    assert told.withheld == ["x: counts/combination"]
    assert from_arrays(*to_arrays(told)) == told
    assert "no others" not in statistics_page([told], pool([told]))
    page = statistics_page([told, whole], pool([told, whole]))
    assert "| pathology + radiology, no others | small | 1 | ≥ 1 |" in page


@given(st.lists(st.integers(0, 30), min_size=1, max_size=7), st.integers(2, 8), st.data())
@settings(deadline=None)
def test_withheld_cells_have_other_tables_with_the_same_sums(values, least, data):
    """What is told fits at least one other table: some small cell could hold another number."""
    cells = {f"c{index}": value for index, value in enumerate(values)}
    names = sorted(cells)
    sums = [set(names), *data.draw(st.lists(st.sets(st.sampled_from(names), min_size=1), max_size=3))]
    told = hide(cells, sums, least)
    if not told:
        return
    hidden = [name for name in names if told[name] is None]
    assert {name for name in names if 0 < cells[name] < least} <= set(hidden)
    rows = np.array([[name in part for name in hidden] for part in sums], dtype=float).reshape(len(sums), -1)
    for index, name in enumerate(hidden):
        if 0 < cells[name] < least:
            _, sizes, right = np.linalg.svd(rows)
            free = right[np.count_nonzero(sizes > 1e-9) :]
            assert np.abs(free[:, index]).max(initial=0) > 1e-9
    assert all(sum(cells[name] for name in part & set(hidden)) not in range(1, least) for part in sums[:1])


def test_pooled_counts_of_withheld_cells_are_the_least(parts):
    told = [suppress(part, 8) for part in parts]
    pooled = pool(told)
    assert pooled.withheld == [cell for part in told for cell in part.withheld]
    assert pooled.withheld
    for name, value in pooled.counts.combination.items():
        known = [part.counts.combination.get(name, 0) for part in told]
        assert value == (None if set(known) == {None} else sum(count or 0 for count in known))
    with pytest.raises(UserError, match="suppressed at their sites already"):
        suppress(pooled, 5)
    with pytest.raises(UserError, match="min_cell: 0 found"):
        suppress(parts[0], 0)


def test_what_cannot_be_pooled_is_said(parts):
    with pytest.raises(UserError, match="no site told any"):
        pool([])
    with pytest.raises(UserError, match="site riverside is there twice"):
        pool([parts[0], parts[0]])
    other = parts[2].model_copy(update={"expression": parts[2].expression.model_copy(update={"unit": "tpm"})})
    with pytest.raises(UserError, match="log2_tpm and in tpm; prepare"):
        pool([parts[0], other])


def test_genes_are_pooled_by_symbol():
    one = Expression(unit="tpm", genes=["A", "B"], count=[2, 3], mean=[1.0, 2.0], m2=[0.5, 1.0])
    other = Expression(unit="tpm", genes=["C", "B"], count=[None, 3], mean=[None, 4.0], m2=[None, 1.0])
    found = pool(
        [SiteStatistics(sites=["x"], expression=one), SiteStatistics(sites=["y"], expression=other)]
    ).expression
    assert found.genes == ["A", "B", "C"]
    assert found.count == [2, 6, None]
    assert found.mean == [1.0, 3.0, None]
    assert found.m2 == [0.5, 1 + 1 + 6 * 1.0, None]


# ---- on the way


def test_packed_and_read_again_is_the_same(parts, pooled):
    for told in (*parts, suppress(parts[0], 8), pooled):
        arrays, texts = to_arrays(told)
        assert all(value.dtype == np.float64 for value in arrays.values())
        assert from_arrays(arrays, texts) == told


def test_a_policy_drops_statistics_by_name(parts):
    told = suppress(parts[0], 8)
    left = told.only(["counts", "stain"])
    assert left.names == ("counts", "stain")
    assert all(cell.startswith("riverside: counts") for cell in left.withheld)
    texts = {name: text for name, text in to_arrays(told)[1].items() if name in ("about", "counts", "stain")}
    assert from_arrays({}, texts) == left


def test_what_a_site_sends_is_checked(parts):
    arrays, texts = to_arrays(parts[0])
    with pytest.raises(UserError, match="'expression.mean' is missing"):
        from_arrays({name: value for name, value in arrays.items() if name != "expression.mean"}, texts)
    with pytest.raises(UserError, match="unreadable in what a site sent"):
        from_arrays(arrays, {**texts, "counts": "{"})
    with pytest.raises(UserError, match="'about' is missing"):
        from_arrays(arrays, {})
    for wrong, message in (
        ({"expression.m2": -arrays["expression.m2"]}, "greater than or equal to 0"),
        ({"expression.mean": np.full_like(arrays["expression.mean"], np.inf)}, "finite"),
        ({"expression.count": arrays["expression.count"][1:]}, "values for"),
        ({"expression.count": np.full_like(arrays["expression.count"], np.nan)}, "withheld together"),
    ):
        with pytest.raises(UserError, match=rf"statistics of riverside: .*{message}"):
            from_arrays({**arrays, **wrong}, texts)
    negative = json.dumps({**json.loads(texts["survival"]), "events": -1})
    with pytest.raises(UserError, match="survival.events"):
        from_arrays(arrays, {**texts, "survival": negative})


# ---- in training


def test_every_site_starts_from_pooled_standardisation(cohort, pooled):
    genes = [*reversed(cohort.dictionary.genes), "NOT_MEASURED"]
    torch.manual_seed(0)
    modality = Genomics(8, genes)
    found = initial_moments(pooled, genes)
    assert {group_of(name) for name in found} == {"genomics"}
    prefix = "encoder.modalities.genomics."
    state = {f"{prefix}{name}": value for name, value in modality.state_dict().items()}
    assert found.keys() <= state.keys()
    for name, value in found.items():
        assert (value.shape, value.dtype) == (tuple(state[name].shape), np.float32)
        modality.state_dict()[name.removeprefix(prefix)].copy_(torch.from_numpy(value))
    have = cohort.patients.index[cohort.patients["genomics"]]
    profiles = np.stack([cohort.sample(patient)["genomics"]["expression"][::-1] for patient in have])
    mean, spread = np.nanmean(profiles, axis=0), np.sqrt(np.nanvar(profiles, axis=0, ddof=1) + 1e-3)
    ours = modality.standardise(torch.from_numpy(np.pad(profiles, ((0, 0), (0, 1)))))
    np.testing.assert_allclose(ours[:, :-1], np.clip((profiles - mean) / spread, -6, 6), atol=2e-4)
    assert (modality.expression_mean[-1], modality.expression_variance[-1]) == (0, 1)
    before = modality.expression_mean.clone()
    modality.observe({"values": torch.from_numpy(np.pad(profiles[:4, None] + 100, ((0, 0), (0, 0), (0, 1))))})
    moved = (modality.expression_mean - before)[:-1]
    assert moved.max() < 12  # a batch moves pooled moments by a tenth, it does not replace them
    with pytest.raises(UserError, match="no site told expression"):
        initial_moments(pooled.only(["counts"]), genes)


def test_tiles_are_brought_to_the_pooled_stain(cohort, pooled, tmp_path):
    reference = stain_reference(pooled)
    modality = Pathology(8, size=64, stain_reference=reference)
    patient = next(iter(cohort.patients.index[cohort.patients["pathology"]]))
    inputs = modality.transform(cohort.sample(patient)["pathology"], None)
    gain, shift = inputs["stain"][0]
    assert torch.equal(inputs["stain"][0], inputs["stain"][-1])
    assert (gain > 0).all()
    images = inputs["images"].permute(0, 3, 1, 2).float() / 255
    hed = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    inverse = torch.linalg.inv(hed / hed.norm(dim=1, keepdim=True))

    def amounts(pictures: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return -torch.log10(pictures.clamp_min(1 / 255)).permute(0, 2, 3, 1).reshape(-1, 3)[where] @ inverse

    tissue = -torch.log10(images.clamp_min(1 / 255)).permute(0, 2, 3, 1).reshape(-1, 3).mean(dim=1) >= 0.15
    expected = amounts(images, tissue) * gain + shift
    torch.testing.assert_close(expected.mean(dim=0), torch.tensor(reference["mean"]), atol=1e-3, rtol=0)
    closer = (amounts(restain(images, inputs["stain"]), tissue).mean(dim=0) - expected.mean(dim=0)).abs()
    assert (closer < 0.05).all()  # colours that would be brighter than white are white
    with pytest.raises(UserError, match="no site told stain"):
        stain_reference(pooled.only(["counts"]))

    path = tmp_path / "stain.json"
    path.write_text(json.dumps(reference))
    assert Pathology(8, size=64, stain_reference=str(path)).settings()["stain_reference"] == reference
    assert Pathology.load(modality.settings(), tmp_path).stain_reference == reference


def test_a_blank_tile_keeps_its_colours_and_jitter_comes_on_top(pooled):
    modality = Pathology(8, size=32, stain_jitter=0.1, stain_reference=stain_reference(pooled))
    plain = Pathology(8, size=32, stain_jitter=0.1)
    white = np.full((2, 32, 32, 3), 255, np.uint8)
    assert torch.equal(modality.transform(white, None)["stain"][0], torch.tensor([[1.0] * 3, [0.0] * 3]))
    one, other = (part.transform(white, torch.Generator().manual_seed(3))["stain"] for part in (modality, plain))
    assert torch.equal(one, other)
    assert "stain" not in plain.transform(white, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": [1, 2, 3]}, "mean and spread are wanted"),
        ({"mean": [1, 2], "spread": [1, 1, 1]}, "mean: three numbers"),
        ({"mean": [1, 2, "x"], "spread": [1, 1, 1]}, "mean: three numbers"),
        ({"mean": [1, 2, 3], "spread": [1, 0, 1]}, "is not above 0"),
        ("/nowhere/stain.yaml", "not readable"),
    ],
)
def test_a_wrong_stain_reference_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        Pathology(8, size=32, stain_reference=given)
    assert "modality.pathology.stain_reference" in str(caught.value)


# ---- for people


def test_the_page_shows_every_site_and_all_together(parts, pooled):
    page = statistics_page(parts, pooled)
    assert "| | riverside | northgate | lakeview | summit | **pooled** |" in page
    assert "| patients | 24 | 20 | 18 | 16 | 78 |" in page
    for title in ("Patients", "Clinical record", "Follow-up", "Expression", "Stain"):
        assert f"## {title}\n" in page
    width = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert width == {7}
    assert page.isprintable() or "\n" in page


def test_the_page_says_what_was_withheld(parts):
    told = [suppress(part, 8).only(["counts", "record"]) for part in parts]
    page = statistics_page(told, pool(told))
    assert "| small |" in page
    assert "≥ " in page
    assert "## Stain" not in page
    odd = replace_site(told[0], "a|b*")
    assert "a\\|b\\*" in statistics_page([odd], pool([odd]))


def replace_site(told: SiteStatistics, name: str) -> SiteStatistics:
    return told.model_copy(update={"sites": [name], "withheld": []})


def test_an_encoder_with_a_stain_reference_is_trained_and_saved_like_any(pooled, samples, tmp_path):
    torch.manual_seed(0)
    reference = stain_reference(pooled)
    encoder = MultimodalEncoder({"pathology": Pathology(16, size=32, stain_reference=reference)}, 16, fusion_layers=1)
    rows = [{"pathology": sample["pathology"]} for sample in samples if "pathology" in sample]
    encoder.eval()
    before = encoder(encoder.encode_samples(rows)).embeddings["pathology"]
    encoder.save_pretrained(tmp_path / "encoder")
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder").eval()
    torch.testing.assert_close(again(again.encode_samples(rows)).embeddings["pathology"], before)
    encoder.modalities["pathology"].stain_reference = None
    plain = encoder(encoder.encode_samples(rows)).embeddings["pathology"]
    assert not torch.allclose(plain, before)

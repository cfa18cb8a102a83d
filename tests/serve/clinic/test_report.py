"""Names of what a report measures."""

from serve.clinic.report import _code


def test_a_name_that_is_too_long_keeps_its_horizon():
    cause = "death from cardiovascular disease or its complications first, within "
    names = [_code(f"{cause}{months} months").meaning for months in (12, 60)]
    assert [name[-16:] for name in names] == ["within 12 months", "within 60 months"]
    assert all(len(name) == 64 and name.startswith("death from cardiovascular") for name in names)
    assert _code("no event after 12 months").meaning == "no event after 12 months"

import pytest

from foundation.errors import UserError
from foundation.objectives.schedule import ramps


def test_a_number_is_a_weight_that_stays_and_what_is_not_named_weighs_one():
    found = ramps({"a": 0.3}, {"a": None, "b": None})
    assert [found["a"].at(share) for share in (0.0, 0.5, 1.0)] == [0.3] * 3
    assert found["b"].at(0.2) == 1.0


def test_a_ramp_goes_straight_from_begin_to_until():
    ramp = ramps({"a": {"start": 1.0, "end": 0.0, "begin": 0.2, "until": 0.6}}, {"a": None})["a"]
    assert [round(ramp.at(share), 6) for share in (0.0, 0.2, 0.3, 0.4, 0.6, 1.0)] == [1, 1, 0.75, 0.5, 0, 0]
    step = ramps({"a": {"start": 0.0, "end": 1.0, "begin": 0.5, "until": 0.5}}, {"a": None})["a"]
    assert [step.at(share) for share in (0.4, 0.5, 0.6)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"b": 1}, "objective_weights.b: no such objective; there are a"),
        ({"a": "much"}, "objective_weights.a.start: "),
        ({"a": {"start": 1}}, "objective_weights.a.end: Field required"),
        ({"a": {"start": 1, "end": 0, "untill": 1}}, "objective_weights.a.untill: "),
        ({"a": -1}, "objective_weights.a.start: "),
        ({"a": {"start": 1, "end": 0, "begin": 0.7, "until": 0.2}}, "`until` lies before `begin`"),
    ],
)
def test_a_weight_that_cannot_be_read_is_one_line(weights, said):
    with pytest.raises(UserError) as caught:
        ramps(weights, {"a": None})
    assert said in str(caught.value) and "\n" not in str(caught.value)

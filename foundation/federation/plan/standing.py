"""The part of a plan that lets it run again and again by one approval: how often, on how many new patients."""

from typing import Annotated

from pydantic import Field

from foundation.contract import Count, Hospital, Part, Positive

NEWS = "new"  # as policies name the word of a hospital that it has enough that is new


class Standing(Part):
    """Bounds of a plan that recurs; a hospital's own ledger counts what of them is used.

    Attributes:
        new_patients: distinct ones to train on, of whom no run under this approval has learnt, without whom a hospital
            takes part in no further run.
        rounds_a_month: whose updates leave within any 30 days, at most.
        epsilon_a_year: spent under this approval within any 365 days, at most; None where nothing counts it.
        hospitals: of which some or all take part in a run; None for whoever the federation admits.
    """

    new_patients: Count
    rounds_a_month: Count
    epsilon_a_year: Positive | None = None
    hospitals: Annotated[tuple[Hospital, ...], Field(min_length=1, max_length=1000)] | None = None

    def lines(self) -> list[str]:
        """In plain words, for the page that a site's owner reads."""
        who = "whoever the federation admits" if self.hospitals is None else ", ".join(self.hospitals)
        epsilon = "uncounted" if self.epsilon_a_year is None else f"at most {self.epsilon_a_year:g}"
        return [
            "one approval is for every further run, until it is declined, whether that asks this hospital to train, as "
            "below, or to be held out and evaluate once",
            f"a run asks for {self.new_patients} distinct new patients here; else this hospital sits it out",
            f"at most {self.rounds_a_month} rounds leave in any 30 days; epsilon in any 365 days: {epsilon}",
            f"hospitals that may take part, in whatever number: {who}",
        ]

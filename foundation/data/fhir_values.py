"""Values of FHIR observations as a record's column declares them: quantities in its unit, or words in its values."""

from datetime import datetime
from typing import Any

from foundation.data.columns import nearest
from foundation.data.fhir_export import Located
from foundation.data.fhir_resources import Component, Observation
from foundation.data.fhir_source import FhirColumn


def parts(observation: Observation, column: FhirColumn) -> list[Observation | Component]:
    """What of an observation has the column's code: itself, or components of it."""
    if column.component is not None:
        named = column.observation in observation.code.codes
        return [part for part in observation.component if named and column.component in part.code.codes]
    each: list[Observation | Component] = [observation, *observation.component]
    return [part for part in each if column.observation in part.code.codes]


def value_of(one: Located[Observation], resource: Observation | Component, column: FhirColumn) -> Any:
    """The observation's or its component's value; None where it has none (the laboratory says why)."""
    if column.unit is None:
        if resource.value_quantity is not None:
            advice = "declare its unit instead of values"
            raise one.refuse(
                "a quantity where codes are declared", advice, "valueQuantity", resource.value_quantity.value
            )
        if resource.value_codeable_concept is not None:
            codes = resource.value_codeable_concept.codes
            both = [word for code in codes for word in (code, code.split("|", 1)[1])]
            known = [word for word in both if word in (column.values or {})]
            return translate(one, (known or [", ".join(codes)])[0], column, "valueCodeableConcept")
        if resource.value_boolean is not None:
            return translate(one, str(resource.value_boolean).lower(), column, "valueBoolean")
        plain = resource.value_string if resource.value_integer is None else str(resource.value_integer)
        return translate(one, plain, column, "value[x]")
    if resource.value_integer is not None and column.unit == "1":
        return float(resource.value_integer)
    quantity = resource.value_quantity
    if quantity is None:
        if any(
            value is not None
            for value in (resource.value_codeable_concept, resource.value_string, resource.value_boolean)
        ):
            raise one.refuse("no quantity where a unit is declared", "declare values instead of unit", "value[x]")
        return None
    unit = quantity.code or quantity.unit or "1"
    if quantity.value is not None and unit != column.unit:
        advice = "convert it where it is exported, or declare a column for each unit"
        raise one.refuse(f"unit is not the declared '{column.unit}'", advice, "valueQuantity.unit", unit)
    if quantity.comparator and not column.bounds:
        value = f"{quantity.comparator}{quantity.value}"
        raise one.refuse("a bound, no value", "say bounds: true to take it for one", "valueQuantity.comparator", value)
    return quantity.value


def pick(values: list[tuple[Located[Observation], Any]], column: FhirColumn, start: datetime | None) -> Any:
    """Of a patient's values the one that the column asks for: the first, the last, or the nearest to its index date."""
    known = [(one, value) for one, value in values if value is not None]
    if not known or (column.pick == "closest-to-index" and start is None):
        return None
    dated = [(one.resource.date, one, value) for one, value in known if one.resource.date is not None]
    if len(dated) < len(known) and (len(known) > 1 or column.pick == "closest-to-index"):
        undated = next(one for one, _ in known if one.resource.date is None)
        raise undated.refuse("one of several observations has no date", "give it one", "effectiveDateTime")
    if not dated:
        return known[0][1]
    dates = [date for date, _, _ in dated]
    if column.pick == "closest-to-index" and start is not None:
        day = min(sorted(dates), key=lambda date: abs(date - start))
    else:
        day = min(dates) if column.pick == "first" else max(dates)
    chosen = [(one, value) for date, one, value in dated if date == day]
    if any(value != chosen[0][1] for _, value in chosen):
        one, value = next((one, value) for one, value in chosen if value != chosen[0][1])
        raise one.refuse(f"two values at {day.isoformat()}, the other {chosen[0][1]}", "keep one", "value[x]", value)
    return chosen[0][1]


def translate(one: Located[Any], word: str | None, column: FhirColumn, name: str) -> Any:
    """A word as the column's values have it; itself where it declares none."""
    if word is None or column.values is None:
        return word
    if word not in column.values:
        advice = nearest(word, column.values, "add it to the column's values in the declaration")
        raise one.refuse(f"none of {', '.join(column.values)}", advice, name, word)
    return column.values[word]

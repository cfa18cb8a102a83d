"""What people said: intended use, limits, ethics, contact; and what nobody said, loudly."""

from serve.card.chain import Evidence
from serve.card.document import Block, Paragraph, Section, Table, line
from serve.card.graph import Node
from serve.card.judgement import NOT_APPLICABLE, questions

OPEN = "OPEN: nobody has said"


def judgement(evidence: Evidence) -> Section:
    """Every question, with its answer or as open."""
    rows, missing = [], 0
    for field, question in questions().items():
        node = answer(evidence, field)
        missing += node is None
        said = line(OPEN) if node is None else line("not applicable: ", node) if node.rule else line(node)
        rows.append((line(question), said))
    blocks: list[Block] = []
    if missing:
        words = (
            "Questions below that only people can answer are open. Until they are answered, this card is unfinished."
        )
        blocks.append(Paragraph(line(words), loud=True))
    blocks.append(Table(line("Said by people, not measured:"), (line("question"), line("answer")), tuple(rows)))
    return Section("judgement", line("Use, limits and responsibility"), tuple(blocks))


def answer(evidence: Evidence, field: str) -> Node | None:
    """What people said to a question; with a rule where they said that it does not apply."""
    file = evidence.judgement
    if file is None or file.at(field) is None:
        return None
    if isinstance(file.at(field), dict):
        why, source = file.at(field, NOT_APPLICABLE), file.source(field, NOT_APPLICABLE)
        return evidence.graph.derived(f"judgement/{field}", why, "the reason why it does not apply", [source])
    return evidence.graph.value(f"judgement/{field}", file, field)

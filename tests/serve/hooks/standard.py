"""What discovery and responses of CDS Hooks must hold, as JSON Schema.

Source: the logical models of HL7's specification (CDSHooksServices, CDSHooksResponse; github.com/HL7/cds-hooks).
"""

TEXTS = {name: {"type": "string"} for name in ("hook", "title", "description", "usageRequirements")}
SERVICE = {
    "type": "object",
    "required": ["hook", "id", "description"],
    "additionalProperties": False,
    "properties": {
        **TEXTS,
        "id": {"type": "string", "pattern": r"^\S+$"},
        "prefetch": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
DISCOVERY = {
    "type": "object",
    "required": ["services"],
    "properties": {"services": {"type": "array", "items": SERVICE}},
}
SOURCE = {
    "type": "object",
    "required": ["label"],
    "additionalProperties": False,
    "properties": {name: {"type": "string"} for name in ("label", "url", "icon")},
}
CARD = {
    "type": "object",
    "required": ["summary", "indicator", "source"],
    "additionalProperties": False,
    "properties": {
        "uuid": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "summary": {"type": "string", "minLength": 1, "maxLength": 139},
        "detail": {"type": "string"},
        "indicator": {"enum": ["info", "warning", "critical"]},
        "source": SOURCE,
    },
}
CARDS = {
    "type": "object",
    "required": ["cards"],
    "additionalProperties": False,
    "properties": {"cards": {"type": "array", "items": CARD}},
}

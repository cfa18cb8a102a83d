"""How an endpoint is used: counts beside those of the model's own patients, metrics, and an audit trail."""

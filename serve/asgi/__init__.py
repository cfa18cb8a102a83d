"""The host for new users: an ASGI application under uvicorn, before worker processes that each hold the model."""

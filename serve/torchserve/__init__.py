"""The TorchServe adapter: a handler, and starting and stopping the server."""

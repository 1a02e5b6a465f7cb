"""
Fakes for tests: each is named after the object that it replaces, and keeps its contract.

- `clock`: timers and a reactor that move with a `Clock`.
- `endpoint`: the endpoint of inference with a model of tensors, and its requests.
- `executor`: executors and policies of the batcher whose runs a test finishes by hand.
- `http`: connections without sockets, their clients, and requests as endpoints see them.
- `klein_app`: the Klein front end with routes of its own.
- `load`: the server under a load test: its endpoint, transports and exchanges.
- `model`: runners, and a model thread that a test steps by hand.
- `model_host`: a model host with a fake model on fake threads.
- `server`: the log, a served model, its inference, its loader and its model threads.
- `service`: a whole server in one thread, with its reactor and ports.
- `site`: a site that answers each request with its own content.
- `threads`: thread pools, calls into the reactor thread, and the outcomes of Deferreds.
"""

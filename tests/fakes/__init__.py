"""
Fakes for tests: each is named after the object that it replaces, and keeps its contract.

- `clock`: timers and a reactor that move with a `Clock`.
- `endpoint`: the endpoint of inference with a model of tensors, and its requests.
- `executor`: executors and policies of the batcher whose runs a test finishes by hand.
- `http`: connections without sockets, their clients, and requests as endpoints see them.
- `load`: the server under a load test: its endpoint, transports and exchanges.
- `model`: runners, and a model thread that a test steps by hand.
- `model_host`: a model host with a fake model on fake threads.
- `model_server`: a server with a model repository, on a socket, whose answers a test sets.
- `server`: the log, a served model, its inference, its loader and its model threads.
- `service`: a whole server in one thread, with its reactor and ports.
- `threads`: thread pools, calls into the reactor thread, and the outcomes of Deferreds.
- `wire`: a server of a few routes for any front end, which the test answers.
"""

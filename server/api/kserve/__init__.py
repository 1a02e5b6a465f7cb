"""
The Open Inference Protocol v2 over HTTP, as KServe, Triton and their clients speak it.

`kserve_api` has the routes, `infer` the dialect; the other modules are their parts.
"""

"""Registration of workers by clients of the npm package `seaport`, version 2."""

"""
What a server serves of a repository of models, and how it is changed while it runs.
"""

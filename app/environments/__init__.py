"""Makes the project's virtual environments: ``python3 -E -s -m app.environments dev triton`` in the project's folder.

Runs before anything is installed and under whatever ``python3`` a machine has, so that it can say what is missing:
standard library only, and nothing that Python 3.8 cannot parse or run.
"""

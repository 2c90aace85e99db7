"""An app in two versions: with GROWN in the environment, its model has one field more.

Each version has migrations of its own, as it would have on another machine.
"""

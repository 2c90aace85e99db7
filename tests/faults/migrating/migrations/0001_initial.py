from importlib import import_module

Migration = import_module("polls.migrations.0001_initial").Migration

from importlib import import_module

Migration = import_module("tests.faults.growing.migrations.0001_initial").Migration

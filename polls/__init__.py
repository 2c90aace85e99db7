"""The example app: questions, their choices and tags, all with UUID keys."""

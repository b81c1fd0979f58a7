"""Small apps for tests, each an app that was written for one server, with one line added."""

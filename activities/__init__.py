"""The verbs that stories may say, each beside the Protocol that it needs."""

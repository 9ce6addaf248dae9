"""The API: questions that come over HTTP. Each route is one way in; what answers it is what answers `check` too."""

"""HTTP: how a request's body is read, how an error is told, how the application is served."""

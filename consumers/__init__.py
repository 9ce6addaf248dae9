"""The processes: what is read, in which order, what one transaction does. Each is handed its parts."""

"""The adapters: Kafka, PostgreSQL, metrics, settings, embedded servers. Each imports the domain only."""

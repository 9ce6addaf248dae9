"""Kafka through kafka-python 3: the inbound streams, what the cluster says of its topics, and the publisher."""

"""PostgreSQL: account state, outbox, quarantine and stream positions; sets of rows in and out."""

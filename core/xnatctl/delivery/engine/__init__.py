"""The engine: worker pool, batch queue, batch sender, retry, concurrency limit."""

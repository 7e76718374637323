"""The process on its host: CPUs, threads, memory allocator. What the cases of any device share."""

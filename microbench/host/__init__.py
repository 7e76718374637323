"""The process on its host: CPUs, threads, memory allocator. Shared by the cases of all devices."""

"""Plan and message bytes in, reply bytes and outcomes out. Pure: no grpc, no asyncio, no I/O."""

"""The pure core: events in, commands out. No await, no clock, no socket, no random."""

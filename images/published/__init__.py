"""Release notes that were published for node images, read back: those of aks-engine, of AgentBaker, and our own."""

"""How a Flux starts under a PMIx launcher: the PMI client plugin of brokers and of `flux pmi`."""

"""Which prompts are trained on: pass rates and the easy/hard rule, cleaning, decontamination."""

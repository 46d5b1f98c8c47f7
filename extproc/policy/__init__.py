"""The operator's policy file: who may call, and which guards judge what they send."""

"""Explanations: signed contributions of the cells of a feature map to a logit, drawn and tested."""
